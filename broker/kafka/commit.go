package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitLoop tells Kafka the floors, for tools that show how far a group is. Nothing
// depends on it, so a failure is nobody's trouble: the next one comes.
func (s *Subscription) commitLoop() {
	tick := time.NewTicker(s.source.config.CommitEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.alive.Done():
			return
		case <-tick.C:
			s.mu.Lock()
			var parts []*part
			for _, p := range s.parts {
				if !p.letting {
					parts = append(parts, p)
				}
			}
			s.mu.Unlock()
			s.commit(s.alive, parts)
		}
	}
}

// commitPatience bounds what is only for information.
const commitPatience = 3 * time.Second

// commit the floors that have risen.
func (s *Subscription) commit(ctx context.Context, parts []*part) {
	if s.source.config.CommitEvery < 0 {
		return
	}
	floors := s.risen(parts)
	ctx, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	if s.commitOffsets(ctx, floors) != nil {
		s.notCommitted(floors)
	}
}

// Commit tells Kafka now how far everything is settled, by partition without a hole. An
// error means that Kafka may not know it: after a crash messages come again.
func (s *Subscription) Commit(ctx context.Context) error {
	s.mu.Lock()
	var parts []*part
	for _, p := range s.parts {
		parts = append(parts, p)
	}
	s.mu.Unlock()
	floors := s.risen(parts)
	err := s.commitOffsets(ctx, floors)
	if err != nil {
		s.notCommitted(floors)
		err = fmt.Errorf("kafka: group %q: offsets were not committed, or no answer came: after a crash messages come again: %w", s.group, err)
	}
	return err
}

// risen are the floors that Kafka does not know yet; from now on it counts as told.
func (s *Subscription) risen(parts []*part) map[int32]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	floors := make(map[int32]int64)
	for _, p := range parts {
		if floor := p.floor(); floor > 0 && floor != p.committed {
			p.committed = floor
			floors[p.number] = floor
		}
	}
	return floors
}

// notCommitted makes the next commit tell them again.
func (s *Subscription) notCommitted(floors map[int32]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range floors {
		if p := s.parts[n]; p != nil {
			p.committed = -1
		}
	}
}

// commitOffsets asks the broker, and returns its word.
func (s *Subscription) commitOffsets(ctx context.Context, floors map[int32]int64) (failed error) {
	if len(floors) == 0 {
		return nil
	}
	offsets := make(map[int32]kgo.EpochOffset, len(floors))
	for n, floor := range floors {
		offsets[n] = kgo.EpochOffset{Epoch: -1, Offset: floor}
	}
	name := s.source.topic.name
	s.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{name: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if failed = err; err != nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
				}
			}
		})
	return failed
}
