package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Source returns the receiving half for one destination.
func (b *Broker) Source(destination string) *Source { return &Source{b, destination} }

// Source implements rollcall.Source and, if Replayable, rollcall.Measurer.
type Source struct {
	broker      *Broker
	destination string
}

// Capabilities implements rollcall.Source.
func (s *Source) Capabilities() rollcall.Capabilities { return s.broker.Capabilities() }

// Measure implements rollcall.Measurer.
func (s *Source) Measure(context.Context) ([]rollcall.Extent, error) {
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.config.Shape != Replayable {
		return nil, fmt.Errorf("memory: only replayable partitions can be measured")
	}
	d := b.destination(s.destination)
	var out []rollcall.Extent
	for n, records := range d.partitions {
		out = append(out, rollcall.Extent{Partition: rollcall.Partition{Destination: s.destination, Number: int32(n)},
			Incarnation: d.incarnation, First: d.first[n], End: int64(len(records))})
	}
	return out, nil
}

// Subscribe implements rollcall.Source.
func (s *Source) Subscribe(_ context.Context, request rollcall.SubscribeRequest, owner rollcall.Owner) (rollcall.Subscription, error) {
	b := s.broker
	b.mu.Lock()
	key := keyOf(request.Group, s.destination)
	g := b.groups[key]
	if g == nil {
		g = &group{destination: s.destination, parts: make(map[rollcall.Partition]*groupPart)}
		b.groups[key] = g
	}
	g.sessions++
	m := &Subscription{broker: b, group: g, owner: owner, worker: request.Worker, token: request.Token, session: g.sessions,
		assigned: make(map[rollcall.Partition]*assignment)}
	g.members = append(g.members, m)
	b.mu.Unlock()
	b.rebalance(g)
	return m, nil
}

// Subscription implements rollcall.Subscription.
type Subscription struct {
	broker *Broker
	group  *group
	owner  rollcall.Owner
	worker string

	// Guarded by broker.mu.
	token    rollcall.Token // of shared partitions
	session  uint64         // of shared partitions
	assigned map[rollcall.Partition]*assignment
	gone     bool
	damaged  error
	stopped  bool // the machine is suspended: see Stop
}

// assignment is one exclusive partition in the hands of a member.
type assignment struct {
	incarnation rollcall.Incarnation
	token       rollcall.Token
	session     uint64
	next        int64 // next offset of a replayable partition
}

func (m *Subscription) notIn(target []rollcall.Assignment) []rollcall.Partition {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	var out []rollcall.Partition
	for p, a := range m.assigned {
		if !slices.Contains(target, rollcall.Assignment{Partition: p, Incarnation: a.incarnation}) {
			out = append(out, p)
		}
	}
	return out
}

func (m *Subscription) without(target []rollcall.Assignment) []rollcall.Assignment {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(target), func(a rollcall.Assignment) bool { return m.assigned[a.Partition] != nil })
}

func (m *Subscription) revoke(partitions []rollcall.Partition) {
	m.owner.Revoked(context.Background(), partitions)
	m.drop(partitions)
}

// drop ends the assignments: receipts are stale, what is unsettled comes again.
func (m *Subscription) drop(partitions []rollcall.Partition) {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	for _, p := range partitions {
		delete(m.assigned, p)
		m.group.part(p).giveBack(m)
	}
	m.broker.changed.Broadcast()
}

func (m *Subscription) assign(coming []rollcall.Assignment) {
	starts, err := m.owner.Assigned(context.Background(), coming)
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	if err != nil && !m.gone { // the owner's store is away: it is asked again
		time.AfterFunc(assignAgain, func() { m.broker.rebalance(m.group) })
	}
	if err != nil || m.gone {
		return
	}
	for i, a := range coming {
		if at := starts[i].Position; !at.IsZero() && at.Incarnation != a.Incarnation {
			continue // a position of another incarnation is refused, never reinterpreted
		}
		if end := m.end(a.Partition); starts[i].Position.Offset > end {
			m.damaged = fmt.Errorf("%w: %v is to start at offset %d and ends at %d: messages are gone", rollcall.ErrDamaged, a.Partition, starts[i].Position.Offset, end)
			continue
		}
		m.group.sessions++
		m.assigned[a.Partition] = &assignment{a.Incarnation, starts[i].Token, m.group.sessions, starts[i].Position.Offset}
	}
	m.broker.changed.Broadcast()
}

// assignAgain is when an owner that could not take its partitions is asked again.
const assignAgain = 100 * time.Millisecond

// end is the offset after the last; the caller holds the lock.
func (m *Subscription) end(p rollcall.Partition) int64 {
	return int64(len(m.broker.destination(m.group.destination).partitions[p.Number]))
}

