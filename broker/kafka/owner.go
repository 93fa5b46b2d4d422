package kafka

import (
	"context"
	"slices"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kgo"
)

// assigned asks the owner for tokens and starts. The client lets nobody poll
// meanwhile. An owner that cannot take them now (its store is away) makes the member
// give all back and join again.
func (s *Subscription) assigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	numbers := slices.Sorted(slices.Values(added[s.source.topic.name]))
	if len(numbers) == 0 {
		return
	}
	assignments := make([]rollcall.Assignment, len(numbers))
	for i, n := range numbers {
		assignments[i] = rollcall.Assignment{Partition: s.source.partition(n), Incarnation: s.source.topic.id}
	}
	starts, err := s.owner.Assigned(s.ctx, assignments)
	var from []place
	if err == nil {
		from, err = s.verify(s.ctx, numbers, starts)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = denied(err)
	s.refused = err
	if err != nil {
		if lasting(err) {
			s.fail(err)
		}
		return
	}
	for i, n := range numbers {
		s.sessions++
		p := &part{number: n, gone: make(chan struct{}), committed: -1}
		p.begin(from[i], starts[i].Token, s.sessions)
		s.parts[n] = p
	}
}

// starts tells the client where to begin; what Kafka has as committed does not count.
func (s *Subscription) starts(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused != nil {
		return nil, s.refused
	}
	for n := range offsets[s.source.topic.name] {
		p := s.parts[n]
		switch {
		case p == nil:
			delete(offsets[s.source.topic.name], n)
		case p.next < 0:
			offsets[s.source.topic.name][n] = kgo.NewOffset().AtStart()
		default:
			offsets[s.source.topic.name][n] = kgo.NewOffset().At(p.next)
		}
	}
	return offsets, nil
}

// revoked drains: the owner finishes what is in hand, then the partitions go.
func (s *Subscription) revoked(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.drop(s.ctx, gone[s.source.topic.name])
}

func (s *Subscription) drop(ctx context.Context, numbers []int32) {
	s.mu.Lock()
	parts := s.letGo(numbers)
	s.mu.Unlock()
	if len(parts) == 0 {
		return
	}
	s.owner.Revoked(ctx, s.partitions(parts))
	s.commit(ctx, parts)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(parts)
}

// lost: they are others' already. Nothing is settled.
func (s *Subscription) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.mu.Lock()
	parts := s.letGo(gone[s.source.topic.name])
	s.forget(parts)
	refused := s.refused
	s.mu.Unlock()
	partitions := s.partitions(parts)
	if refused != nil { // the owner may have taken some of them before it failed
		partitions = nil
		for _, n := range gone[s.source.topic.name] {
			partitions = append(partitions, s.source.partition(n))
		}
	}
	if len(partitions) > 0 {
		s.owner.Lost(partitions)
	}
}

// letGo marks parts, so that nothing more is handed over. The caller holds mu.
func (s *Subscription) letGo(numbers []int32) []*part {
	var parts []*part
	for _, n := range numbers {
		if p := s.parts[n]; p != nil && !p.letting {
			p.letting = true
			close(p.gone)
			parts = append(parts, p)
		}
	}
	return parts
}

// forget parts. The caller holds mu.
func (s *Subscription) forget(parts []*part) {
	s.ate()
	for _, p := range parts {
		p.buffer = nil
		if s.parts[p.number] == p {
			delete(s.parts, p.number)
		}
		if p.paused { // a pause outlives the assignment
			s.client.ResumeFetchPartitions(map[string][]int32{s.source.topic.name: {p.number}})
		}
	}
}

func (s *Subscription) partitions(parts []*part) []rollcall.Partition {
	out := make([]rollcall.Partition, len(parts))
	for i, p := range parts {
		out[i] = s.source.partition(p.number)
	}
	return out
}

// all numbers that we have. The caller holds mu.
func (s *Subscription) all() []int32 {
	var out []int32
	for n := range s.parts {
		out = append(out, n)
	}
	return out
}
