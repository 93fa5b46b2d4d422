package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/history"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// runSpecimen is the worker of a specimen.
func (w *demoWorker) runSpecimen(ctx context.Context) (err error) {
	pattern, err := specimen.Find(w.task.Pattern)
	if err != nil {
		return err
	}
	business, err := openBusiness(w.task.Folder, pattern.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, business.Close()) }()
	queue, leave, err := w.openQueue(ctx, pattern, business)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	return pattern.Run(ctx, &specimen.Worker{
		Queue: watchedQueue{queue, w}, Cache: demoCache{w.link}, DB: business, PID: os.Getpid(), Charge: w.charge,
		At: func(ctx context.Context, moment fault.Moment, m specimen.Message) error {
			return w.inject.At(ctx, moment, m.ID)
		},
		Log: w.app.note,
	})
}

// openQueue opens the queue of a specimen.
func (w *demoWorker) openQueue(ctx context.Context, pattern specimen.Pattern, business *sql.DB) (specimen.Queue, func() error, error) {
	if w.task.Kafka != nil {
		q, err := w.task.Kafka.queue(pattern, business)
		if err != nil {
			return nil, nil, err
		}
		return q, func() error { q.Close(); return nil }, nil
	}
	log, err := openDemoLog(w.task.Folder)
	if err != nil {
		return nil, nil, err
	}
	q := &demoQueue{log: log, group: pattern.Name}
	if pattern.OwnOffsets {
		q.own = business
	}
	if err := q.subscribe(ctx); err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return q, func() error { return errors.Join(q.sub.Close(ctx), log.Close()) }, nil
}

// watchedQueue writes down what is delivered, and loses an ack.
type watchedQueue struct {
	specimen.Queue
	worker *demoWorker
}

func (q watchedQueue) Receive(ctx context.Context) (specimen.Message, error) {
	m, err := q.Queue.Receive(ctx)
	if err == nil {
		err = q.worker.note(history.Delivered, m.ID)
	}
	return m, err
}

func (q watchedQueue) Ack(ctx context.Context, m specimen.Message) error {
	if err := q.worker.inject.At(ctx, fault.Settling, m.ID); errors.Is(err, fault.ErrAckLost) {
		return q.Nack(ctx, m) // the broker has not heard of it, and nobody knows
	} else if err != nil {
		return err
	}
	return q.Queue.Ack(ctx, m)
}

// demoQueue is the embedded log as a queue that starts from what was
// acknowledged, or from the pattern's own offsets. It has one partition.
type demoQueue struct {
	log   *filelog.Log
	group string
	own   *sql.DB // where the pattern keeps its offsets; nil: from what was settled
	sub   rollcall.Subscription

	mu     sync.Mutex
	owned  bool
	next   int64 // offset that comes next
	start  rollcall.Assignment
	latest rollcall.Delivery
}

func (q *demoQueue) subscribe(ctx context.Context) (err error) {
	q.sub, err = q.log.Source(specimen.Topic).Subscribe(ctx, rollcall.SubscribeRequest{Group: q.group, Worker: "worker"}, q)
	return err
}

// Assigned says where to start.
func (q *demoQueue) Assigned(ctx context.Context, assignments []rollcall.Assignment) ([]rollcall.Start, error) {
	next, err := q.from(ctx)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.owned, q.next, q.start = true, next, assignments[0]
	return []rollcall.Start{{Position: rollcall.Position{Incarnation: assignments[0].Incarnation, Offset: next}}}, nil
}

func (q *demoQueue) from(ctx context.Context) (int64, error) {
	if q.own != nil {
		return specimen.NextOffset(ctx, q.own)
	}
	settled, err := q.log.Settled(ctx, q.group)
	if err != nil || len(settled) == 0 {
		return 0, err
	}
	return settled[0].Next, nil
}

// Revoked takes the partition away.
func (q *demoQueue) Revoked(context.Context, []rollcall.Partition) { q.Lost(nil) }

