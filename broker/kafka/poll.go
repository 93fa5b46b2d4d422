package kafka

import (
	"context"
	"fmt"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kgo"
)

// pollMost is how many records one poll takes from the client.
const pollMost = 5000

// full is how many times its Buffer a partition may hold before it is paused.
const full = 4

// poll moves what the client has read into the buffers of parts. All that changes
// where the client reads happens here, or while the client lets nobody poll, so that
// a hole between two records is always one of Kafka's.
func (s *Subscription) poll() {
	for s.alive.Err() == nil {
		ctx, cancel := context.WithCancel(s.alive)
		s.mu.Lock()
		moves := s.moves
		s.moves, s.poke = nil, cancel
		s.mu.Unlock()
		for _, m := range moves {
			s.reposition(m)
		}
		s.appetite(ctx)
		fetches := s.client.PollRecords(ctx, pollMost)
		cutOff := s.cutOff(fetches)
		s.mu.Lock()
		if cutOff != nil {
			s.fail(cutOff)
		}
		fetches.EachPartition(s.keep)
		s.wake()
		s.mu.Unlock()
		s.client.AllowRebalance()
		cancel()
	}
}

// appetite waits until a partition has room. The client reads ahead no further than
// one answer of each broker, and keeps that; what it has of a paused partition it
// throws away and reads again.
func (s *Subscription) appetite(ctx context.Context) {
	for {
		s.mu.Lock()
		hungry := len(s.parts) == 0 || s.wanted
		for _, p := range s.parts {
			hungry = hungry || p.letting || len(p.buffer) <= s.source.config.Buffer/2
		}
		s.mu.Unlock()
		if hungry {
			return
		}
		select {
		case <-s.eaten:
		case <-ctx.Done():
			return
		}
	}
}

// keep takes what came of one partition. The caller holds mu.
func (s *Subscription) keep(f kgo.FetchTopicPartition) {
	p := s.parts[f.Partition]
	if f.Err != nil {
		s.pollFailed(p, f.Err)
	}
	if s.failed != nil || p == nil || f.Topic != s.source.topic.name || p.letting {
		return
	}
	for _, r := range f.Records {
		if r.Offset < p.next {
			s.fail(fmt.Errorf("%w: kafka: topic %q, partition %d: offset %d came after offset %d: the log was cut off and filled again", rollcall.ErrDamaged, f.Topic, f.Partition, r.Offset, p.next-1))
			return
		}
		p.buffer = append(p.buffer, r)
		p.next, p.epoch = r.Offset+1, r.LeaderEpoch
	}
	s.readOn(p)
}

// move is a partition that is to be read from another offset.
type move struct {
	part    *part
	from    int64
	token   rollcall.Token
	session uint64
	behind  bool // what was handed over stays so, and what lies before from never comes
	again   bool // what is settled stays so, also above from, and nothing else counts as done
	done    chan struct{}
}

// moveTo asks the poll loop for it. The caller holds mu.
func (s *Subscription) moveTo(m *move) {
	s.moves = append(s.moves, m)
	s.poke()
}

// reposition carries it out, between two polls.
func (s *Subscription) reposition(m *move) {
	defer close(m.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := m.part
	if s.parts[p.number] != p || p.letting {
		return
	}
	if m.again && (m.session != p.session || m.from >= p.handed) { // it comes anyway
		return
	}
	name, to := s.source.topic.name, kgo.EpochOffset{Epoch: -1, Offset: m.from}
	s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{name: {p.number: to}})
	if s.client.CommittedOffsets()[name][p.number] != to {
		// The client passes over what it does not know. To go on would take all in
		// between for holes.
		s.fail(fmt.Errorf("%w: kafka: topic %q, partition %d: the client could not go back to offset %d; start again, nothing is lost", rollcall.ErrClosed, name, p.number, m.from))
		return
	}
	if m.behind {
		if p.next >= 0 { // what nobody was promised is not lost
			p.lost = m.from
		}
		p.next = m.from
		return
	}
	if m.again {
		p.next, p.epoch, p.handed, p.buffer = m.from, -1, m.from, nil
	} else {
		p.begin(place{m.from, m.from}, m.token, m.session)
	}
	s.readOn(p)
}

// Restart implements rollcall.Subscription.
func (s *Subscription) Restart(ctx context.Context, partition rollcall.Partition, start rollcall.Start) error {
	return s.restart(ctx, partition, start, 0)
}

// restart does so if the partition is still in the session; 0: in whichever.
func (s *Subscription) restart(ctx context.Context, partition rollcall.Partition, start rollcall.Start, session uint64) error {
	from := start.Position.Offset
	if start.Position.IsZero() {
		var err error
		if from, err = s.earliest(ctx, partition.Number); err != nil {
			return err
		}
	}
	s.mu.Lock()
	p := s.parts[partition.Number]
	if p == nil || p.letting || partition.Destination != s.source.topic.name || session > 0 && p.session != session {
		s.mu.Unlock()
		return rollcall.ErrNotOwner
	}
	if at := start.Position; !at.IsZero() && at.Incarnation != s.source.topic.id {
		s.mu.Unlock()
		return fmt.Errorf("%w: kafka: topic %q: a start in the topic %s, and this is %s", rollcall.ErrNotOwner, s.source.topic.name, idText(at.Incarnation), idText(s.source.topic.id))
	}
	s.sessions++
	m := &move{part: p, from: from, token: start.Token, session: s.sessions, done: make(chan struct{})}
	p.session = s.sessions // receipts of before are stale from now on
	p.buffer, p.handed = nil, p.next
	s.moveTo(m)
	s.mu.Unlock()
	select {
	case <-m.done:
		return nil
	case <-p.gone:
		return rollcall.ErrNotOwner
	case <-ctx.Done():
		return ctx.Err()
	case <-s.alive.Done():
		return rollcall.ErrClosed
	}
}

func (s *Subscription) earliest(ctx context.Context, number int32) (int64, error) {
	begin, err := s.source.cluster.admin.ListStartOffsets(ctx, s.source.topic.name)
	if err = offsetsError(begin, err); err != nil {
		return 0, err
	}
	from, ok := begin.Lookup(s.source.topic.name, number)
	if !ok {
		return 0, rollcall.ErrNotOwner
	}
	return from.Offset, nil
}
