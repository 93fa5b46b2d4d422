package filelog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// quickBooks are written often.
var quickBooks = rollcall.BooksConfig{Every: 2 * time.Millisecond, Idle: 20 * time.Millisecond}

// childBooks sends until it is killed or its input ends, and then ends its life. A
// quarter of its messages is for a partition that does not exist: refused.
func childBooks(path string) error {
	l, err := filelog.Open(path, filelog.Config{Partitions: 2})
	if err != nil {
		return err
	}
	p := rollcall.NewPublisher(refusing{l.Sender()}, rollcall.PublisherConfig{Batch: 20, Buffer: 100, Books: quickBooks})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	fmt.Println(p.Life())
	for ctx.Err() == nil {
		if err := p.Send(context.Background(), "d", rollcall.Message{Body: []byte("body")}, nil); err != nil {
			return err
		}
	}
	return errors.Join(p.Close(context.Background()), l.Close())
}

// refusing gives every fourth number a partition that does not exist.
type refusing struct{ *filelog.Sender }

func (s refusing) Publish(ctx context.Context, d string, messages []rollcall.Message) []rollcall.PublishResult {
	for i := range messages {
		if d == "d" && messages[i].Stamp.Sequence%4 == 0 {
			messages[i].Partition = 99
		}
	}
	return s.Sender.Publish(ctx, d, messages)
}

type number struct {
	life     rollcall.Life
	lane     uint32
	sequence uint64
}

// TestBooksOfKilledSenders: 200 lives, half of which end by kill -9: what the books call
// stored is in the log, what they call void is not, and who was killed has no end.
func TestBooksOfKilledSenders(t *testing.T) {
	const lives = 200
	path := newPath(t)
	l := openLog(t, path, filelog.Config{})
	create(t, l, "d", 2)
	killed := make(map[string]bool)
	for i := range lives {
		c := spawn(t, "books", path)
		await(t, "the child's life", func() bool { return len(c.printed()) > 0 })
		time.Sleep(time.Duration(i%20) * time.Millisecond)
		if killed[c.printed()[0]] = i%2 == 0; i%2 == 0 {
			c.kill()
		} else {
			c.end(t)
		}
	}
	stored := make(map[number]bool)
	for _, d := range readTap(t, l, "d") {
		stored[number{d.Stamp.Life, d.Stamp.Lane, d.Stamp.Sequence}] = true
	}
	seen, fates := make(map[string]rollcall.BookKind), 0
	for life, books := range readBooks(t, l) {
		name := life.String()
		seen[name] = books[len(books)-1].Kind
		for lane, b := range newestLanes(books) {
			fates += len(b.Stored) + len(b.Void)
			check := func(ranges []rollcall.NumberRange, want bool) (n uint64) {
				for _, r := range ranges {
					for s := r.First; s <= r.Last; s++ {
						if n++; stored[number{life, lane, s}] != want {
							t.Fatalf("life %s, lane %d: number %d is stored: %v; its books say %+v", name, lane, s, !want, b)
						}
					}
				}
				return n
			}
			known := check(b.Stored, true) + check(b.Void, false)
			if !killed[name] && (known != b.Given || len(b.Maybe) > 0) {
				t.Fatalf("life %s, lane %d ended with %d fates of %d numbers", name, lane, known, b.Given)
			}
		}
	}
	ends := 0
	for life, was := range killed {
		kind, has := seen[life]
		if was == (kind == rollcall.BookEnd) || !was && !has {
			t.Errorf("life %s was killed: %v; its last record is %q", life, was, kind)
		}
		if kind == rollcall.BookEnd {
			ends++
		}
	}
	if ends != lives/2 || fates == 0 {
		t.Errorf("%d of %d lives ended, %d ranges", ends, lives, fates)
	}
	nothingLost(t, l, lives/2)
}

// nothingLost audits the destination: nothing is missing, and those who were killed are
// named.
func nothingLost(t *testing.T, l *filelog.Log, killed int) {
	t.Helper()
	w, err := audit.NewWatch(t.Context(), "d", audit.Inputs{Log: l.Source("d"), Side: l.Source(rollcall.SideDestination), Tap: true}, audit.Config{Grace: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for deadline := time.Now().Add(patience); ; {
		r, err := w.Step(t.Context(), time.Now().Add(time.Hour)) // an hour later: who is silent is gone
		if err != nil {
			t.Fatal(err)
		}
		if !w.Sealed(r) {
			if time.Now().After(deadline) {
				t.Fatalf("waited %v for the audit to read %d messages", patience, r.Traffic.Messages)
			}
			continue
		}
		s := r.Totals[audit.AtDelivery]
		if s.Lost+s.Open > 0 || s.Stored == 0 {
			t.Errorf("an audit of %d lives says %+v", r.Lives, s)
		}
		for _, f := range r.Findings { // who is killed before its first record is as one that keeps no books
			if f.Verdict == audit.Suspected && f.Cause != audit.CauseNoBooks {
				t.Errorf("suspected: %+v", f)
			}
		}
		gone := 0
		for _, lane := range r.Lanes {
			if lane.State == audit.SenderGone {
				gone++
			}
		}
		if gone == 0 || !slices.ContainsFunc(r.Notes, func(n audit.Note) bool { return n.Kind == audit.NoteSenderGone }) {
			t.Errorf("%d senders were killed, %d lanes are of senders that are gone, notes %+v", killed, gone, r.Notes)
		}
		t.Logf("%d messages of %d lives, %d of them killed: %+v", r.Traffic.Messages, r.Lives, killed, s)
		return
	}
}

// readBooks are the records of each life, as they lie there.
func readBooks(t *testing.T, l *filelog.Log) map[rollcall.Life][]rollcall.Book {
	t.Helper()
	out := make(map[rollcall.Life][]rollcall.Book)
	for _, d := range readTap(t, l, rollcall.SideDestination) {
		b, err := rollcall.ParseBook(&d.Message)
		if err != nil {
			t.Fatal(err)
		}
		out[b.Life] = append(out[b.Life], b)
	}
	return out
}

// newestLanes are the lanes as the last record of each says.
func newestLanes(books []rollcall.Book) map[uint32]rollcall.BookLane {
	out := make(map[uint32]rollcall.BookLane)
	for _, b := range books {
		for _, lane := range b.Lanes {
			out[lane.Lane] = lane
		}
	}
	return out
}

// readTap reads all that is there now.
func readTap(t *testing.T, l *filelog.Log, destination string) (out []rollcall.Delivery) {
	t.Helper()
	total := int64(0)
	extents, err := l.Source(destination).Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range extents {
		total += e.End - e.First
	}
	p := tap(t, l, destination)
	for int64(len(out)) < total {
		batches, err := p.Fetch(t.Context(), rollcall.FetchRequest{Max: 2000, Min: 1, Wait: patience})
		if err != nil || len(batches) == 0 {
			t.Fatalf("waited %v for %d messages, %d came: %v", patience, total, len(out), err)
		}
		for _, b := range batches {
			out = append(out, b.Deliveries...)
		}
	}
	return out
}
