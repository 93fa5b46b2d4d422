package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Subscription is one member of a group.
type Subscription struct {
	source *Source
	group  string
	owner  rollcall.Owner
	client *kgo.Client
	ctx    context.Context // ends when Close does not wait any longer
	cancel context.CancelFunc
	ended  sync.WaitGroup // our goroutines
	stop   context.CancelFunc
	cut    context.CancelFunc // ends the client's requests
	alive  context.Context    // ends when Close begins

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew when there is more to fetch
	parts    map[int32]*part
	refused  error // why the owner did not take what was assigned
	failed   error // what ends the subscription
	trouble  error // what the next Fetch tells
	sessions uint64
	moves    []*move
	poke     context.CancelFunc // ends the poll that is under way
	eaten    chan struct{}      // something was handed over, or let go, or is wanted
	wanted   bool               // a Fetch waits for more
}

// Subscribe joins the group. It returns before partitions are assigned.
func (s *Source) Subscribe(ctx context.Context, request rollcall.SubscribeRequest, owner rollcall.Owner) (rollcall.Subscription, error) {
	if request.Group == "" {
		return nil, configError("group", `""`, "give the group a name")
	}
	if _, err := s.cluster.topic(ctx, s.topic.name); err != nil {
		return nil, err
	}
	sub := &Subscription{source: s, group: request.Group, owner: owner, changed: make(chan struct{}), parts: make(map[int32]*part), poke: func() {}, eaten: make(chan struct{}, 1)}
	group, err := s.config.group()
	if err != nil {
		return nil, err
	}
	var network context.Context
	network, sub.cut = context.WithCancel(context.Background())
	options, err := s.cluster.options(append(group,
		kgo.WithContext(network),
		kgo.ConsumerGroup(request.Group),
		kgo.ConsumeTopics(s.topic.name),
		kgo.OnPartitionsAssigned(sub.assigned),
		kgo.OnPartitionsRevoked(sub.revoked),
		kgo.OnPartitionsLost(sub.lost),
		kgo.AdjustFetchOffsetsFn(sub.starts),
	)...)
	if err != nil {
		sub.cut()
		return nil, err
	}
	sub.ctx, sub.cancel = context.WithCancel(context.Background())
	sub.alive, sub.stop = context.WithCancel(sub.ctx)
	if sub.client, err = kgo.NewClient(options...); err != nil {
		sub.cut()
		sub.cancel()
		return nil, fmt.Errorf("%w: kafka: %w", rollcall.ErrConfig, err)
	}
	sub.ended.Go(sub.poll)
	if s.config.CommitEvery > 0 {
		sub.ended.Go(sub.commitLoop)
	}
	return sub, nil
}

// Fetch implements rollcall.Subscription.
func (s *Subscription) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	deadline := time.NewTimer(request.Wait)
	defer deadline.Stop()
	for late := false; ; {
		batches, changed, err := s.hand(request, late || ctx.Err() != nil)
		if changed == nil {
			return batches, err
		}
		select {
		case <-changed:
		case <-deadline.C:
			late = true
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// hand over what there is: if it is enough, or late. Else what to wait for.
func (s *Subscription) hand(request rollcall.FetchRequest, late bool) ([]rollcall.Batch, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alive.Err() != nil {
		return nil, nil, rollcall.ErrClosed
	}
	if s.failed != nil {
		return nil, nil, s.failed
	}
	ready := s.ready(request.Paused)
	n := 0
	for _, p := range ready {
		n += len(p.buffer)
	}
	s.wanted = n < max(1, request.Min) && !late && s.trouble == nil
	if s.wanted {
		s.ate()
		return nil, s.changed, nil
	}
	var batches []rollcall.Batch
	for _, p := range ready {
		batches = append(batches, p.take(s.source.partition(p.number), s.source.topic.id, request.Max))
		s.readOn(p)
		s.ate()
	}
	err := s.trouble
	s.trouble = nil
	return batches, nil, err
}

// ready are the parts that have something to hand over, by number.
func (s *Subscription) ready(paused []rollcall.Partition) []*part {
	var out []*part
	for _, p := range s.parts {
		if len(p.buffer) > 0 && !p.letting && !slices.Contains(paused, s.source.partition(p.number)) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *part) int { return int(a.number - b.number) })
	return out
}

// readOn lets the client read a partition again that has room, and stops it where
// there is far too much while others have room: else one slow partition would fill
// the memory. The caller holds mu.
func (s *Subscription) readOn(p *part) {
	most := s.source.config.Buffer
	if p.paused && len(p.buffer) <= most/2 {
		p.paused = false
		s.client.ResumeFetchPartitions(map[string][]int32{s.source.topic.name: {p.number}})
	} else if !p.paused && len(p.buffer) >= full*most {
		p.paused = true
		s.client.PauseFetchPartitions(map[string][]int32{s.source.topic.name: {p.number}})
	}
}

// ate lets the poll loop look again who has room.
func (s *Subscription) ate() {
	select {
	case s.eaten <- struct{}{}:
	default:
	}
}

// wake a Fetch that waits. The caller holds mu.
func (s *Subscription) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// fail ends the subscription. The caller holds mu.
func (s *Subscription) fail(err error) {
	if s.failed == nil {
		s.failed = err
	}
	s.wake()
}

// Settle implements rollcall.Subscription: it marks what is done, for the floor that
// Kafka is told.
func (s *Subscription) Settle(_ context.Context, settlements []rollcall.Settlement) []error {
	errs := make([]error, len(settlements))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range settlements {
		errs[i] = s.settle(x)
	}
	return errs
}

func (s *Subscription) settle(x rollcall.Settlement) error {
	p := s.parts[x.Partition.Number]
	switch {
	case p == nil || x.Partition.Destination != s.source.topic.name:
		return rollcall.ErrNotOwner
	case x.Receipt.Session != p.session:
		return rollcall.ErrStaleReceipt
	case x.Verb == rollcall.Ack || x.Verb == rollcall.Reject:
		p.settled.Add(x.Receipt.Number + 1)
		return nil
	}
	// Kafka brings one message again only with those behind it.
	s.moveTo(&move{part: p, from: int64(x.Receipt.Number), session: p.session, again: true, done: make(chan struct{})})
	return nil
}

// Close implements rollcall.Subscription.
func (s *Subscription) Close(ctx context.Context) error {
	if s.alive.Err() != nil {
		return nil
	}
	defer context.AfterFunc(ctx, s.cancel)() // who waits no longer, does not drain either
	s.stop()
	s.mu.Lock()
	s.wake()
	owned := s.all()
	s.mu.Unlock()
	s.drop(s.ctx, owned) // at once: leaving may have to wait for others
	leaving, done := context.WithTimeout(context.WithoutCancel(ctx), leavePatience)
	defer done()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(commitPatience, done) })()
	left := s.client.LeaveGroupContext(leaving)
	if left != nil {
		s.cut() // a join that is under way would be waited for, as long as a dead member's session
	}
	s.ended.Wait()
	s.mu.Lock()
	rest := s.all()
	s.mu.Unlock()
	s.drop(s.ctx, rest) // what came meanwhile
	s.cancel()
	s.client.CloseAllowingRebalance()
	s.cut()
	if left != nil && !errors.Is(left, context.Canceled) {
		s.source.cluster.warn("group %q could not be left: %v; the others get its partitions after the session timeout (%v)", s.group, left, s.source.config.SessionTimeout)
	}
	return nil
}

// leavePatience is how long leaving the group may take. While another member is missed,
// the broker lets nobody leave.
const leavePatience = 5 * time.Second