// Lost takes the partition away.
func (q *demoQueue) Lost([]rollcall.Partition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.owned = false
}

// Receive waits for the next message. The queue is worked off when it is ours
// and nothing lies in it after what came last.
func (q *demoQueue) Receive(ctx context.Context) (specimen.Message, error) {
	for {
		batches, err := q.sub.Fetch(ctx, rollcall.FetchRequest{Max: 1, Min: 1, Wait: 20 * time.Millisecond})
		if err != nil && !errors.Is(err, rollcall.ErrNotOwner) { // we slept: the partition comes again
			return specimen.Message{}, err
		}
		if len(batches) > 0 && len(batches[0].Deliveries) > 0 {
			return q.take(&batches[0].Deliveries[0])
		}
		empty, err := q.empty(ctx)
		if err != nil {
			return specimen.Message{}, err
		}
		if empty {
			return specimen.Message{}, io.EOF
		}
	}
}

func (q *demoQueue) take(d *rollcall.Delivery) (specimen.Message, error) {
	q.mu.Lock()
	q.next, q.latest = d.Position.Offset+1, *d
	q.mu.Unlock()
	m, err := readOrder(&d.Message)
	m.Offset = d.Position.Offset
	return m, err
}

func (q *demoQueue) empty(ctx context.Context) (bool, error) {
	extents, err := q.log.Source(specimen.Topic).Measure(ctx)
	if err != nil {
		return false, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.owned && q.next >= extents[0].End, nil
}

// Ack settles the message and writes that down at once, as a broker does that
// answers an ack.
func (q *demoQueue) Ack(ctx context.Context, m specimen.Message) error {
	d, err := q.receipt(m)
	if err != nil {
		return err
	}
	err = q.sub.Settle(ctx, []rollcall.Settlement{{Partition: q.start.Partition, Receipt: d.Receipt, Verb: rollcall.Ack}})[0]
	if err != nil {
		return err
	}
	return q.sub.(filelog.Flusher).Flush(ctx)
}

func (q *demoQueue) receipt(m specimen.Message) (rollcall.Delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.latest.Position.Offset != m.Offset {
		return rollcall.Delivery{}, fmt.Errorf("%s is not the message in hand", m.ID)
	}
	return q.latest, nil
}

// Nack has the partition handed over again from where a restart would begin.
func (q *demoQueue) Nack(ctx context.Context, _ specimen.Message) error {
	next, err := q.from(ctx)
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.next = next
	at := q.start
	q.mu.Unlock()
	return q.sub.Restart(ctx, at.Partition, rollcall.Start{Position: rollcall.Position{Incarnation: at.Incarnation, Offset: next}})
}

// demoCache is the cache that the parent serves.
type demoCache struct{ link *fault.Link }

func (c demoCache) Get(ctx context.Context, key string) (string, bool, error) {
	r, err := c.link.Ask(ctx, fault.Request{Op: fault.OpGet, Key: key})
	return r.Value, r.OK, err
}

func (c demoCache) Set(ctx context.Context, key, value string, ttl time.Duration) error {
	_, err := c.link.Ask(ctx, fault.Request{Op: fault.OpSet, Key: key, Value: value, TTL: ttl})
	return err
}

func (c demoCache) SetNX(ctx context.Context, key, value string, ttl time.Duration) (bool, error) {
	r, err := c.link.Ask(ctx, fault.Request{Op: fault.OpSetNX, Key: key, Value: value, TTL: ttl})
	return r.OK, err
}

func (c demoCache) Del(ctx context.Context, key string) error {
	_, err := c.link.Ask(ctx, fault.Request{Op: fault.OpDel, Key: key})
	return err
}

func (c demoCache) DelIf(ctx context.Context, key, value string) error {
	_, err := c.link.Ask(ctx, fault.Request{Op: fault.OpDelIf, Key: key, Value: value})
	return err
}
