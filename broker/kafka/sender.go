package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Sender is the sending half. It is safe for concurrent use.
type Sender struct{ cluster *Cluster }

var _ rollcall.Sender = (*Sender)(nil)

// Sender of the cluster.
func (c *Cluster) Sender() *Sender { return &Sender{c} }

// Capabilities is what Kafka can do.
func (s *Sender) Capabilities() rollcall.Capabilities { return s.cluster.capabilities() }

func (c *Cluster) capabilities() rollcall.Capabilities {
	return rollcall.Capabilities{
		Broker: "kafka", Version: c.version, Exclusive: true, Positions: true, Ordered: true,
		MaxBytes: c.config.MaxBytes - rollcall.MaxStampSize - overhead(&rollcall.Message{}),
	}
}

// Lanes of a topic: its partitions. It warns when a confirmed message would be on one
// disk only.
func (s *Sender) Lanes(ctx context.Context, destination string) (rollcall.Lanes, error) {
	t, err := s.cluster.topic(ctx, destination)
	if err != nil {
		return nil, err
	}
	s.cluster.risky(t)
	s.cluster.mu.Lock()
	before := s.cluster.topics[destination]
	s.cluster.topics[destination] = t
	s.cluster.mu.Unlock()
	if before != nil && before.partitions != t.partitions {
		s.cluster.client.ForceMetadataRefresh() // the client would not know the new ones for a while
	}
	return newLanes(t), nil
}

// Publish sends each message to the partition that it was stamped for. Stored: all
// replicas in sync have it. What has no answer when ctx ends is Unknown, and may still
// be sent.
func (s *Sender) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	c := &call{sender: s, results: make([]rollcall.PublishResult, len(messages)), lost: s.cluster.answers.lost.Load(), now: time.Now(), done: make(chan struct{})}
	c.topic = s.cluster.known(destination)
	if err := c.fits(ctx, destination); err != nil {
		for i := range c.results {
			c.results[i].Err = err
		}
		return c.results
	}
	c.open = len(messages) + 1 // and this call itself
	for i := range messages {
		r, err := c.record(&messages[i])
		if err != nil {
			c.finish(i, rollcall.PublishResult{Fate: rollcall.Refused, Err: err})
			continue
		}
		s.cluster.client.Produce(ctx, r, func(r *kgo.Record, err error) { c.finish(i, c.result(r, err)) })
	}
	c.leave()
	return c.wait(ctx)
}

// call is one Publish.
type call struct {
	sender *Sender
	topic  *topic
	lost   uint64 // answers lost before it
	now    time.Time

	mu      sync.Mutex
	results []rollcall.PublishResult
	open    int
	over    bool // the caller has been told: what comes later is nobody's
	done    chan struct{}
}

// fits refuses what cannot even begin: surely nothing was sent.
func (c *call) fits(ctx context.Context, destination string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", rollcall.ErrTryAgain, context.Cause(ctx))
	}
	if c.topic == nil {
		if _, err := c.sender.Lanes(ctx, destination); err != nil {
			return fmt.Errorf("%w: %w", rollcall.ErrTryAgain, err)
		}
		c.topic = c.sender.cluster.known(destination)
	}
	return nil
}

func (c *call) record(m *rollcall.Message) (*kgo.Record, error) {
	if most, size := c.sender.cluster.limit(c.topic), m.Size()+rollcall.MaxStampSize+overhead(m); size > most {
		return nil, fmt.Errorf("%w: message %q takes %d bytes with its headers, topic %q takes %d (max.message.bytes, Config.MaxBytes)", rollcall.ErrTooLarge, m.ID, size, c.topic.name, most)
	}
	if m.Partition < 0 || int(m.Partition) >= c.topic.partitions {
		return nil, fmt.Errorf("%w: topic %q has %d partitions and the message %q is for number %d", rollcall.ErrNoDestination, c.topic.name, c.topic.partitions, m.ID, m.Partition)
	}
	return record(c.topic, m, c.now)
}

// result is the fate of a record.
func (c *call) result(r *kgo.Record, err error) rollcall.PublishResult {
	if err == nil {
		return rollcall.PublishResult{Fate: rollcall.Stored, Position: rollcall.Position{Incarnation: c.topic.id, Offset: r.Offset}}
	}
	silent := c.sender.cluster.answers.lost.Load() != c.lost
	fate, err := c.sender.cluster.fate(c.topic, err, silent)
	return rollcall.PublishResult{Fate: fate, Err: err}
}

func (c *call) finish(i int, r rollcall.PublishResult) {
	c.mu.Lock()
	if !c.over {
		c.results[i] = r
	}
	c.mu.Unlock()
	c.leave()
}

func (c *call) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open--; c.open == 0 {
		close(c.done)
	}
}

func (c *call) wait(ctx context.Context) []rollcall.PublishResult {
	select {
	case <-c.done:
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.over = true
		for i := range c.results {
			if c.results[i] == (rollcall.PublishResult{}) {
				c.results[i].Err = c.sender.cluster.answers.because(fmt.Errorf("kafka: topic %q: no answer in time: %w", c.topic.name, context.Cause(ctx)))
			}
		}
	}
	return c.results
}

// Close gives up the connection of the cluster. What is in flight becomes Unknown.
func (s *Sender) Close(context.Context) error {
	s.cluster.client.Close()
	return nil
}
