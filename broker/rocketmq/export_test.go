//go:build linux

package rocketmq

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
)

// Forge makes the handle behind a receipt another one.
func (s *Subscription) Forge(r rollcall.Receipt, handle string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[r.Number].handle = handle
}

// Stub is the bare protocol, with a context that is signed as a sender's.
func (c *Cluster) Stub(ctx context.Context) (context.Context, v2.MessagingServiceClient) {
	return c.sending.signed(ctx), c.access.stub
}

// End tells the server of a transaction.
func (c *Cluster) End(ctx context.Context, topic, messageID, transactionID string, d Decision) error {
	return c.end(ctx, &half{c.access, topic, messageID, transactionID}, d, v2.TransactionSource_SOURCE_CLIENT)
}

// Outgoing is a message as it goes over the wire.
func (c *Cluster) Outgoing(topic string, m *rollcall.Message) (*v2.Message, error) {
	return c.outgoing(topic, m, v2.MessageType_NORMAL)
}

// Batches counts the batches that messages are sent in.
func (c *Cluster) Batches(topic string, messages []rollcall.Message) int {
	p := &call{cluster: c, topic: topic, kind: v2.MessageType_NORMAL, results: make([]rollcall.PublishResult, len(messages))}
	return len(batches(p.pack(messages)))
}

// Member makes a client of a group, and gives what its calls need.
func (c *Cluster) Member(ctx context.Context, topic, group string) (context.Context, v2.MessagingServiceClient, *v2.MessageQueue) {
	s := &Source{cluster: c, topic: topic, config: SourceConfig{}.withDefaults()}
	session := c.session(v2.ClientType_SIMPLE_CONSUMER, s.settings(group))
	session.group = c.resource(group)
	context.AfterFunc(ctx, func() { session.close(context.Background()) })
	r, err := c.route(ctx, topic)
	if err != nil {
		panic(err)
	}
	at := r.all()[0]
	if err := session.stream(at.link).wait(ctx); err != nil {
		panic(err)
	}
	return session.signed(ctx), at.link.stub, at.queue
}

// WithoutBrokers joins a group, and knows no broker to ask yet.
func (s *Source) WithoutBrokers(group string) *Subscription {
	sub := newSubscription(s, rollcall.SubscribeRequest{Group: group, Token: 1}, s.cluster.session(v2.ClientType_SIMPLE_CONSUMER, s.settings(group)))
	sub.begin(nil)
	return sub
}

// Look looks for brokers now.
func (s *Subscription) Look() { s.look() }
