package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// Queue is what Declare makes, or compares.
type Queue struct {
	// Name of the queue. Default: none, it is needed.
	Name string
	// Type of the queue. Default: Quorum.
	Type QueueType
	// SingleActive: one consumer at a time gets its messages. Default: false.
	SingleActive bool
	// DeliveryLimit is after how many deliveries a quorum queue takes a message out
	// itself. Attempts are counted in the store, and a delivery is no attempt.
	// Default: 0, none.
	DeliveryLimit int
	// DeadLetter is where the broker puts what it takes out: a queue, or
	// exchange:NAME:KEY. Of a quorum queue at least once, and then a full queue refuses
	// what is published. Default: none.
	DeadLetter string
	// MaxAge is how long a stream keeps messages. Default: 0, for ever.
	MaxAge time.Duration
	// MaxLength is how many messages a queue takes before it refuses more, and MaxBytes
	// how many bytes a stream keeps. Default: 0, no limit.
	MaxLength int
	// MaxBytes is how many bytes a stream keeps, and SegmentBytes how many it removes at
	// once. Default: 0, no limit and the broker's own.
	MaxBytes, SegmentBytes int64
	// Bindings to exchanges, which must exist. Default: none.
	Bindings []Binding
}

// Binding is an exchange whose messages of a key come to a queue.
type Binding struct{ Exchange, Key string }

// Declare makes a durable queue, or compares it with the one that is there: a difference
// is rollcall.ErrConfig, and names the argument, what was wanted and what was found.
func (c *Cluster) Declare(ctx context.Context, q Queue) error {
	args, err := c.arguments(q)
	if err != nil {
		return err
	}
	if err := c.bindable(ctx, q); err != nil {
		return err
	}
	err = c.ask(ctx, func(ch *amqp.Channel) error {
		if _, err := ch.QueueDeclare(q.Name, true, false, false, false, args); err != nil {
			return err
		}
		for _, b := range q.Bindings {
			if err := ch.QueueBind(q.Name, b.Key, b.Exchange, false, nil); err != nil {
				return fmt.Errorf("bind it to exchange %q, key %q: %w", b.Exchange, b.Key, err)
			}
		}
		return nil
	})
	if err != nil {
		return denied(differs(q, err))
	}
	c.mu.Lock()
	c.declared[q.Name] = q
	c.mu.Unlock()
	return nil
}

// bindable refuses, before anything is made, what the queue could not be joined to: an
// exchange, or a place for its dead letters, that is missing.
func (c *Cluster) bindable(ctx context.Context, q Queue) error {
	for _, b := range q.Bindings {
		if err := c.exists(ctx, route{exchange: b.Exchange}); err != nil {
			return fmt.Errorf("rabbitmq: queue %q is not made: %w", q.Name, err)
		}
	}
	if q.DeadLetter == "" {
		return nil
	}
	to, err := parse(q.DeadLetter)
	if err == nil {
		err = c.exists(ctx, to)
	}
	if err != nil {
		return fmt.Errorf("rabbitmq: queue %q is not made: DeadLetter: %w", q.Name, err)
	}
	return nil
}

// differs adds the next step where the queue is another one.
func differs(q Queue, err error) error {
	err = fmt.Errorf("rabbitmq: queue %q: %w", q.Name, err)
	if name, wanted, found, ok := inequivalent(err); ok {
		return fmt.Errorf("%w; %s: wanted %s, found %s: say what is there, or move the messages to a queue made anew", err, name, wanted, found)
	}
	return err
}

// arguments of a declaration. The type, the delivery limit and what becomes of dead
// letters are always said: what is not differs by version.
func (c *Cluster) arguments(q Queue) (amqp.Table, error) {
	if q.Type == "" {
		q.Type = Quorum
	}
	if q.Name == "" || len(q.Name) > maxName {
		return nil, configError("Queue.Name", strconv.Quote(q.Name), fmt.Sprintf("give it 1 to %d bytes", maxName))
	}
	if q.Type == Stream && (q.SingleActive || q.DeliveryLimit != 0 || q.DeadLetter != "" || q.MaxLength != 0) {
		return nil, configError("Queue", q.Name, "a stream has no SingleActive, DeliveryLimit, DeadLetter and MaxLength: take them out")
	}
	args := amqp.Table{"x-queue-type": string(q.Type)}
	if q.Type == Quorum {
		switch {
		case q.DeliveryLimit > 0:
			args["x-delivery-limit"] = int64(q.DeliveryLimit)
		case c.major() >= 4: // whose own default is 20
			args["x-delivery-limit"] = int64(-1)
		}
	}
	if q.SingleActive {
		args["x-single-active-consumer"] = true
	}
	if q.MaxLength > 0 {
		args["x-max-length"], args["x-overflow"] = int64(q.MaxLength), "reject-publish"
	}
	if q.MaxAge > 0 {
		args["x-max-age"] = strconv.FormatInt(int64(q.MaxAge/time.Second), 10) + "s"
	}
	if q.MaxBytes > 0 {
		args["x-max-length-bytes"] = q.MaxBytes
	}
	if q.SegmentBytes > 0 {
		args["x-stream-max-segment-size-bytes"] = q.SegmentBytes
	}
	return args, deadLetters(args, q)
}

