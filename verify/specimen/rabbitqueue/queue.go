// Package rabbitqueue is a quorum queue of RabbitMQ as the queue of the textbook
// patterns, on amqp091-go alone and as an engineer who knows RabbitMQ would write it:
// manual acknowledgement, a bound on what is prefetched, and a negative one puts back.
package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// Config is the settings of a Queue. URL, Queue and Decode are needed.
type Config struct {
	URL, Queue string
	// Decode reads the order out of a delivery.
	Decode func(amqp.Delivery) (specimen.Message, error)
	// Prefetch is how many messages the server hands over ahead. Default: 10.
	Prefetch int
	// Idle is how long nothing comes before the queue may be worked off. Default: 1 s.
	Idle time.Duration
}

// Queue is one consumer. It is used by one goroutine.
type Queue struct {
	config     Config
	conn       *amqp.Connection
	channel    *amqp.Channel
	closed     chan *amqp.Error
	deliveries <-chan amqp.Delivery
	ahead      []amqp.Delivery // came, and not begun
	inHand     uint64          // delivery tag; 0: none
}

var _ specimen.Queue = (*Queue)(nil)

// Declare makes the queue, or finds it as it must be.
func Declare(channel *amqp.Channel, queue string) error {
	_, err := channel.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	return err
}

// Open connects, and begins to prefetch.
func Open(config Config) (*Queue, error) {
	if config.Prefetch == 0 {
		config.Prefetch = 10
	}
	if config.Idle == 0 {
		config.Idle = time.Second
	}
	conn, err := amqp.Dial(config.URL)
	if err != nil {
		return nil, fmt.Errorf("rabbitqueue: %w", err)
	}
	q := &Queue{config: config, conn: conn}
	if err := q.consume(); err != nil {
		return nil, errors.Join(fmt.Errorf("rabbitqueue: %s: %w", config.Queue, err), conn.Close())
	}
	return q, nil
}

func (q *Queue) consume() (err error) {
	if q.channel, err = q.conn.Channel(); err != nil {
		return err
	}
	q.closed = q.channel.NotifyClose(make(chan *amqp.Error, 1))
	if err := Declare(q.channel, q.config.Queue); err != nil {
		return err
	}
	if err := q.channel.Qos(q.config.Prefetch, 0, false); err != nil {
		return err
	}
	q.deliveries, err = q.channel.Consume(q.config.Queue, "", false, false, false, false, nil)
	return err
}

// Close ends the connection. What is not acked is handed over again.
func (q *Queue) Close() error { return q.conn.Close() }

// Receive waits for the next message. The queue is worked off when nothing lies in it
// and nothing came for a while; what others hold may come back later.
func (q *Queue) Receive(ctx context.Context) (specimen.Message, error) {
	for len(q.ahead) == 0 {
		if came, err := q.wait(ctx, q.config.Idle); err != nil {
			return specimen.Message{}, err
		} else if came {
			break
		}
		state, err := q.channel.QueueDeclarePassive(q.config.Queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
		if err != nil {
			return specimen.Message{}, fmt.Errorf("rabbitqueue: how long %s is: %w", q.config.Queue, err)
		}
		if state.Messages == 0 && len(q.Ahead()) == 0 {
			return specimen.Message{}, io.EOF
		}
	}
	d := q.ahead[0]
	q.ahead, q.inHand = q.ahead[1:], d.DeliveryTag
	return q.message(d)
}

// wait for a delivery, for so long.
func (q *Queue) wait(ctx context.Context, most time.Duration) (came bool, err error) {
	select {
	case d, ok := <-q.deliveries:
		if !ok {
			return false, fmt.Errorf("rabbitqueue: %s: the channel has closed: %w", q.config.Queue, q.why())
		}
		q.ahead = append(q.ahead, d)
		return true, nil
	case <-time.After(most):
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// why the channel has closed.
func (q *Queue) why() error {
	if err := <-q.closed; err != nil {
		return err
	}
	return amqp.ErrClosed
}

func (q *Queue) message(d amqp.Delivery) (specimen.Message, error) {
	m, err := q.config.Decode(d)
	m.Offset, m.Redelivered = int64(d.DeliveryTag), d.Redelivered
	return m, err
}

// Ahead are the ids of what was prefetched beyond the message in hand.
func (q *Queue) Ahead() []string {
	for { // the client hands them over one by one
		if came, err := q.wait(context.Background(), 10*time.Millisecond); !came || err != nil {
			break
		}
	}
	var ids []string
	for _, d := range q.ahead {
		if m, err := q.message(d); err == nil {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// Ack acknowledges the message in hand. The server sends no answer.
func (q *Queue) Ack(_ context.Context, m specimen.Message) error {
	tag, err := q.settle(m)
	if err != nil {
		return err
	}
	return q.channel.Ack(tag, false)
}

// Nack puts the message in hand back.
func (q *Queue) Nack(_ context.Context, m specimen.Message) error {
	tag, err := q.settle(m)
	if err != nil {
		return err
	}
	return q.channel.Nack(tag, false, true)
}

// settle lets each message be settled once: a second time the server closes the channel.
func (q *Queue) settle(m specimen.Message) (tag uint64, err error) {
	if q.inHand == 0 || int64(q.inHand) != m.Offset {
		return 0, fmt.Errorf("rabbitqueue: %s is not the message in hand", m.ID)
	}
	tag, q.inHand = q.inHand, 0
	return tag, nil
}
