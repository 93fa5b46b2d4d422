package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// committed reads the values of a topic that readers of committed messages see.
func committed(t *testing.T, brokers []string, topic string, n int) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	for len(got) < n {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("waited %v for %d committed messages of %s, %d came", patience, n, topic, len(got))
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	// What is there beyond n would be a repeat.
	more, done := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer done()
	client.PollFetches(more).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	slices.Sort(got)
	return got
}

func transactor(t *testing.T, cluster *kafka.Cluster, id string) *kafka.Transactor {
	t.Helper()
	tx, err := cluster.Transactor(t.Context(), id, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tx.Close)
	return tx
}

// TestTransactTogether: messages of several topics are seen together or not at all, and
// keep their ids.
func TestTransactTogether(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	one, two := newTopic(t, a, 2, nil), newTopic(t, a, 1, map[string]string{"max.message.bytes": "2000"})
	tx := transactor(t, open(t, brokers), "together-"+one)
	out := map[string][]rollcall.Message{one: {{ID: "1", Key: "k", Body: []byte("a")}, {ID: "2", Body: []byte("b")}}, two: {{ID: "3", Body: []byte("c")}}}
	if err := tx.Transact(t.Context(), nil, out); err != nil {
		t.Fatal(err)
	}
	out[one] = append(out[one], rollcall.Message{ID: "4", Body: []byte("d")})
	out[two] = append(out[two], rollcall.Message{ID: "5", Body: make([]byte, 3000)})
	if err := tx.Transact(t.Context(), nil, out); err == nil || errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("a message that is too large: %v, want that it surely has not happened", err)
	}
	if err := tx.Transact(t.Context(), nil, map[string][]rollcall.Message{one: {{ID: "6", Body: []byte("e")}}}); err != nil {
		t.Fatalf("after one that was aborted: %v", err)
	}
	if got := committed(t, brokers, one, 3); !slices.Equal(got, []string{"a", "b", "e"}) {
		t.Errorf("the first topic has %v", got)
	}
	if got := committed(t, brokers, two, 1); !slices.Equal(got, []string{"c"}) {
		t.Errorf("the second topic has %v", got)
	}
	sub := subscribe(t, source(t, open(t, brokers), one), "ids")
	ids := make(map[string]string)
	for _, d := range sub.read(3) {
		ids[string(d.Body)] = string(d.ID)
	}
	if ids["a"] != "1" || ids["b"] != "2" || ids["e"] != "6" {
		t.Errorf("ids by body: %v", ids)
	}
}

// TestTransactZombie: one transactional id twice. Whoever comes later fences the
// first, and aborts what it has open; the first one's next transaction takes over
// again. Nothing is half there.
func TestTransactZombie(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	first, second := transactor(t, open(t, brokers), "zombie-"+topic), transactor(t, open(t, brokers), "zombie-"+topic)
	send := func(tx *kafka.Transactor, body string) error {
		return tx.Transact(t.Context(), nil, map[string][]rollcall.Message{topic: {{Body: []byte(body)}, {Body: []byte(body)}}})
	}
	if err := errors.Join(send(first, "a"), send(second, "b")); err != nil {
		t.Fatal(err)
	}
	err := send(first, "c")
	if err == nil || errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("the fenced one: %v, want that it surely has not happened", err)
	}
	t.Logf("fenced: %v", err)
	if err := send(first, "d"); err != nil {
		t.Fatalf("the fenced one, again: %v", err)
	}
	if got := committed(t, brokers, topic, 6); !slices.Equal(got, []string{"a", "a", "b", "b", "d", "d"}) {
		t.Fatalf("committed %v", got)
	}
}

// TestTransformer: members come and go, one is fenced by another of its transactional
// id, and transactions are aborted under them: the result is there once.
func TestTransformer(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	in, out := newTopic(t, a, 4, nil), newTopic(t, a, 4, nil)
	const messages = 3000
	send(t, open(t, brokers), in, messages, 0)
	var redone atomic.Int64
	start := func(id string) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		transformer := source(t, open(t, brokers), in).Transformer("tf-"+in, id, func(_ context.Context, m rollcall.Message) ([]rollcall.Message, error) {
			time.Sleep(200 * time.Microsecond)
			return []rollcall.Message{{Destination: out, Key: m.Key, Body: m.Body}}, nil
		}, kafka.TransformConfig{Batch: 50, Redone: func(err error) { redone.Add(1); t.Logf("redone: %v", err) }})
		go func() { done <- transformer.Run(ctx) }()
		return func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Errorf("waited %v for a transformer to end", patience)
			}
		}
	}
	begun := time.Now()
	stops := []func(){start("a-" + in)}
	for i := range 3 {
		time.Sleep(300 * time.Millisecond)
		stops = append(stops, start(fmt.Sprintf("b%d-%s", i, in)))
		// A zombie of the first one's id begins anew: what the first has open is aborted.
		if err := transactor(t, open(t, brokers), "a-"+in).Settle(t.Context()); err != nil {
			t.Error(err)
		}
		if i > 0 {
			stops[i]()
			stops[i] = func() {}
		}
	}
	got := committed(t, brokers, out, messages)
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %v: a member stood still until the others went on without it (RebalanceTimeout)", took)
	}
	for _, stop := range stops {
		stop()
	}
	want := make([]string, messages)
	for i := range want {
		want[i] = body(i)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%d results of %d messages, or others", len(got), messages)
	}
	if redone.Load() == 0 {
		t.Fatal("no transaction was redone: the test shows nothing")
	}
}
