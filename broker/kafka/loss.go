package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lasting errors do not go away by themselves.
func lasting(err error) bool {
	return errors.Is(err, rollcall.ErrDamaged) || errors.Is(err, rollcall.ErrConfig) || errors.Is(err, rollcall.ErrClosed)
}

// place is where to go on: everything below done counts as done, and the log is read
// from next on; -1: from its beginning.
type place struct{ done, next int64 }

// verify that the log is the one that the owner's positions were taken from, and
// returns where to begin. It asks, whatever the client believes: topic ids, where logs
// begin and end, and where the epoch ended in which the last message was written.
func (s *Subscription) verify(ctx context.Context, numbers []int32, starts []rollcall.Start) ([]place, error) {
	if err := s.sameTopic(ctx); err != nil {
		return nil, err
	}
	begin, err := s.source.cluster.admin.ListStartOffsets(ctx, s.source.topic.name)
	if err = offsetsError(begin, err); err != nil {
		return nil, err
	}
	end, err := s.source.cluster.admin.ListEndOffsets(ctx, s.source.topic.name)
	if err = offsetsError(end, err); err != nil {
		return nil, err
	}
	if err := s.sameEpochs(ctx, numbers, starts); err != nil {
		return nil, err
	}
	from := make([]place, len(numbers))
	for i, n := range numbers {
		first, _ := begin.Lookup(s.source.topic.name, n)
		last, _ := end.Lookup(s.source.topic.name, n)
		if from[i], err = s.start(n, starts[i].Position, first.Offset, last.Offset); err != nil {
			return nil, err
		}
	}
	return from, nil
}

// start is the offset at which to begin.
func (s *Subscription) start(number int32, at rollcall.Position, first, end int64) (place, error) {
	name := s.source.topic.name
	switch {
	case at.IsZero(): // nothing of it is known: the earliest
		s.beginsAt(number, first)
		return place{0, -1}, nil
	case at.Incarnation != s.source.topic.id:
		return place{}, fmt.Errorf("%w: kafka: topic %q, partition %d: the group's position is of the topic with the id %s, and this one has %s: it was deleted and made again", rollcall.ErrDamaged, name, number, idText(at.Incarnation), idText(s.source.topic.id))
	case at.Offset > end:
		return place{}, fmt.Errorf("%w: kafka: topic %q, partition %d: the group has done everything below offset %d, and the log ends at %d: messages are gone, and new ones would get their offsets; "+
			"send what is in it to a new topic, or use a new group name", rollcall.ErrDamaged, name, number, at.Offset, end)
	case at.Offset >= first:
		return place{at.Offset, at.Offset}, nil
	case s.source.config.AcceptLost:
		s.goOn(number, at.Offset, first)
		return place{at.Offset, first}, nil
	}
	return place{}, s.overtaken(number, at.Offset, first)
}

// beginsAt tells of messages that were removed before a group without a place came to
// them: nobody knows whether it should have had them.
func (s *Subscription) beginsAt(number int32, first int64) {
	if first > 0 {
		s.source.cluster.warn("topic %q, partition %d: group %q has done nothing of it and begins at offset %d: what was before was removed (retention, or an operator)", s.source.topic.name, number, s.group, first)
	}
}

// goOn behind what is lost, because the operator said so.
func (s *Subscription) goOn(number int32, next, first int64) {
	s.source.cluster.warn("topic %q, partition %d: offsets %d to %d were removed before group %q did them; it goes on at %d", s.source.topic.name, number, next, first-1, s.group, first)
}

func (s *Subscription) overtaken(number int32, next, first int64) error {
	return fmt.Errorf("%w: kafka: topic %q, partition %d: offsets %d to %d were removed (retention, or an operator) before group %q did them: up to %d messages are lost; "+
		"to go on behind them, say so: AcceptLost, run --accept-lost", rollcall.ErrDamaged, s.source.topic.name, number, next, first-1, s.group, first-next)
}

// sameTopic finds out whether the topic is still the one that we subscribed to.
func (s *Subscription) sameTopic(ctx context.Context) error {
	now, err := s.source.cluster.topic(ctx, s.source.topic.name)
	if err != nil {
		return err
	}
	if now.id == s.source.topic.id {
		return nil
	}
	return fmt.Errorf("%w: kafka: topic %q was deleted and made again: its id was %s and is %s; what the group had not done of the old one is gone; "+
		"nothing of the new one was read: start again to read it from its beginning", rollcall.ErrDamaged, s.source.topic.name, idText(s.source.topic.id), idText(now.id))
}

// pollFailed judges what the client said. The caller holds mu.
func (s *Subscription) pollFailed(p *part, err error) {
	var loss *kgo.ErrDataLoss
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrClientClosed):
	case errors.As(err, &loss):
		s.fail(fmt.Errorf("%w: kafka: topic %q, partition %d: offsets %d to %d of leader epoch %d were cut off: %w", rollcall.ErrDamaged, loss.Topic, loss.Partition, loss.ResetTo, loss.ConsumedTo-1, loss.ConsumedToEpoch, err))
	case errors.Is(err, kerr.OffsetOutOfRange) && p != nil:
		s.ended.Go(func() { s.outOfRange(p) })
	case errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.InconsistentTopicID):
		s.trouble = fmt.Errorf("kafka: topic %q: %w", s.source.topic.name, err)
		s.ended.Go(s.whichTopic)
	case s.refused != nil && errors.Is(err, s.refused):
		s.trouble = fmt.Errorf("kafka: group %q: partitions were assigned and could not be taken: %w", s.group, s.refused)
	default:
		s.trouble = denied(advised(fmt.Errorf("kafka: topic %q, group %q: %w", s.source.topic.name, s.group, err)))
		if lasting(s.trouble) {
			s.fail(s.trouble)
		}
	}
	s.wake()
}

// whichTopic ends the subscription if the topic is another one.
func (s *Subscription) whichTopic() {
	ctx, cancel := context.WithTimeout(s.alive, patience)
	defer cancel()
	err := s.sameTopic(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if lasting(err) {
		s.fail(err)
		return
	}
	s.trouble = err
	s.wake()
}

// outOfRange: what is to be read next is not there.
func (s *Subscription) outOfRange(p *part) {
	ctx, cancel := context.WithTimeout(s.alive, patience)
	defer cancel()
	first, err := s.earliest(ctx, p.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.parts[p.number] != p || p.letting:
	case err != nil:
		s.fail(fmt.Errorf("%w: kafka: topic %q, partition %d: offset %d is not there, and where the log begins could not be found out: %w", rollcall.ErrDamaged, s.source.topic.name, p.number, p.next, err))
	case p.next < 0: // it was to begin at the earliest, and that went away meanwhile
		s.beginsAt(p.number, first)
		s.moveTo(&move{part: p, from: first, behind: true, done: make(chan struct{})})
	case p.next > first:
		s.fail(fmt.Errorf("%w: kafka: topic %q, partition %d: offset %d is to be read next and lies behind the end: the log was cut off", rollcall.ErrDamaged, s.source.topic.name, p.number, p.next))
	case s.source.config.AcceptLost:
		s.goOn(p.number, p.next, first)
		s.moveTo(&move{part: p, from: first, behind: true, done: make(chan struct{})})
	default:
		s.fail(s.overtaken(p.number, p.next, first))
	}
}
