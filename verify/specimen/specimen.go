// Package specimen holds the patterns that articles teach for handling a
// message once, in straight Go, as an experienced engineer would write them
// over a queue, a SQL database and a cache. Each passes a run without faults.
// They are there to be broken by verify and demo, and for nobody else.
package specimen

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rollcall-mq/rollcall/verify/fault"
)

// Message is a delivery.
type Message struct {
	ID       string
	Customer string
	Cents    int64
	Offset   int64
	// Redelivered: the queue says that it has handed it over before.
	Redelivered bool
}

// Queue hands over at least once, in order, one message at a time.
type Queue interface {
	// Receive waits for a message. io.EOF: the queue is worked off.
	Receive(ctx context.Context) (Message, error)
	// Ack finishes a delivery.
	Ack(ctx context.Context, m Message) error
	// Nack has it handed over again.
	Nack(ctx context.Context, m Message) error
}

// Cache is what the patterns use of Redis.
type Cache interface {
	Get(ctx context.Context, key string) (value string, ok bool, err error)
	Set(ctx context.Context, key, value string, ttl time.Duration) error
	SetNX(ctx context.Context, key, value string, ttl time.Duration) (bool, error)
	Del(ctx context.Context, key string) error
	// DelIf deletes the key if it still has that value: the unlock script.
	DelIf(ctx context.Context, key, value string) error
}

// Worker is what a pattern works with.
type Worker struct {
	Queue Queue
	Cache Cache
	DB    *sql.DB
	PID   int
	// Charge is the outside check of an order, which may fail.
	Charge func(ctx context.Context, m Message) error
	// At is a step: faults come through it.
	At func(ctx context.Context, moment fault.Moment, m Message) error
	// Log is told of errors.
	Log func(format string, args ...any)
}

// Pattern is one way to handle a message.
type Pattern struct {
	Name string
	// Idea is the pattern in a few words, Why its popular justification.
	Idea, Why string
	// Nearest says which moment stands in for one that the pattern has not.
	Nearest map[fault.Moment]fault.Moment
	// OwnOffsets: it starts from offsets of its own, not from the queue's.
	OwnOffsets bool
	handle     func(ctx context.Context, w *Worker, m Message) error
}

// Patterns are those of the report, in its order.
func Patterns() []Pattern {
	return []Pattern{ackFirst, effectThenAck, cacheCheck, setnxFirst, ttlLock, lockBusySkip, checkThenInsert, offsetUnconditional}
}

// Find is the pattern of a name.
func Find(name string) (Pattern, error) {
	for _, p := range append(Patterns(), redeliveredFlag) {
		if p.Name == name {
			return p, nil
		}
	}
	return Pattern{}, fmt.Errorf("specimen: there is no pattern %q", name)
}

// Run handles messages until the queue is worked off. What fails is logged and
// handed over again.
func (p Pattern) Run(ctx context.Context, w *Worker) error {
	for {
		m, err := w.Queue.Receive(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.handle(ctx, w, m); err != nil {
			w.Log("%s: %v", m.ID, err)
			if err := w.Queue.Nack(ctx, m); err != nil {
				w.Log("%s: hand over again: %v", m.ID, err)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
