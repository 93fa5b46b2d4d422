//go:build linux

package rocketmq_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/store/memory"
)

func body(i int) string { return fmt.Sprintf("m%06d", i) }

func group(topic string) string { return "g-" + topic }

// both runs a test in both modes of the proxy.
func both(t *testing.T, run func(t *testing.T, s *server)) {
	t.Parallel()
	for _, mode := range []string{"local", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			run(t, sharedServer(t, mode))
		})
	}
}

// send publishes n messages with stamps, keys k0 to k49, bodies from the given number on.
func send(t testing.TB, cluster *rocketmq.Cluster, topic string, n, from int) {
	t.Helper()
	p := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{Observer: silent, Books: rollcall.BooksConfig{Off: true}})
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

var silent = rollcall.SlogObserver(slog.New(slog.NewTextHandler(io.Discard, nil)))

// reader is a subscription of a test.
type reader struct {
	t testing.TB
	*rocketmq.Subscription
	topic string
}

func subscribe(t testing.TB, cluster *rocketmq.Cluster, topic, group string, config rocketmq.SourceConfig) *reader {
	t.Helper()
	sub, err := source(t, cluster, topic, config).Subscribe(t.Context(), rollcall.SubscribeRequest{Group: group, Token: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Close(context.Background()) })
	return &reader{t, sub.(*rocketmq.Subscription), topic}
}

// read takes n deliveries, or more that came with them.
func (r *reader) read(n int) (out []rollcall.Delivery) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); len(out) < n; {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %v for %d messages, %d came", patience, n, len(out))
		}
		out = append(out, r.next(n-len(out), 200*time.Millisecond)...)
	}
	return out
}

func (r *reader) next(most int, wait time.Duration) (out []rollcall.Delivery) {
	r.t.Helper()
	batches, err := r.Fetch(r.t.Context(), rollcall.FetchRequest{Max: most, Min: 1, Wait: wait})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, b := range batches {
		out = append(out, b.Deliveries...)
	}
	return out
}

// nothing fails when a message comes within a time.
func (r *reader) nothing(within time.Duration, why string) {
	r.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); {
		if got := r.next(100, 200*time.Millisecond); len(got) > 0 {
			r.t.Fatalf("%q came (redelivered: %v), %s", got[0].Body, got[0].Redelivered, why)
		}
	}
}

// settle finishes one delivery.
func (r *reader) settle(d rollcall.Delivery, verb rollcall.Verb) error {
	return r.Settle(r.t.Context(), []rollcall.Settlement{{Partition: rollcall.Partition{Destination: r.topic}, Receipt: d.Receipt, Verb: verb}})[0]
}

// must settles, or fails.
func (r *reader) must(verb rollcall.Verb, all ...rollcall.Delivery) {
	r.t.Helper()
	var settlements []rollcall.Settlement
	for _, d := range all {
		settlements = append(settlements, rollcall.Settlement{Receipt: d.Receipt, Verb: verb})
	}
	for i, err := range r.Settle(r.t.Context(), settlements) {
		if err != nil {
			r.t.Fatalf("settling %q: %v", all[i].Body, err)
		}
	}
}

// all that lies in a topic, by a group of its own.
func contents(t testing.TB, s *server, topic string) (bodies []string) {
	t.Helper()
	name := fmt.Sprintf("all-%s-%d", topic, names.Add(1))
	s.CreateGroup(t, name, false, 16)
	r := subscribe(t, open(t, s), topic, name, rocketmq.SourceConfig{Invisible: 30 * time.Second, Poll: time.Second, Ahead: 1000})
	for deadline := time.Now().Add(patience); ; {
		got := r.next(1000, 200*time.Millisecond)
		for _, d := range got {
			bodies = append(bodies, string(d.Body))
		}
		r.must(rollcall.Ack, got...)
		if empty, err := r.Empty(t.Context()); err != nil || time.Now().After(deadline) {
			t.Fatalf("waited %v for the topic to be empty (%v), %d came", patience, err, len(bodies))
		} else if empty {
			return bodies
		}
	}
}

// ledgerOf runs handlers that write the body into a ledger.
func consume(t testing.TB, s rollcall.Source, group string, db *memory.Database, config rollcall.ConsumerConfig, before func(m rollcall.Message) error) (stop func()) {
	t.Helper()
	if config.Observer == nil {
		config.Observer = silent
	}
	c := rollcall.NewConsumer(group, s, memory.Open(db), func(ctx context.Context, tx *memory.Tx, m rollcall.Message) error {
		if before != nil {
			if err := before(m); err != nil {
				return err
			}
		}
		return tx.Append(ctx, "ledger", string(m.Body))
	}, config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the consumer ended: %v", err)
			}
		case <-time.After(patience):
			t.Errorf("waited %v for the consumer to end", patience)
		}
	}
	t.Cleanup(stop)
	return stop
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

// expect waits for effects, and that each is there once.
func expect(t testing.TB, db *memory.Database, want []string) {
	t.Helper()
	wait(t, fmt.Sprintf("%d effects", len(want)), func() bool { return len(effects(db)) >= len(want) })
	if got := effects(db); !slices.Equal(got, want) {
		t.Fatalf("%d effects, want each of %d once: %v", len(got), len(want), got)
	}
}
