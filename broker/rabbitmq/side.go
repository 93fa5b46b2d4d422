package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

var _ rollcall.SideMaker = (*Sender)(nil)

// sideRetention is how long books are kept.
const sideRetention = 60 * 24 * time.Hour

// MakeSide implements rollcall.SideMaker: a stream, which every group can read, that
// keeps everything for 60 days. One that is there stays as it is, if it is a stream.
func (s *Sender) MakeSide(ctx context.Context, destination string) error {
	c := s.cluster
	_, err := c.ready(ctx, destination)
	if err == nil {
		kind, _, err := c.is(ctx, destination)
		if err == nil && kind != Stream {
			return configError("side destination", destination, fmt.Sprintf("it is a %s queue, and only a stream can be read by every group: delete it, or choose another name", kind))
		}
		return nil // without the right to find out, it is taken as it is
	}
	if !errors.Is(err, rollcall.ErrNoDestination) {
		return err
	}
	err = c.Declare(ctx, Queue{Name: destination, Type: Stream, MaxAge: sideRetention})
	switch code(err) {
	case 0:
		if err != nil {
			return err
		}
		return c.settles(ctx, destination)
	case amqp.AccessRefused:
		return fmt.Errorf("%w; or let somebody who may make it: rabbitmqadmin declare queue name=%s durable=true queue_type=stream arguments='{\"x-max-age\":\"%ds\"}'", err, destination, int(sideRetention/time.Second))
	}
	return fmt.Errorf("%w; books need a stream: RabbitMQ 3.9 or newer, with the feature flag stream_queue (rabbitmqctl enable_feature_flag stream_queue)", err)
}

// sideSettles is how long a stream that was just made may take until it is used.
const sideSettles = 5 * time.Second

// settles waits until a stream that was just made can be used: for a moment the broker
// does not find it.
func (c *Cluster) settles(ctx context.Context, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, sideSettles)
	defer cancel()
	for {
		_, err := c.ready(ctx, queue)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
