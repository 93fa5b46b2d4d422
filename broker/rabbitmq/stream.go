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

// streaming is one worker on a stream. It owns the stream as long as it holds the lease
// in the store.
type streaming struct {
	source *Source
	group  string
	owner  rollcall.Owner
	link   *link
	ended  sync.WaitGroup
	alive  context.Context // ends when Close begins
	stop   context.CancelFunc

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew when there is more to look at
	sessions uint64
	hold     *holding // nil while the stream is not ours
	letting  bool     // Close drains
	failed   error    // what ends the subscription
	trouble  error    // what the next Fetch tells
}

// holding is the stream in our hands. streaming.mu guards it.
type holding struct {
	lease   rollcall.Token
	token   rollcall.Token
	session uint64          // of receipts
	move    chan struct{}   // closed when it is to be read from elsewhere
	gone    context.Context // ends when it is not ours any more
	lose    context.CancelFunc

	reader *reader // the open channel; nil between two
	next   int64   // is to be read next; -1: whatever is first
	handed int64   // all below was handed over, or never comes
	lost   int64   // what of the offsets below was not handed over was removed, and accepted as lost
	last   seen    // read last
	buffer []entry
}

var _ rollcall.Subscription = (*streaming)(nil)

func (s *Source) stream(request rollcall.SubscribeRequest, owner rollcall.Owner) *streaming {
	sub := &streaming{source: s, group: request.Group, owner: owner, link: s.cluster.link("receives " + s.queue + " as " + request.Group + " " + request.Worker), changed: make(chan struct{})}
	sub.alive, sub.stop = context.WithCancel(context.Background())
	sub.ended.Go(sub.run)
	return sub
}

// run takes the lease when it is free, and works as long as it is ours.
func (s *streaming) run() {
	for try := 0; s.alive.Err() == nil; {
		h, err := s.take()
		if err == nil {
			try = 0
			err = s.work(h)
		}
		if s.alive.Err() != nil {
			return
		}
		if lasting(err) || errors.Is(err, rollcall.ErrNoDestination) {
			s.fail(err)
			return
		}
		if errors.Is(err, errLeaseLost) { // others come first, or the two would take turns
			_ = sleep(s.alive, s.source.config.Lease/2)
		}
		if err != nil {
			s.tell(err)
			_ = sleep(s.alive, backoff.Delay(try, againFirst, time.Second))
			try++
		}
	}
}

// take the lease and the stream: nil when it is ours and the owner has taken it.
func (s *streaming) take() (*holding, error) {
	h, err := s.lease(s.alive)
	if err != nil {
		return nil, err
	}
	starts, err := s.owner.Assigned(s.alive, []rollcall.Assignment{{Partition: s.source.partition(), Incarnation: s.source.incarnation()}})
	if err != nil {
		err = fmt.Errorf("rabbitmq: stream %q: it was assigned and could not be taken: %w", s.source.queue, err)
	} else {
		err = s.verify(h.gone, starts[0].Position, s.seenOf(starts[0]))
	}
	if err == nil {
		h.place(starts[0].Position, s.seenOf(starts[0]))
		h.token = starts[0].Token
		s.mu.Lock()
		s.sessions++
		h.session, s.hold = s.sessions, h
		if s.alive.Err() != nil || s.letting { // Close has seen nothing to drain
			s.hold, err = nil, rollcall.ErrClosed
		}
		s.mu.Unlock()
	}
	if err != nil {
		s.owner.Lost([]rollcall.Partition{s.source.partition()})
		s.release(h)
		return nil, err
	}
	return h, nil
}

// place where to begin. The last message done is what a stream that is joined again is
// known by, as long as nothing was read.
func (h *holding) place(at rollcall.Position, last seen) {
	h.next, h.handed, h.lost, h.buffer, h.last = at.Offset, at.Offset, 0, nil, last
	if at.IsZero() {
		h.next, h.handed = -1, 0
	}
}

// work reads until the stream is not ours any more.
func (s *streaming) work(h *holding) error {
	var err error
	for try := 0; h.gone.Err() == nil; try++ {
		began := time.Now()
		if err = s.read(h); lasting(err) || errors.Is(err, rollcall.ErrNoDestination) {
			break
		}
		if err == nil || time.Since(began) > time.Second {
			try = 0
		}
		if err != nil && h.gone.Err() == nil {
			s.tell(err)
			_ = sleep(h.gone, backoff.Delay(try, againFirst, againMost))
		}
	}
	if s.drop(h) {
		s.owner.Lost([]rollcall.Partition{s.source.partition()})
		s.release(h)
	}
	if h.gone.Err() != nil && err == nil {
		err = fmt.Errorf("rabbitmq: stream %q: %w", s.source.queue, errLeaseLost)
	}
	return err
}

var errLeaseLost = errors.New("the lease ran out, or is another's")

// drop what is in hand; false if Close does that.
func (s *streaming) drop(h *holding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != h || s.letting {
		return false
	}
	s.hold = nil
	s.wake()
	return true
}

func (s *streaming) tell(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
	s.wake()
}

func (s *streaming) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	s.wake()
}