// Fetch implements rollcall.Subscription.
func (m *Subscription) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	b := m.broker
	wake := func() { b.mu.Lock(); b.changed.Broadcast(); b.mu.Unlock() }
	deadline := time.Now().Add(request.Wait) // before the timer starts, so that it has passed when that fires
	timer := time.AfterFunc(request.Wait, wake)
	defer timer.Stop()
	defer context.AfterFunc(ctx, wake)()
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if m.gone {
			return nil, rollcall.ErrClosed
		}
		if m.damaged != nil {
			return nil, m.damaged
		}
		late := ctx.Err() != nil || !time.Now().Before(deadline)
		if !m.stopped && (late || m.available(request) >= max(1, request.Min)) {
			return m.collect(request), ctx.Err()
		}
		if late && m.stopped && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		b.changed.Wait()
	}
}

func (m *Subscription) available(request rollcall.FetchRequest) int {
	n := 0
	for _, batch := range m.peek(request) {
		n += len(batch.Deliveries) + len(batch.Covered)
	}
	return n
}

// collect hands over: from here on the messages are held by this member.
func (m *Subscription) collect(request rollcall.FetchRequest) []rollcall.Batch {
	batches := m.peek(request)
	for _, batch := range batches {
		gp := m.group.part(batch.Partition)
		a := m.assigned[batch.Partition]
		for i := range batch.Deliveries {
			offset := int64(batch.Deliveries[i].Receipt.Number)
			r := gp.at(offset)
			r.held, r.delivered = m, true
			if a != nil {
				a.next = offset + 1
			}
		}
		if n := len(batch.Covered); a != nil && n > 0 {
			a.next = max(a.next, batch.Covered[n-1].Last+1)
		}
	}
	return batches
}

// peek is what could be handed over now.
func (m *Subscription) peek(request rollcall.FetchRequest) []rollcall.Batch {
	d := m.broker.destination(m.group.destination)
	var out []rollcall.Batch
	for n := range d.partitions {
		p := rollcall.Partition{Destination: m.group.destination, Number: int32(n)}
		if slices.Contains(request.Paused, p) {
			continue
		}
		batch := rollcall.Batch{Partition: p, Token: m.token}
		session, from := m.session, int64(0)
		if m.broker.config.Shape != Shared {
			a := m.assigned[p]
			if a == nil {
				continue
			}
			batch.Token, session, from = a.token, a.session, a.next
		}
		m.fill(&batch, d, from, session, request.Max)
		if len(batch.Deliveries)+len(batch.Covered) > 0 {
			out = append(out, batch)
		}
	}
	return out
}

func (m *Subscription) fill(batch *rollcall.Batch, d *destination, from int64, session uint64, most int) {
	gp := m.group.part(batch.Partition)
	replay := m.broker.config.Shape == Replayable
	if !replay {
		from = gp.low
	}
	records := d.partitions[batch.Partition.Number]
	for offset := max(from, d.first[batch.Partition.Number]); offset < int64(len(records)) && len(batch.Deliveries) < most; offset++ {
		known := gp.of(offset)
		switch {
		case records[offset].marker:
			batch.Covered = append(batch.Covered, rollcall.OffsetRange{First: offset, Last: offset})
		case !replay && (known.acked || known.held != nil):
		default:
			batch.Deliveries = append(batch.Deliveries, rollcall.Delivery{
				Message:     records[offset].message,
				Position:    m.broker.position(d, offset),
				Receipt:     rollcall.Receipt{Session: session, Number: uint64(offset)},
				Redelivered: !replay && known.delivered,
			})
		}
	}
	if !replay {
		batch.Covered = nil
	}
}

// Settle implements rollcall.Subscription.
func (m *Subscription) Settle(_ context.Context, settlements []rollcall.Settlement) []error {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	errs := make([]error, len(settlements))
	for i, s := range settlements {
		errs[i] = m.settle(s)
	}
	m.broker.changed.Broadcast()
	return errs
}

func (m *Subscription) settle(s rollcall.Settlement) error {
	session := m.session
	if m.broker.config.Shape != Shared {
		a := m.assigned[s.Partition]
		if a == nil {
			return rollcall.ErrNotOwner
		}
		session = a.session
	}
	if m.gone {
		return rollcall.ErrClosed
	}
	if s.Receipt.Session != session {
		return rollcall.ErrStaleReceipt
	}
	gp := m.group.part(s.Partition)
	offset := int64(s.Receipt.Number)
	gp.at(offset).held = nil
	switch s.Verb {
	case rollcall.Ack, rollcall.Reject:
		gp.ack(offset)
	default:
		if a := m.assigned[s.Partition]; a != nil && m.broker.config.Shape == Replayable {
			a.next = min(a.next, offset)
		}
	}
	return nil
}

