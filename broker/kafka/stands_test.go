package kafka_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/kafkaproxy"
)

// TestRetryLosesNothing: messages are to come again while ones before them are in work,
// in any order: nothing that nobody settled is committed, and all from the first of them
// on comes again.
func TestRetryLosesNothing(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 1, nil)
	group := "retry-" + topic
	cluster := open(t, brokers)
	send(t, cluster, topic, 10, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	verbs := func(b rollcall.Batch, verb rollcall.Verb, numbers ...int) (out []rollcall.Settlement) {
		for _, i := range numbers {
			out = append(out, rollcall.Settlement{Partition: b.Partition, Receipt: b.Deliveries[i].Receipt, Verb: verb})
		}
		return out
	}
	var first rollcall.Batch
	var again []rollcall.Delivery
	err := source(t, cluster, topic).Consume(ctx, group, kafka.Manual, func(ctx context.Context, sub *kafka.Subscription, b rollcall.Batch) error {
		if first.Deliveries == nil {
			first = b
			sub.Settle(ctx, append(verbs(b, rollcall.Ack, 0, 6), verbs(b, rollcall.Retry, 4, 8)...))
			return nil
		}
		if again = append(again, b.Deliveries...); len(again) < 6 {
			return nil
		}
		if err := sub.Commit(ctx); err != nil {
			return err
		}
		if n := told(t, a, group); n != 1 {
			t.Errorf("%d are committed, want the one before which nothing is in work", n)
		}
		sub.Settle(ctx, verbs(first, rollcall.Ack, 1, 2, 3, 4, 5, 7, 8, 9))
		cancel()
		return sub.Commit(context.WithoutCancel(ctx))
	})
	if err != nil || len(again) != 6 || string(again[0].Body) != body(4) {
		t.Fatalf("%d came again, want the 6 from the first retried on: %v", len(again), err)
	}
	if n := told(t, a, group); n != 10 {
		t.Fatalf("%d are committed at the end, want all 10", n)
	}
}

// heard keeps what a cluster warns of.
type heard struct {
	mu    sync.Mutex
	words []string
}

func (h *heard) warn(w string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.words = append(h.words, w)
}

func (h *heard) has(word string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(strings.Join(h.words, "\n"), word)
}

// TestTransformerWithoutBroker: the broker goes away in the middle of a transaction. The
// Transformer says so and why, and ends when it is told to. Nothing was done twice.
func TestTransformerWithoutBroker(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	in, out := newTopic(t, a, 1, nil), newTopic(t, a, 1, nil)
	cluster, proxy := through(t, brokers)
	send(t, open(t, brokers), in, 10, 0)
	var redone heard
	run := func(cluster *kafka.Cluster, made func()) (stop context.CancelFunc, ended <-chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s, err := cluster.Source(t.Context(), in, kafka.SourceConfig{SessionTimeout: shortSession})
		if err != nil {
			t.Fatal(err)
		}
		transformer := s.Transformer("away-"+in, "away-"+in, func(_ context.Context, m rollcall.Message) ([]rollcall.Message, error) {
			made()
			return []rollcall.Message{{Destination: out, Body: m.Body}}, nil
		}, kafka.TransformConfig{Timeout: time.Second, Redone: func(err error) { redone.warn(err.Error()) }})
		go func() { done <- transformer.Run(ctx) }()
		return cancel, done
	}
	ends := func(done <-chan error) {
		t.Helper()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatalf("waited %v for the transformer to end", patience)
		}
	}
	stop, ended := run(cluster, func() { proxy.Hold(kafkaproxy.Produce) }) // it is stored, and nobody hears of it
	wait(t, "word that the transaction was aborted", func() bool { return redone.has("no answer in time") })
	proxy.Refuse()
	stop()
	ends(ended)
	stop, ended = run(open(t, brokers), func() {})
	if got := committed(t, brokers, out, 10); len(got) != 10 {
		t.Fatalf("%d results of 10 messages", len(got))
	}
	stop()
	ends(ended)
}

// TestBeginsLater: a group without a place in a partition begins behind what was
// removed, and says so: nobody knows whether it should have had it.
func TestBeginsLater(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 1, nil)
	send(t, open(t, brokers), topic, 10, 0)
	remove(t, a, topic, 0, 7)
	var warnings heard
	cluster, err := kafka.Open(t.Context(), brokers, kafka.Config{Warn: warnings.warn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	if got := subscribe(t, source(t, cluster, topic), "later").read(3); string(got[0].Body) != body(7) {
		t.Fatalf("the first is %q", got[0].Body)
	}
	if !warnings.has("begins at offset 7") {
		t.Fatalf("warnings %q, want where it begins", warnings.words)
	}
}