func deadLetters(args amqp.Table, q Queue) error {
	if q.DeadLetter == "" {
		return nil
	}
	to, err := parse(q.DeadLetter)
	if err != nil {
		return err
	}
	args["x-dead-letter-exchange"], args["x-dead-letter-routing-key"] = to.exchange, to.key
	if q.Type == Quorum || q.Type == "" {
		args["x-dead-letter-strategy"], args["x-overflow"] = "at-least-once", "reject-publish"
	}
	return nil
}

// answer is how the broker says that a queue has another argument than we say.
var answer = regexp.MustCompile(`inequivalent arg '([^']+)' for .*: received (.+?) but current is (.+?)"?$`)

func inequivalent(err error) (name, wanted, found string, ok bool) {
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != amqp.PreconditionFailed {
		return "", "", "", false
	}
	m := answer.FindStringSubmatch(e.Reason)
	if m == nil {
		return "", "", "", false
	}
	return m[1], m[2], m[3], true
}

// is finds out what a queue is, by a declaration that never makes one: its type does not
// exist. AMQP has no other way to ask. The broker names the first difference; what it
// names is said, too, the next time, until only the type differs.
func (c *Cluster) is(ctx context.Context, queue string) (kind QueueType, args amqp.Table, err error) {
	args, durable := amqp.Table{"x-queue-type": askType}, true
	for range mostDifferences {
		asked := c.ask(ctx, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(queue, durable, false, false, false, args)
			return err
		})
		name, _, found, ok := inequivalent(asked)
		switch {
		case !ok:
			return "", nil, fmt.Errorf("rabbitmq: queue %q: what it is: %w", queue, asked)
		case name == "x-queue-type":
			args[name] = quoted(found)
			return QueueType(quoted(found)), args, nil
		case name == "durable" && durable:
			durable = false
			c.warn("queue %q is not durable: a broker that is started again has lost it", queue)
		case args[name] == nil:
			args[name] = typed(found)
		default:
			return "", nil, fmt.Errorf("rabbitmq: queue %q: what it is: %w", queue, asked)
		}
	}
	return "", nil, fmt.Errorf("rabbitmq: queue %q: the broker does not say of what type it is", queue)
}

// askType is a type that no queue has.
const askType = "rollcall-ask"

// mostDifferences is more than a queue has arguments.
const mostDifferences = 40

// typed is the value that the broker names: the value 'true' of type 'bool'.
func typed(found string) any {
	value := quoted(found)
	switch {
	case strings.HasSuffix(found, "of type 'longstr'"):
		return value
	case strings.HasSuffix(found, "of type 'bool'"):
		return value == "true"
	}
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		return n
	}
	return value
}

// quoted is what stands between the first quotes.
func quoted(s string) string {
	_, rest, ok := strings.Cut(s, "'")
	if !ok {
		return s
	}
	value, _, _ := strings.Cut(rest, "'")
	return value
}

// fits refuses a queue that is not what the configuration says: as a source of another
// shape it would lose messages, or hand them to two workers.
func (c *Cluster) fits(ctx context.Context, queue string, config SourceConfig) error {
	kind, args, err := c.is(ctx, queue)
	single := args["x-single-active-consumer"] == true
	switch {
	case code(err) == amqp.AccessRefused:
		c.warn("queue %q: without the right to configure it nobody can find out whether it is what the configuration says: type %s, single active consumer: %v", queue, config.Type, config.SingleActive)
		return nil
	case err != nil:
		return denied(err)
	case kind != config.Type:
		return fmt.Errorf("%w: rabbitmq: queue %q: Type: wanted %s, found %s; say what is there, or move the messages to a queue made anew", rollcall.ErrConfig, queue, config.Type, kind)
	case single != config.SingleActive:
		return fmt.Errorf("%w: rabbitmq: queue %q: SingleActive (x-single-active-consumer): wanted %v, found %v", rollcall.ErrConfig, queue, config.SingleActive, single)
	}
	return nil
}
