package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kadm"
)

// Source is the receiving half, of one topic. It is safe for concurrent use.
type Source struct {
	cluster *Cluster
	topic   *topic
	config  SourceConfig

	mu     sync.Mutex
	window *window // what Peek has read
}

var (
	_ rollcall.Source   = (*Source)(nil)
	_ rollcall.Measurer = (*Source)(nil)
	_ rollcall.Peeker   = (*Source)(nil)
)

// Source of a topic. ErrNoDestination when there is no such topic.
func (c *Cluster) Source(ctx context.Context, topic string, config SourceConfig) (*Source, error) {
	config = config.withDefaults()
	if _, err := config.group(); err != nil {
		return nil, err
	}
	t, err := c.topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	c.risky(t)
	return &Source{cluster: c, topic: t, config: config}, nil
}

// Capabilities is what Kafka can do. Late is the topic's retention; 0 when it keeps
// messages for ever, compacts, or does not let us see.
func (s *Source) Capabilities() rollcall.Capabilities {
	can := s.cluster.capabilities()
	if s.topic.retention > 0 && !s.topic.compacted {
		can.Late = s.topic.retention
	}
	return can
}

// Measure tells what lies in each partition: up to the first message of a transaction
// that is open.
func (s *Source) Measure(ctx context.Context) ([]rollcall.Extent, error) {
	now, err := s.cluster.topic(ctx, s.topic.name)
	if err != nil {
		return nil, err
	}
	first, err := s.cluster.admin.ListStartOffsets(ctx, s.topic.name)
	if err = offsetsError(first, err); err != nil {
		return nil, fmt.Errorf("kafka: topic %q: where it begins: %w", s.topic.name, err)
	}
	end, err := s.cluster.admin.ListCommittedOffsets(ctx, s.topic.name)
	if err = offsetsError(end, err); err != nil {
		return nil, fmt.Errorf("kafka: topic %q: where it ends: %w", s.topic.name, err)
	}
	var out []rollcall.Extent
	end.Each(func(o kadm.ListedOffset) {
		from, _ := first.Lookup(o.Topic, o.Partition)
		out = append(out, rollcall.Extent{Partition: s.partition(o.Partition), Incarnation: now.id, First: from.Offset, End: o.Offset})
	})
	slices.SortFunc(out, func(a, b rollcall.Extent) int { return cmp.Compare(a.Partition.Number, b.Partition.Number) })
	return out, nil
}

func offsetsError(o kadm.ListedOffsets, err error) error {
	if err != nil {
		return err
	}
	return o.Error()
}

func (s *Source) partition(number int32) rollcall.Partition {
	return rollcall.Partition{Destination: s.topic.name, Number: number}
}
