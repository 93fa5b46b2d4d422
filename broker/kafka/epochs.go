package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// seen is the last message of a partition that was done, or read, and its leader epoch.
type seen struct {
	offset int64
	epoch  int32
}

// sameEpochs finds logs that were cut off below what was done, and filled again: the
// epoch of the last message done then ended before it.
func (s *Subscription) sameEpochs(ctx context.Context, numbers []int32, starts []rollcall.Start) error {
	done := make(map[int32]seen)
	for i, n := range numbers {
		if at := starts[i].Seen; !at.IsZero() && at.Incarnation == s.source.topic.id {
			done[n] = seen{at.Offset, at.LeaderEpoch - 1}
		}
	}
	return s.epochsEnd(ctx, done)
}

// epochsEnd asks where the epochs ended.
func (s *Subscription) epochsEnd(ctx context.Context, last map[int32]seen) error {
	if len(last) == 0 {
		return nil
	}
	name := s.source.topic.name
	var ask kadm.OffsetForLeaderEpochRequest
	for n, at := range last {
		ask.Add(name, n, at.epoch)
	}
	answers, err := s.source.cluster.admin.OffsetForLeaderEpoch(ctx, ask)
	if err != nil {
		return err
	}
	for n, at := range last {
		a, ok := answers[name][n]
		switch {
		case !ok:
			return fmt.Errorf("kafka: topic %q, partition %d: no answer about leader epoch %d", name, n, at.epoch)
		case a.Err != nil:
			return a.Err
		case a.EndOffset >= 0 && a.EndOffset <= at.offset:
			return fmt.Errorf("%w: kafka: topic %q, partition %d: group %q has offset %d of leader epoch %d, and the log of that epoch ends at %d: it was cut off (unclean leader election?), and what came after has the same offsets; "+
				"send what is in it to a new topic, or use a new group name", rollcall.ErrDamaged, name, n, s.group, at.offset, at.epoch, a.EndOffset)
		}
	}
	return nil
}

// cutOff finds out, where a new leader's messages follow an old one's, whether they
// follow the ones that we have. The client looks, too, and not always before it hands
// over. Nothing is taken before that is known.
func (s *Subscription) cutOff(fetches kgo.Fetches) error {
	last := make(map[int32]seen)
	s.mu.Lock()
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := s.parts[f.Partition]
		if p == nil || len(f.Records) == 0 || f.Topic != s.source.topic.name || p.letting {
			return
		}
		if p.epoch >= 0 && f.Records[0].LeaderEpoch > p.epoch {
			last[p.number] = seen{p.next - 1, p.epoch}
		}
	})
	s.mu.Unlock()
	for len(last) > 0 {
		err := s.epochsEnd(s.alive, last)
		if err == nil || lasting(err) {
			return err
		}
		s.mu.Lock()
		s.trouble = err
		s.wake()
		s.mu.Unlock()
		select {
		case <-time.After(againAfter):
		case <-s.alive.Done():
			return rollcall.ErrClosed
		}
	}
	return nil
}
