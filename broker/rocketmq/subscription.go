package rocketmq

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Subscription is one member of a group.
type Subscription struct {
	source  *Source
	group   string
	session *session
	alive   context.Context // ends when Close begins
	stop    context.CancelFunc
	ended   sync.WaitGroup // receivers, and who prolongs

	mu         sync.Mutex
	changed    chan struct{} // closed and made anew when there is more to hand over
	hungry     chan struct{} // the same, when receivers may ask for more
	token      rollcall.Token
	generation uint64 // of receipts: Restart begins another one
	numbers    uint64
	held       map[uint64]*held // all that we hold, by number: in the buffer, and handed over
	buffer     []*held
	want       int      // what the Fetch that waits would take
	brokers    []string // that are asked, by place
	asked      []int    // by place: what receivers have under way
	trouble    error
	polls      map[*poll]bool // that are under way
	idle       []idle         // by place
	busy       time.Time      // when there last was something to do
	probed     time.Time      // when Empty last asked,
	probe      int            // and for how many, while it does
	missing    time.Time      // since when the topic is, though it was there
	closed     bool
}

var (
	_ rollcall.Subscription = (*Subscription)(nil)
	_ rollcall.Extender     = (*Subscription)(nil)
	_ rollcall.Emptier      = (*Subscription)(nil)
)

// held is a message that the server keeps invisible for us.
type held struct {
	number   uint64
	delivery rollcall.Delivery
	link     *link
	id       string // the server's
	attempt  int32
	since    time.Time     // when it was received
	until    time.Time     // when others may have it
	handle   string        // the server's receipt, a new one after each prolonging
	turn     chan struct{} // holds one token: who has it may use the handle
}

func newSubscription(s *Source, request rollcall.SubscribeRequest, session *session) *Subscription {
	sub := &Subscription{source: s, group: request.Group, session: session, token: request.Token, generation: 1,
		held: make(map[uint64]*held), polls: make(map[*poll]bool), changed: make(chan struct{}), hungry: make(chan struct{}), busy: time.Now()}
	sub.alive, sub.stop = context.WithCancel(context.Background())
	session.group = s.cluster.resource(request.Group)
	session.accept = s.orderly(request.Group)
	return sub
}

// begin starts the receivers, some for each broker.
func (s *Subscription) begin(places []place) {
	s.add(places)
	s.ended.Go(s.prolong)
	s.ended.Go(s.watch)
}

// add starts receivers for brokers that have none yet.
func (s *Subscription) add(places []place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range places {
		broker := p.queue.GetBroker().GetName()
		if s.closed || slices.Contains(s.brokers, broker) {
			continue
		}
		number := len(s.brokers)
		s.brokers, s.idle, s.asked = append(s.brokers, broker), append(s.idle, idle{}), append(s.asked, 0)
		for range s.source.config.Receivers {
			r := &receiver{subscription: s, place: p, number: number}
			s.ended.Go(r.run)
		}
	}
}

// watch looks for brokers that the topic was spread to.
func (s *Subscription) watch() {
	tick := time.NewTicker(routeAge)
	defer tick.Stop()
	for {
		select {
		case <-s.alive.Done():
			return
		case <-tick.C:
		}
		s.look()
	}
}

func (s *Subscription) look() {
	if r, err := s.source.cluster.route(s.alive, s.source.topic); err == nil {
		s.add(r.all())
	}
}

// Fetch implements rollcall.Subscription.
func (s *Subscription) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	deadline := time.NewTimer(request.Wait)
	defer deadline.Stop()
	paused := slices.Contains(request.Paused, s.partition())
	if !paused {
		s.ask(max(1, request.Max))
	}
	defer s.ask(0)
	for late := false; ; {
		batches, changed, err := s.hand(request, paused, late)
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

func (s *Subscription) partition() rollcall.Partition {
	return rollcall.Partition{Destination: s.source.topic}
}

// ask lets receivers fill the buffer up to n messages.
func (s *Subscription) ask(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = n
	s.feed()
}

// feed makes receivers look again whether they may ask. The caller holds mu.
func (s *Subscription) feed() {
	close(s.hungry)
	s.hungry = make(chan struct{})
}

// wake a Fetch that waits. The caller holds mu.
func (s *Subscription) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// hand over what there is: if it is enough, or late. Else what to wait for.
func (s *Subscription) hand(request rollcall.FetchRequest, paused, late bool) ([]rollcall.Batch, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, rollcall.ErrClosed
	}
	s.dropLate()
	n := len(s.buffer)
	if paused {
		n = 0
	}
	if n < max(1, request.Min) && !late && s.trouble == nil {
		return nil, s.changed, nil
	}
	err := s.trouble
	s.trouble = nil
	if n == 0 {
		return nil, nil, err
	}
	n = min(n, max(1, request.Max))
	batch := rollcall.Batch{Partition: s.partition(), Token: s.token, Deliveries: make([]rollcall.Delivery, n)}
	for i, h := range s.buffer[:n] {
		batch.Deliveries[i] = h.delivery
	}
	s.buffer = slices.Delete(s.buffer, 0, n)
	return []rollcall.Batch{batch}, nil, err
}

// dropLate lets go of what others may have by now: this process slept. The caller holds
// mu.
func (s *Subscription) dropLate() {
	now := time.Now()
	s.buffer = slices.DeleteFunc(s.buffer, func(h *held) bool {
		if now.Before(h.until) {
			return false
		}
		delete(s.held, h.number)
		return true
	})
}

// Restart implements rollcall.Subscription: what is held is given back, and comes again
// under the new token.
func (s *Subscription) Restart(ctx context.Context, _ rollcall.Partition, start rollcall.Start) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return rollcall.ErrClosed
	}
	s.token = start.Token
	s.generation++
	all := s.letGo()
	s.mu.Unlock()
	s.giveBack(ctx, all)
	return nil
}

// letGo forgets all that is held. The caller holds mu, and gives it back.
func (s *Subscription) letGo() []*held {
	all := make([]*held, 0, len(s.held))
	for _, h := range s.held {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *held) int { return int(a.number) - int(b.number) })
	clear(s.held)
	s.buffer = nil
	return all
}

// Close implements rollcall.Subscription. What is held is given back; a request that is
// under way is given up, and the server gives back what it would have brought.
func (s *Subscription) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.wake()
	all := s.letGo()
	s.mu.Unlock()
	s.stop()
	s.ended.Wait()
	s.mu.Lock()
	all = append(all, s.letGo()...) // what came meanwhile
	s.mu.Unlock()
	s.giveBack(ctx, all)
	s.session.close(ctx)
	return nil
}
