package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// sending is one run of send.
type sending struct {
	app      *app
	to       *broker
	shape    shape
	life     *fileLife // nil when the input is no file
	most     int       // bytes of a message
	room     *budget
	books    rollcall.BooksConfig
	patience time.Duration // until a fate is unknown; 0: the publisher's default
	progress *progress
	stop     context.CancelFunc // ends reading: a fate is unknown

	mu      sync.Mutex
	counts  sendCounts
	trouble int // records that were reported one by one
}

// sendCounts are the counters of send: sent = stored + refused + unknown.
type sendCounts struct {
	Records int64 `json:"records"`
	Sent    int64 `json:"sent"`
	Stored  int64 `json:"stored"`
	Refused int64 `json:"refused"`
	Unknown int64 `json:"unknown"`
	Bad     int64 `json:"bad"`
}

// held is the most bytes of messages that wait for their fate.
const held = 64 << 20

func newSending(a *app, to *broker, s shape) *sending {
	most := to.sender.Capabilities().MaxBytes
	if most <= 0 {
		most = 256 << 20
	}
	return &sending{app: a, to: to, shape: s, most: most, room: newBudget(held)}
}

// all sends everything, waits for every fate and prints the summary.
func (s *sending) all(ctx context.Context, in io.Reader) error {
	in, err := s.number(ctx, in)
	if err != nil {
		return err
	}
	pub := rollcall.NewPublisher(s.to.sender, rollcall.PublisherConfig{Timeout: s.patience, Books: s.books, Observer: newMeter(s.app)})
	s.progress.begin("sent")
	reading, stop := context.WithCancel(ctx)
	s.stop = stop
	read := s.read(reading, pub, newRecords(s.shape.format, in, s.most))
	if errors.Is(read, context.Canceled) {
		read = nil // by a signal or by an unknown fate: both are told below
	}
	stop()
	closed := pub.Close(context.WithoutCancel(ctx))
	s.progress.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Unknown = s.counts.Sent - s.counts.Stored - s.counts.Refused
	return s.judge(ctx, errors.Join(read, closed))
}

// number gives a file the life that its bytes decide.
func (s *sending) number(ctx context.Context, in io.Reader) (io.Reader, error) {
	file, ok := in.(*os.File)
	if !ok || in == s.app.in {
		s.progress = newProgress(s.app, -1)
		return in, nil
	}
	size := int64(-1)
	if info, err := file.Stat(); err == nil {
		size = info.Size()
	}
	s.progress = newProgress(s.app, size)
	s.progress.begin("hashed")
	life, err := readLife(file, s.shape.format, func(n int) error {
		s.progress.add(0, int64(n))
		return context.Cause(ctx)
	})
	s.progress.end()
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	s.life = life
	s.progress = newProgress(s.app, life.size)
	return newVerifiedReader(file, life), nil
}

// read hands records to the publisher until the input ends.
func (s *sending) read(ctx context.Context, pub *rollcall.Publisher, in records) error {
	pace := newPace(s.shape.rate)
	for ctx.Err() == nil {
		rec, err := in.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		s.count(func(c *sendCounts) { c.Records++ })
		if err := s.one(ctx, pub, &rec, pace); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// one sends one record.
func (s *sending) one(ctx context.Context, pub *rollcall.Publisher, rec *record, pace *pace) error {
	if rec.long > 0 {
		s.refuse(rec, fmt.Errorf("%w: %d bytes, the broker takes %d; split it", rollcall.ErrTooLarge, rec.long, s.most))
		return nil
	}
	var m rollcall.Message
	err := rec.bad
	if err == nil {
		m, err = s.shape.message(rec)
	}
	if err != nil {
		return s.bad(rec, err)
	}
	if s.life != nil {
		m.Stamp = s.life.stamp(s.to.destination, rec.number, m.ID != "")
		if m.ID == "" {
			m.ID = s.life.id(rec.number)
		}
	}
	if err := pace.wait(ctx); err != nil {
		return err
	}
	size := int64(m.Size())
	if err := s.room.take(ctx, size); err != nil {
		return err
	}
	number, line := rec.number, rec.line
	err = pub.Send(ctx, s.to.destination, m, func(r rollcall.PublishResult) {
		s.room.give(size)
		s.fate(number, line, r)
		s.progress.add(1, size)
	})
	switch {
	case err == nil:
		s.count(func(c *sendCounts) { c.Sent++ })
		return nil
	case errors.Is(err, rollcall.ErrTooLarge):
		s.room.give(size)
		s.refuse(rec, err)
		return nil
	}
	s.room.give(size)
	return err
}

func (s *sending) count(change func(*sendCounts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}

// fate is what became of one message.
func (s *sending) fate(number uint64, line int, r rollcall.PublishResult) {
	switch r.Fate {
	case rollcall.Stored:
		s.count(func(c *sendCounts) { c.Stored++ })
	case rollcall.Refused:
		s.count(func(c *sendCounts) { c.Refused++ })
		s.report(number, line, "refused", r.Err)
	default:
		s.report(number, line, "unknown", r.Err)
		s.stop() // what follows would wait as long; sent again it is absorbed
	}
}

// refuse counts a record that is surely not stored. Its number stays unused.
func (s *sending) refuse(rec *record, err error) {
	s.count(func(c *sendCounts) { c.Sent++; c.Refused++ })
	s.report(rec.number, rec.line, "refused", err)
}

// bad counts a record that cannot be read, and stops there unless it is to be
// skipped. Its number stays unused.
func (s *sending) bad(rec *record, err error) error {
	s.count(func(c *sendCounts) { c.Bad++ })
	s.report(rec.number, rec.line, "bad", err)
	if s.shape.skipBad {
		return nil
	}
	return errBad
}

// errBad: reading stopped at a bad record, which was reported.
var errBad = errors.New("stopped at a bad record")

// troubleLines is how many records are reported one by one on stderr.
const troubleLines = 10

type recordTrouble struct {
	Type   string `json:"type"`
	Record uint64 `json:"record"`
	Line   int    `json:"line"`
	Fate   string `json:"fate"`
	Error  string `json:"error"`
}

func (s *sending) report(number uint64, line int, fate string, err error) {
	s.mu.Lock()
	s.trouble++
	n := s.trouble
	s.mu.Unlock()
	if s.app.json {
		_ = s.app.object(recordTrouble{"record", number, line, fate, fmt.Sprint(err)}) // the summary says if stdout is gone
		return
	}
	switch {
	case n <= troubleLines:
		s.app.note("line %d: %s: %v", line, fate, err)
	case n == troubleLines+1:
		s.app.note("more such lines are only counted; --json lists them all")
	}
}

// pace spaces messages evenly.
type pace struct {
	every time.Duration
	next  time.Time
}

func newPace(rate float64) *pace {
	if rate <= 0 {
		return &pace{}
	}
	return &pace{every: time.Duration(float64(time.Second) / rate), next: time.Now()}
}

func (p *pace) wait(ctx context.Context) error {
	if p.every == 0 {
		return nil
	}
	t := time.NewTimer(time.Until(p.next))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.next = p.next.Add(p.every)
	return nil
}
