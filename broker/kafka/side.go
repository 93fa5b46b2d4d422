package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kerr"
)

var _ rollcall.SideMaker = (*Sender)(nil)

// sideRetention is how long books are kept, in milliseconds: 60 days.
const sideRetention = "5184000000"

// MakeSide implements rollcall.SideMaker: a topic of one partition, on three brokers
// where there are as many, that keeps everything for 60 days. It must not be compacted:
// the records of one life are of several keepers and destinations, and none replaces
// another. Without the right to make it: rollcall.ErrConfig, with the command for who
// has it.
func (s *Sender) MakeSide(ctx context.Context, destination string) error {
	c := s.cluster
	t, err := c.topic(ctx, destination)
	if err == nil {
		if t.compacted {
			c.warn("topic %q is compacted, and books would be lost: kafka-configs.sh --alter --topic %s --add-config cleanup.policy=delete,retention.ms=%s", destination, destination, sideRetention)
		}
		return nil
	}
	if !errors.Is(err, rollcall.ErrNoDestination) {
		return err
	}
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		return unreachable(c.brokers, err)
	}
	replicas, inSync := min(3, len(brokers)), "1"
	if replicas == 3 {
		inSync = "2"
	}
	settings := map[string]*string{"cleanup.policy": new("delete"), "retention.ms": new(sideRetention), "min.insync.replicas": &inSync}
	_, err = c.admin.CreateTopic(ctx, 1, int16(replicas), settings, destination)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return sideRefused(destination, replicas, inSync, err)
	}
	return c.appeared(ctx, destination)
}

func sideRefused(destination string, replicas int, inSync string, err error) error {
	err = fmt.Errorf("kafka: topic %q could not be made: %w; let somebody who may make it: kafka-topics.sh --bootstrap-server … --create --topic %s --partitions 1 --replication-factor %d "+
		"--config cleanup.policy=delete --config retention.ms=%s --config min.insync.replicas=%s; or give this user CREATE on it (docs/kafka.md)", destination, err, destination, replicas, sideRetention, inSync)
	if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) || errors.Is(err, kerr.PolicyViolation) {
		return refused{fmt.Errorf("%w: %w", rollcall.ErrConfig, err)}
	}
	return err
}

// appeared waits until a broker knows a topic that was made, and who leads it.
func (c *Cluster) appeared(ctx context.Context, name string) error {
	for {
		_, err := c.topic(ctx, name)
		if err == nil {
			if ends, lerr := c.admin.ListEndOffsets(ctx, name); offsetsError(ends, lerr) == nil {
				return nil
			}
		} else if !errors.Is(err, rollcall.ErrNoDestination) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kafka: topic %q was made, and no broker knows it yet: %w", name, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
