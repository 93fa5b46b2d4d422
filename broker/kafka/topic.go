package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// topic is what is known of a topic.
type topic struct {
	name       string
	id         rollcall.Incarnation
	partitions int
	replicas   int
	// Of its settings, 0 when they could not be read (no right to).
	maxBytes  int
	minISR    int
	retention time.Duration // below 0: for ever
	compacted bool
}

// topic asks the cluster, not a cache.
func (c *Cluster) topic(ctx context.Context, name string) (*topic, error) {
	all, err := c.admin.Metadata(ctx, name)
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		return nil, denied(fmt.Errorf("kafka: topic %q: %w", name, err))
	} else if err != nil {
		return nil, unreachable(c.brokers, err)
	}
	detail, ok := all.Topics[name]
	switch {
	case !ok || errors.Is(detail.Err, kerr.UnknownTopicOrPartition) || errors.Is(detail.Err, kerr.UnknownTopicID):
		return nil, fmt.Errorf("%w: kafka: topic %q; rollcall makes no topics, because replicas and partitions are a decision: "+
			"kafka-topics.sh --create --topic %s --partitions 6 --replication-factor 3", rollcall.ErrNoDestination, name, name)
	case errors.Is(detail.Err, kerr.InvalidTopicException):
		return nil, configError("topic", strconv.Quote(name), "use letters, digits, '.', '_' and '-', at most 249")
	case detail.Err != nil:
		return nil, denied(fmt.Errorf("kafka: topic %q: %w", name, detail.Err))
	case detail.ID == (kadm.TopicID{}):
		return nil, fmt.Errorf("kafka: topic %q has no id: rollcall needs Kafka 2.8 or newer, this is %s", name, c.version)
	}
	t := &topic{name: name, id: rollcall.Incarnation(detail.ID), partitions: len(detail.Partitions), replicas: detail.Partitions.NumReplicas()}
	c.settings(ctx, t)
	return t, nil
}

// settings reads what the topic is set to. Who may not read them goes on without.
func (c *Cluster) settings(ctx context.Context, t *topic) {
	configs, err := c.admin.DescribeTopicConfigs(ctx, t.name)
	if err != nil {
		return
	}
	config, err := configs.On(t.name, nil)
	if err != nil || config.Err != nil {
		return
	}
	for _, entry := range config.Configs {
		t.setting(entry.Key, entry.MaybeValue())
	}
}

func (t *topic) setting(name, value string) {
	n, _ := strconv.ParseInt(value, 10, 64)
	switch name {
	case "max.message.bytes":
		t.maxBytes = int(n)
	case "min.insync.replicas":
		t.minISR = int(n)
	case "retention.ms":
		if t.retention = time.Duration(n) * time.Millisecond; n > int64(1<<63-1)/int64(time.Millisecond) {
			t.retention = -1
		}
	case "cleanup.policy":
		t.compacted = value != "delete"
	}
}

// known is the topic as senders know it; nil before Lanes.
func (c *Cluster) known(name string) *topic {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.topics[name]
}

// risky says what a durable write means on this topic, where it means little.
func (c *Cluster) risky(t *topic) {
	switch {
	case t.replicas == 1:
		c.warn("topic %q has one replica: what the broker has confirmed is lost with its disk; make it with --replication-factor 3", t.name)
	case t.minISR == 1:
		c.warn("topic %q has min.insync.replicas 1: a message can be confirmed by one broker alone, and lost with it; "+
			"kafka-configs.sh --alter --topic %s --add-config min.insync.replicas=2", t.name, t.name)
	}
}

// batchBytes bounds a batch by what the topic takes.
func (c *Cluster) batchBytes(name string) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int32(c.limit(c.topics[name]))
}

func (c *Cluster) limit(t *topic) int {
	if t == nil || t.maxBytes == 0 {
		return c.config.MaxBytes
	}
	return min(c.config.MaxBytes, t.maxBytes)
}
