package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/backoff"
)

var _ rollcall.Tapper = (*Source)(nil)

// tap reads a stream without a group.
type tap struct {
	reading *streaming // for what it verifies; it has no owner, and takes no lease
	link    *link
	ended   sync.WaitGroup
	alive   context.Context
	stop    context.CancelFunc

	mu      sync.Mutex
	changed chan struct{}
	reader  *reader
	next    int64 // -1: begin at from
	from    any
	last    seen
	buffer  []entry
	trouble error
}

// Tap implements rollcall.Tapper, for streams. The broker knows when a chunk came, in
// seconds: messages that came a little before since may be among those that are read.
func (s *Source) Tap(ctx context.Context, since time.Time) (rollcall.Tap, error) {
	if s.config.Type != Stream {
		return nil, fmt.Errorf("%w: rabbitmq: queue %q: what is read from a queue is gone: %w", rollcall.ErrConfig, s.queue, errQueue)
	}
	if _, err := s.cluster.ready(ctx, s.queue); err != nil {
		return nil, err
	}
	t := &tap{reading: &streaming{source: s, group: "(tap)"}, link: s.cluster.link("taps " + s.queue), changed: make(chan struct{}), next: -1, from: "first"}
	if !since.IsZero() {
		t.from = since
	}
	t.alive, t.stop = context.WithCancel(context.Background())
	t.ended.Go(t.run)
	return t, nil
}

func (t *tap) run() {
	for try := 0; t.alive.Err() == nil; try++ {
		began := time.Now()
		err := t.read()
		if t.alive.Err() != nil {
			return
		}
		if time.Since(began) > time.Second {
			try = 0
		}
		t.mu.Lock()
		if errors.Is(err, rollcall.ErrDamaged) { // it is another stream now: from its beginning
			err = fmt.Errorf("%w: %w; it is read from its beginning", rollcall.ErrMissed, err)
			t.next, t.from, t.last = -1, "first", seen{}
		}
		if err != nil && (t.trouble == nil || !errors.Is(t.trouble, rollcall.ErrMissed)) {
			t.trouble = err
		}
		t.wake()
		t.mu.Unlock()
		_ = sleep(t.alive, backoff.Delay(try, againFirst, againMost))
	}
}

func (t *tap) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tap) read() error {
	s := t.reading.source
	from := t.from
	if t.next >= 0 {
		from = t.next
		if err := t.verify(); err != nil {
			return err
		}
	}
	r, err := s.reader(t.alive, t.link, from, s.config.Prefetch)
	if err != nil {
		return err
	}
	defer r.close()
	t.mu.Lock()
	t.reader = r
	t.mu.Unlock()
	for {
		select {
		case <-t.alive.Done():
			return nil
		case d, ok := <-r.deliveries:
			if !ok {
				return s.ceased(t.alive, r)
			}
			e, err := r.entry(d)
			if err != nil {
				return err
			}
			t.keep(e)
		}
	}
}

// verify that it is the same stream still. What retention took is told where the next
// message comes.
func (t *tap) verify() error {
	err := t.reading.verify(t.alive, rollcall.Position{Incarnation: t.reading.source.incarnation(), Offset: t.next}, t.last)
	if errors.Is(err, errRemoved) {
		return nil
	}
	return err
}

func (t *tap) keep(e entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next >= 0 && e.offset < t.next {
		e.from.credit([]entry{e})
		return
	}
	if t.next >= 0 && e.offset > t.next {
		t.trouble = errors.Join(t.trouble, fmt.Errorf("%w: rabbitmq: stream %q: offsets %d to %d were removed (retention) before they were read", rollcall.ErrMissed, t.reading.source.queue, t.next, e.offset-1))
	}
	t.next, t.last = e.offset+1, seen{e.offset, print(&e.Delivery)}
	t.buffer = append(t.buffer, e)
	t.wake()
}

// Fetch implements rollcall.Tap.
func (t *tap) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	return waitFor(ctx, request.Wait, func(late bool) ([]rollcall.Batch, <-chan struct{}, error) { return t.hand(request, late) })
}

func (t *tap) hand(request rollcall.FetchRequest, late bool) ([]rollcall.Batch, <-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.alive.Err() != nil {
		return nil, nil, rollcall.ErrClosed
	}
	source := t.reading.source
	there := len(t.buffer)
	if slices.Contains(request.Paused, source.partition()) {
		there = 0
	}
	if there < max(1, request.Min) && !late && t.trouble == nil {
		return nil, t.changed, nil
	}
	err := t.trouble
	t.trouble = nil
	most := min(there, max(1, request.Max))
	if most == 0 {
		return nil, nil, err
	}
	b := rollcall.Batch{Partition: source.partition(), Deliveries: make([]rollcall.Delivery, most)}
	for i := range b.Deliveries {
		b.Deliveries[i] = t.buffer[i].delivery(source, 0)
	}
	if t.reader != nil {
		t.reader.credit(t.buffer[:most])
	}
	clear(t.buffer[:most])
	t.buffer = t.buffer[most:]
	return []rollcall.Batch{b}, nil, err
}

// Close implements rollcall.Tap.
func (t *tap) Close() error {
	t.stop()
	t.reading.source.cluster.unlink(t.link)
	t.ended.Wait()
	return nil
}
