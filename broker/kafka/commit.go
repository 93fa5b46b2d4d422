package kafka

import (
	"context"
	"time"

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
	floors := make(map[int32]kgo.EpochOffset)
	s.mu.Lock()
	for _, p := range parts {
		if floor := p.floor(); floor > 0 && floor != p.committed {
			p.committed = floor
			floors[p.number] = kgo.EpochOffset{Epoch: -1, Offset: floor}
		}
	}
	s.mu.Unlock()
	if len(floors) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	s.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{s.source.topic.name: floors},
		func(*kgo.Client, *kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse, error) {})
}
