package rocketmq

import (
	"context"
	"fmt"
	"sync"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
)

// Sender is the sending half. It is safe for concurrent use.
type Sender struct{ cluster *Cluster }

var (
	_ rollcall.Sender = (*Sender)(nil)
)

// Sender of the cluster.
func (c *Cluster) Sender() *Sender { return &Sender{c} }

// Capabilities is what RocketMQ can do.
func (s *Sender) Capabilities() rollcall.Capabilities { return s.cluster.capabilities() }

func (c *Cluster) capabilities() rollcall.Capabilities {
	return rollcall.Capabilities{
		Broker: "rocketmq", SettleConfirmed: true, SettleOne: true, DelayRetry: true, MaxBytes: c.config.MaxBytes,
	}
}

// Lanes of a topic: one, whatever queues it has. A repeat may go to another queue, so
// what is numbered by queue would have holes.
func (s *Sender) Lanes(ctx context.Context, destination string) (rollcall.Lanes, error) {
	if _, err := s.cluster.route(ctx, destination); err != nil {
		return nil, err
	}
	return lanes{}, nil
}

type lanes struct{}

// Pick implements rollcall.Lanes.
func (lanes) Pick(*rollcall.Message) int32 { return 0 }

// Name implements rollcall.Lanes.
func (lanes) Name(int32) string { return "topic" }

// Publish sends the messages in batches, each to one queue; on a FIFO topic one by one.
// Stored: the server said so, and no more. What has no answer when ctx ends is Unknown.
func (s *Sender) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	p := &call{cluster: s.cluster, topic: destination, results: make([]rollcall.PublishResult, len(messages))}
	if err := p.begin(ctx); err != nil {
		for i := range p.results {
			p.results[i] = *err
		}
		return p.results
	}
	parcels := p.pack(messages)
	var work sync.WaitGroup
	if p.kind == v2.MessageType_FIFO {
		p.inOrder(ctx, parcels, &work)
	} else {
		for _, b := range batches(parcels) {
			p.together(&work, func() { p.batch(ctx, b) })
		}
	}
	work.Wait()
	return p.results
}

// Close gives up the connection of the cluster. What is in flight becomes Unknown.
func (s *Sender) Close(context.Context) error {
	s.cluster.Close()
	return nil
}

// call is one Publish.
type call struct {
	cluster *Cluster
	topic   string
	route   *route
	kind    v2.MessageType
	slots   chan struct{}
	results []rollcall.PublishResult // each written by one goroutine
}

// parcel is one message on its way.
type parcel struct {
	index   int // in results
	key     string
	message *v2.Message
}

// begin finds out where to send, and what. What fails here is surely not sent.
func (p *call) begin(ctx context.Context) *rollcall.PublishResult {
	if ctx.Err() != nil {
		return &rollcall.PublishResult{Err: fmt.Errorf("%w: %w", rollcall.ErrTryAgain, context.Cause(ctx))}
	}
	var err error
	if p.route, err = p.cluster.route(ctx, p.topic); err != nil {
		if lasts(err) {
			return &rollcall.PublishResult{Fate: rollcall.Refused, Err: err}
		}
		return &rollcall.PublishResult{Err: fmt.Errorf("%w: %w", rollcall.ErrTryAgain, err)}
	}
	p.slots = make(chan struct{}, p.cluster.config.InFlight)
	p.kind = v2.MessageType_NORMAL
	if !p.route.takes(p.kind) && p.route.takes(v2.MessageType_FIFO) {
		p.kind = v2.MessageType_FIFO
	}
	return nil
}

// pack makes what goes over the wire; what cannot be sent as it is, is refused.
func (p *call) pack(messages []rollcall.Message) (out []parcel) {
	for i := range messages {
		m, err := p.cluster.outgoing(p.topic, &messages[i], p.kind)
		if err != nil {
			p.results[i] = rollcall.PublishResult{Fate: rollcall.Refused, Err: err}
			continue
		}
		out = append(out, parcel{i, messages[i].Key, m})
	}
	return out
}

const (
	// batchBytes is the most bytes of a batch of several messages: the server's limit is
	// of the whole batch, with its own words in it.
	batchBytes = 1 << 20
	// batchMessages is the most messages of a batch: a batch has one fate.
	batchMessages = 128
)

// batches are the parcels in runs that go together.
func batches(all []parcel) (out [][]parcel) {
	from, size := 0, 0
	for i := range all {
		n := wireSize(all[i].message)
		if i > from && (size+n > batchBytes || i-from == batchMessages) {
			out = append(out, all[from:i])
			from, size = i, 0
		}
		size += n
	}
	if from < len(all) {
		out = append(out, all[from:])
	}
	return out
}

func wireSize(m *v2.Message) int {
	n := len(m.GetBody()) + 300
	for name, value := range m.GetUserProperties() {
		n += len(name) + len(value) + 2
	}
	return n
}

// together runs something beside the others, at most InFlight at a time.
func (p *call) together(work *sync.WaitGroup, do func()) {
	p.slots <- struct{}{}
	work.Go(func() {
		defer func() { <-p.slots }()
		do()
	})
}

// inOrder sends the messages of each Key one after the other, and those of other Keys
// beside them. Behind one that is not surely stored nothing is sent: it would come first.
func (p *call) inOrder(ctx context.Context, all []parcel, work *sync.WaitGroup) {
	byKey := make(map[string][]parcel)
	var keys []string
	for i, b := range all {
		key := b.key
		if key == "" {
			key = fmt.Sprint("\x00", i) // no order, waits for nobody
		}
		if byKey[key] == nil {
			keys = append(keys, key)
		}
		byKey[key] = append(byKey[key], b)
	}
	for _, key := range keys {
		p.together(work, func() {
			for n, b := range byKey[key] {
				p.batch(ctx, []parcel{b})
				if p.results[b.index].Fate == rollcall.Unknown {
					p.behind(byKey[key][n+1:])
					return
				}
			}
		})
	}
}

// behind says of messages that they were not sent.
func (p *call) behind(rest []parcel) {
	for _, b := range rest {
		p.results[b.index].Err = fmt.Errorf("%w: rocketmq: topic %q is FIFO, and a message of the same Key before this one has no fate yet", rollcall.ErrTryAgain, p.topic)
	}
}
