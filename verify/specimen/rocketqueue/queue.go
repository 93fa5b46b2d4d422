// Package rocketqueue is a topic of RocketMQ 5 as the queue of the textbook patterns, on
// the protocol's stubs alone: each message is received for an invisible time,
// acknowledged by its receipt, and what the server answers is looked at.
package rocketqueue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// Config is the settings of a Queue. Endpoint, Topic, Group and Decode are needed.
type Config struct {
	Endpoint     string // of a proxy
	Topic, Group string
	// Decode reads the order out of a message.
	Decode func(*v2.Message) (specimen.Message, error)
	// Invisible is how long nobody else gets what was received. Default: 30 s.
	Invisible time.Duration
	// Batch is how many messages one request may bring. Default: 4.
	Batch int
	// Idle is how long nothing comes before the topic is worked off. Default: 10 s.
	Idle time.Duration
}

// poll is how long the server lets a request wait for a message.
const poll = time.Second

// backAfter is how soon a message that was handed back comes again, at the earliest.
const backAfter = time.Second

// Queue is one consumer of the group. It is used by one goroutine.
type Queue struct {
	*link
	config Config
	ahead  []*v2.Message // came, and not begun
	inHand *v2.Message
	number int64 // of the message in hand
	busy   time.Time
}

var _ specimen.Queue = (*Queue)(nil)

// Open makes us known to the proxy.
func Open(ctx context.Context, config Config) (*Queue, error) {
	if config.Invisible == 0 {
		config.Invisible = 30 * time.Second
	}
	if config.Batch == 0 {
		config.Batch = 4
	}
	if config.Idle == 0 {
		config.Idle = 10 * time.Second
	}
	l, err := connect(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("rocketqueue: %w", err)
	}
	return &Queue{link: l, config: config, busy: time.Now()}, nil
}

// Receive waits for the next message. The topic is worked off when nothing came for so
// long that what others held would have come again.
func (q *Queue) Receive(ctx context.Context) (specimen.Message, error) {
	for len(q.ahead) == 0 {
		var err error
		if q.ahead, err = q.request(ctx); err != nil {
			return specimen.Message{}, fmt.Errorf("rocketqueue: receive from %s: %w", q.config.Topic, err)
		}
		if len(q.ahead) > 0 {
			q.busy = time.Now()
		} else if time.Since(q.busy) > q.config.Idle {
			return specimen.Message{}, io.EOF
		}
	}
	q.inHand, q.ahead = q.ahead[0], q.ahead[1:]
	q.number++
	m, err := q.config.Decode(q.inHand)
	m.Offset, m.Redelivered = q.number, q.inHand.GetSystemProperties().GetDeliveryAttempt() > 1
	return m, err
}

// request is one request for messages. An empty answer is no error.
func (q *Queue) request(ctx context.Context) ([]*v2.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, poll+patience)
	defer cancel()
	stream, err := q.stub.ReceiveMessage(q.named(ctx), &v2.ReceiveMessageRequest{
		Group: q.group, MessageQueue: q.queue, FilterExpression: everything, BatchSize: int32(q.config.Batch),
		InvisibleDuration: durationpb.New(q.config.Invisible), LongPollingTimeout: durationpb.New(poll),
	})
	if err != nil {
		return nil, err
	}
	var came []*v2.Message
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) || err != nil && len(came) > 0 {
			return came, nil
		}
		if err != nil {
			return nil, err
		}
		if m := part.GetMessage(); m != nil {
			came = append(came, m)
		} else if s := part.GetStatus(); s != nil && s.GetCode() != v2.Code_MESSAGE_NOT_FOUND {
			if err := told(s); err != nil {
				return came, err
			}
		}
	}
}

// Ahead are the ids of what was received beyond the message in hand.
func (q *Queue) Ahead() []string {
	var ids []string
	for _, w := range q.ahead {
		if m, err := q.config.Decode(w); err == nil {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// Ack acknowledges the message in hand, and waits for the answer to it.
func (q *Queue) Ack(ctx context.Context, m specimen.Message) error {
	w, err := q.settle(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := q.stub.AckMessage(q.named(ctx), &v2.AckMessageRequest{Group: q.group, Topic: q.topic, Entries: []*v2.AckMessageEntry{{
		MessageId: w.GetSystemProperties().GetMessageId(), ReceiptHandle: w.GetSystemProperties().GetReceiptHandle()}}})
	if err != nil {
		return err
	}
	if entries := got.GetEntries(); len(entries) > 0 { // as many as we sent: one
		return told(entries[0].GetStatus())
	}
	return told(got.GetStatus())
}

// Nack has the message in hand come again soon.
func (q *Queue) Nack(ctx context.Context, m specimen.Message) error {
	w, err := q.settle(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := q.stub.ChangeInvisibleDuration(q.named(ctx), &v2.ChangeInvisibleDurationRequest{Group: q.group, Topic: q.topic,
		MessageId: w.GetSystemProperties().GetMessageId(), ReceiptHandle: w.GetSystemProperties().GetReceiptHandle(), InvisibleDuration: durationpb.New(backAfter)})
	if err != nil {
		return err
	}
	return told(got.GetStatus())
}

// settle lets each receipt be used once: used twice it makes two messages of one.
func (q *Queue) settle(m specimen.Message) (*v2.Message, error) {
	w := q.inHand
	if w == nil || q.number != m.Offset {
		return nil, fmt.Errorf("rocketqueue: %s is not the message in hand", m.ID)
	}
	q.inHand = nil
	return w, nil
}
