package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/store/memory"
)

func body(i int) string { return fmt.Sprintf("m%06d", i) }

// send publishes n messages with stamps, keys k0 to k49, bodies from the given number on.
func send(t testing.TB, cluster *kafka.Cluster, topic string, n, from int) {
	t.Helper()
	p := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{})
	messages := make([]rollcall.Message, n)
	for i := range messages {
		messages[i] = rollcall.Message{Key: fmt.Sprint("k", (from+i)%50), Body: []byte(body(from + i))}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, r := range p.Publish(ctx, topic, messages...) {
		if r.Fate != rollcall.Stored {
			t.Fatalf("message %d: %v %v", i, r.Fate, r.Err)
		}
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// taker is an owner that takes everything from the earliest message, or from starts.
type taker struct {
	mu     sync.Mutex
	starts map[int32]rollcall.Start
}

// done makes the owner go on behind a delivery when it is assigned its partition again.
func (o *taker) done(d rollcall.Delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := d.Position
	next.Offset++
	o.starts = map[int32]rollcall.Start{d.Message.Partition: {Position: next, Seen: d.Position}}
}

func (o *taker) Assigned(_ context.Context, as []rollcall.Assignment) ([]rollcall.Start, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]rollcall.Start, len(as))
	for i, a := range as {
		out[i] = o.starts[a.Partition.Number]
		out[i].Token = 1
	}
	return out, nil
}
func (o *taker) Revoked(context.Context, []rollcall.Partition) {}
func (o *taker) Lost([]rollcall.Partition)                     {}

// reader is a subscription of a test.
type reader struct {
	t     testing.TB
	owner *taker
	rollcall.Subscription
}

func subscribe(t testing.TB, s *kafka.Source, group string) *reader {
	t.Helper()
	return subscribeAt(t, s, group, nil)
}

func subscribeAt(t testing.TB, s *kafka.Source, group string, starts map[int32]rollcall.Start) *reader {
	t.Helper()
	owner := &taker{starts: starts}
	sub, err := s.Subscribe(t.Context(), rollcall.SubscribeRequest{Group: group}, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Close(context.Background()) })
	return &reader{t, owner, sub}
}

// next is one Fetch.
func (r *reader) next() ([]rollcall.Batch, error) {
	return r.Fetch(r.t.Context(), rollcall.FetchRequest{Max: 500, Min: 1, Wait: 200 * time.Millisecond})
}

// first takes one delivery and no more.
func (r *reader) first() rollcall.Delivery {
	r.t.Helper()
	batches, err := r.Fetch(r.t.Context(), rollcall.FetchRequest{Max: 1, Min: 1, Wait: patience})
	if err != nil || len(batches) == 0 || len(batches[0].Deliveries) == 0 {
		r.t.Fatalf("waited %v for a message: %v", patience, err)
	}
	return batches[0].Deliveries[0]
}

// read takes n deliveries.
func (r *reader) read(n int) (out []rollcall.Delivery) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); len(out) < n; {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %v for %d messages, %d came", patience, n, len(out))
		}
		batches, err := r.next()
		if err != nil {
			r.t.Fatal(err)
		}
		for _, b := range batches {
			out = append(out, b.Deliveries...)
		}
	}
	return out
}

// damage waits for Fetch to fail for good.
func (r *reader) damage() error {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		batches, err := r.next()
		if errors.Is(err, rollcall.ErrDamaged) {
			return err
		}
		if len(batches) > 0 || time.Now().After(deadline) {
			r.t.Fatalf("%d batches came, %v; waited for word that messages are gone; %+v", len(batches), err, places(batches))
		}
	}
}

// places are the positions of what came, and what is covered.
func places(batches []rollcall.Batch) (out []string) {
	for _, b := range batches {
		for _, d := range b.Deliveries {
			out = append(out, fmt.Sprintf("offset %d epoch %d %q", d.Position.Offset, d.Position.LeaderEpoch, d.Body))
		}
		out = append(out, fmt.Sprint("covered ", b.Covered))
	}
	return out
}

// ledger runs a consumer until the topic is empty, and returns what took effect, sorted.
func ledger(t testing.TB, s *kafka.Source, group string, db *memory.Database, config rollcall.ConsumerConfig) ([]string, error) {
	t.Helper()
	if config.Observer == nil {
		config.Observer = rollcall.SlogObserver(slog.New(slog.NewTextHandler(io.Discard, nil)))
	}
	c := rollcall.NewConsumer(group, s, memory.Open(db), func(ctx context.Context, tx *memory.Tx, m rollcall.Message) error {
		return tx.Append(ctx, "ledger", string(m.Body))
	}, config)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := c.RunUntilEmpty(ctx)
	if ctx.Err() != nil {
		t.Fatalf("waited %v for the topic to be empty: %v", patience, err)
	}
	return effects(db), err
}

func effects(db *memory.Database) []string {
	var out []string
	for _, line := range db.All("ledger") {
		out = append(out, line.(string))
	}
	slices.Sort(out)
	return out
}

func bodies(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, body(i))
	}
	return out
}