// Empty implements rollcall.Emptier, where there are no positions.
func (m *Subscription) Empty(context.Context) (bool, error) {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	if m.gone {
		return false, rollcall.ErrClosed
	}
	for n, records := range m.broker.destination(m.group.destination).partitions {
		p := rollcall.Partition{Destination: m.group.destination, Number: int32(n)}
		if m.group.part(p).left(int64(len(records)), m) {
			return false, nil
		}
	}
	return true, nil
}

// Restart implements rollcall.Subscription.
func (m *Subscription) Restart(_ context.Context, p rollcall.Partition, start rollcall.Start) error {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	m.group.sessions++
	if m.broker.config.Shape == Shared {
		m.token, m.session = start.Token, m.group.sessions
		for _, gp := range m.group.parts {
			gp.giveBack(m)
		}
	} else {
		a := m.assigned[p]
		if a == nil {
			return rollcall.ErrNotOwner
		}
		if at := start.Position; !at.IsZero() && at.Incarnation != a.incarnation {
			return fmt.Errorf("%w: start of incarnation %x in a partition of %x", rollcall.ErrNotOwner, at.Incarnation, a.incarnation)
		}
		a.token, a.session, a.next = start.Token, m.group.sessions, start.Position.Offset
		m.group.part(p).giveBack(m)
	}
	m.broker.changed.Broadcast()
	return nil
}

// Close implements rollcall.Subscription.
func (m *Subscription) Close(context.Context) error {
	m.part()
	m.broker.rebalance(m.group)
	return nil
}

// part leaves the group while nobody rebalances it: who came by our partitions before
// we gave back what we hold would be handed what lies behind it.
func (m *Subscription) part() {
	m.group.rebalancing.Lock()
	defer m.group.rebalancing.Unlock()
	m.broker.mu.Lock()
	if m.gone {
		m.broker.mu.Unlock()
		return
	}
	m.group.members = slices.DeleteFunc(m.group.members, func(o *Subscription) bool { return o == m })
	owned := slices.Collect(maps.Keys(m.assigned))
	m.broker.mu.Unlock()
	if len(owned) > 0 {
		m.revoke(owned)
	}
	m.leave()
}

func (m *Subscription) leave() {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	m.gone = true
	clear(m.assigned)
	for _, gp := range m.group.parts {
		gp.giveBack(m)
	}
	m.broker.changed.Broadcast()
}

// Members are the subscriptions of a group, oldest first, for tests that
// expire or stop one.
func (b *Broker) Members(groupName, dest string) []*Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.groups[keyOf(groupName, dest)]; g != nil {
		return slices.Clone(g.members)
	}
	return nil
}

// String is what the member holds, for failing tests.
func (m *Subscription) String() string {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	s := m.worker
	for p, a := range m.assigned {
		s += fmt.Sprintf(" [%s/%d token %d next %d]", p.Destination, p.Number, a.token, a.next)
	}
	return s
}

// Worker is the name under which the member subscribed.
func (m *Subscription) Worker() string { return m.worker }

// Expire is a session timeout: the broker takes everything from the member and
// gives it to others, who start at once. The member is not told until tell is
// called (it is asleep, or cut off).
func (m *Subscription) Expire() (tell func()) {
	m.broker.mu.Lock()
	m.group.members = slices.DeleteFunc(m.group.members, func(o *Subscription) bool { return o == m })
	owned := slices.Collect(maps.Keys(m.assigned))
	m.broker.mu.Unlock()
	m.leave()
	m.broker.rebalance(m.group)
	return func() {
		if len(owned) > 0 {
			m.owner.Lost(owned)
		}
	}
}

// Bounce takes partitions away and gives them back to the same member while it
// still has batches of the first time in hand.
func (m *Subscription) Bounce(partitions []rollcall.Partition) {
	m.broker.mu.Lock()
	var back []rollcall.Assignment
	for _, p := range partitions {
		if a := m.assigned[p]; a != nil {
			back = append(back, rollcall.Assignment{Partition: p, Incarnation: a.incarnation})
		}
	}
	m.broker.mu.Unlock()
	m.drop(partitions)
	m.owner.Lost(partitions)
	m.assign(back)
}

// Stop suspends the member: Fetch returns nothing until it is continued.
func (m *Subscription) Stop(stopped bool) {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	m.stopped = stopped
	m.broker.changed.Broadcast()
}