// wake a Fetch that waits. The caller holds mu.
func (s *streaming) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Fetch implements rollcall.Subscription.
func (s *streaming) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	return waitFor(ctx, request.Wait, func(late bool) ([]rollcall.Batch, <-chan struct{}, error) { return s.hand(request, late) })
}

// waitFor asks until there is an answer, the time is over, or something changed.
func waitFor(ctx context.Context, wait time.Duration, hand func(late bool) ([]rollcall.Batch, <-chan struct{}, error)) ([]rollcall.Batch, error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for late := false; ; {
		batches, changed, err := hand(late)
		if changed == nil {
			return batches, err
		}
		select {
		case <-changed:
		case <-deadline.C:
			late = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *streaming) hand(request rollcall.FetchRequest, late bool) ([]rollcall.Batch, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.alive.Err() != nil || s.letting:
		return nil, nil, rollcall.ErrClosed
	case s.failed != nil:
		return nil, nil, s.failed
	case s.trouble != nil:
		err := s.trouble
		s.trouble = nil
		return nil, nil, err
	}
	h := s.hold
	there := 0
	if h != nil && h.gone.Err() == nil && !slices.Contains(request.Paused, s.source.partition()) {
		there = len(h.buffer)
	}
	if there < max(1, request.Min) && !late {
		return nil, s.changed, nil
	}
	if there == 0 {
		return nil, nil, nil
	}
	return []rollcall.Batch{h.take(s.source, max(1, request.Max))}, nil, nil
}

// take hands over at most so many messages, and lets the broker send as many more.
func (h *holding) take(source *Source, most int) rollcall.Batch {
	most = min(most, len(h.buffer))
	b := rollcall.Batch{Partition: source.partition(), Token: h.token, Deliveries: make([]rollcall.Delivery, most)}
	for i := range b.Deliveries {
		e := &h.buffer[i]
		if e.offset > h.handed {
			gone := min(e.offset, max(h.lost, h.handed))
			if gone > h.handed {
				b.Covered = append(b.Covered, rollcall.OffsetRange{First: h.handed, Last: gone - 1, Lost: true})
			}
			if e.offset > gone { // before the first message that the group ever saw
				b.Covered = append(b.Covered, rollcall.OffsetRange{First: gone, Last: e.offset - 1})
			}
		}
		h.handed = e.offset + 1
		b.Deliveries[i] = e.delivery(source, h.session)
	}
	if h.reader != nil {
		h.reader.credit(h.buffer[:most])
	}
	clear(h.buffer[:most])
	h.buffer = h.buffer[most:]
	return b
}

// Settle implements rollcall.Subscription: the store's roll says what is done, the broker
// keeps nothing of it.
func (s *streaming) Settle(_ context.Context, settlements []rollcall.Settlement) []error {
	errs := make([]error, len(settlements))
	s.mu.Lock()
	defer s.mu.Unlock()
	again := int64(-1)
	for i, x := range settlements {
		switch h := s.hold; {
		case h == nil || h.gone.Err() != nil || x.Partition != s.source.partition():
			errs[i] = rollcall.ErrNotOwner
		case x.Receipt.Session != h.session:
			errs[i] = rollcall.ErrStaleReceipt
		case x.Verb == rollcall.Retry || x.Verb == rollcall.RetryAfter:
			if at := int64(x.Receipt.Number); again < 0 || at < again {
				again = at
			}
		}
	}
	if again >= 0 { // one message comes again only with those behind it
		s.moveTo(again)
	}
	return errs
}

// moveTo reads on elsewhere. The caller holds mu.
func (s *streaming) moveTo(offset int64) {
	h := s.hold
	h.next, h.handed, h.buffer, h.lost = offset, max(offset, 0), nil, 0 // what was read last lies where it lay
	close(h.move)
	h.move = make(chan struct{})
}

// Restart implements rollcall.Subscription.
func (s *streaming) Restart(_ context.Context, partition rollcall.Partition, start rollcall.Start) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hold
	if h == nil || h.gone.Err() != nil || s.letting || partition != s.source.partition() {
		return rollcall.ErrNotOwner
	}
	at := start.Position
	if !at.IsZero() && at.Incarnation != s.source.incarnation() {
		return fmt.Errorf("%w: rabbitmq: stream %q: a start in another stream", rollcall.ErrNotOwner, s.source.queue)
	}
	s.sessions++
	h.session, h.token = s.sessions, start.Token
	if at.IsZero() {
		at.Offset = -1
	}
	s.moveTo(at.Offset)
	return nil
}

// Close implements rollcall.Subscription.
func (s *streaming) Close(ctx context.Context) error {
	s.mu.Lock()
	h, again := s.hold, s.letting
	s.letting = true
	s.wake()
	s.mu.Unlock()
	if again {
		return nil
	}
	if h != nil {
		s.owner.Revoked(ctx, []rollcall.Partition{s.source.partition()})
	}
	s.stop()
	s.source.cluster.unlink(s.link)
	s.ended.Wait()
	s.mu.Lock()
	s.hold = nil
	s.mu.Unlock()
	if h != nil {
		s.release(h)
	}
	return nil
}
