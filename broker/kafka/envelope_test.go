package kafka_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/twmb/franz-go/pkg/kgo"
)

// raw sends records as any client would.
func raw(t testing.TB, brokers []string, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func headers(pairs ...string) (out []kgo.RecordHeader) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return out
}

// TestEnvelopes: stamps that are missing, repeated, malformed; ids that other
// ecosystems send. A message with a damaged stamp is set aside and named; none is lost,
// and none is taken for another.
func TestEnvelopes(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	stamp := func(n uint64) string {
		return string(rollcall.AppendStamp(nil, rollcall.Stamp{Life: rollcall.Life{1}, Sequence: n, Origin: rollcall.OriginOf(topic)}))
	}
	record := func(body string, h ...string) *kgo.Record {
		return &kgo.Record{Topic: topic, Value: []byte(body), Headers: headers(h...)}
	}
	const uuid = "6f1c2f0e-1f7a-4a53-9c7d-1b8b6f1d2e3f"
	raw(t, brokers,
		record("plain"), record("plain"), // no identity but their place: both
		record("stamped", rollcall.StampHeader, stamp(1), rollcall.IDHeader, "a"),
		record("stamped", rollcall.StampHeader, stamp(1), rollcall.IDHeader, "a"), // once
		record("last header", "x", "y", rollcall.StampHeader, stamp(2)),
		record("bad", rollcall.StampHeader, "rubbish"),
		record("twice", rollcall.StampHeader, stamp(3), rollcall.StampHeader, stamp(4)),
		record("event", "ce_id", "1", "ce_source", "/a"), record("event", "ce_id", "1", "ce_source", "/a"), // once
		record("event b", "ce_id", "1", "ce_source", "/b"),
		record("row", "id", uuid), record("row", "id", uuid), // once
		record("click", "Idempotency-Key", "k"), record("click", "Idempotency-Key", "k"), // once
		record("number", "id", "4711"), record("number", "id", "4711"), // not unique: both
		&kgo.Record{Topic: topic, Key: []byte("tombstone")},
	)
	db := memory.NewDatabase(memory.Config{})
	got, err := ledger(t, source(t, open(t, brokers), topic), aGroup, db, rollcall.ConsumerConfig{})
	want := []string{"", "click", "event", "event b", "last header", "number", "number", "plain", "plain", "row", "stamped"}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v\n got %q\nwant %q", err, got, want)
	}
	dead, err := memory.Open(db).Asides().List(t.Context(), aGroup, rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}, Max: 10})
	if err != nil || len(dead) != 2 {
		t.Fatalf("%d set aside, %v; want the two with damaged stamps", len(dead), err)
	}
	for _, d := range dead {
		if !strings.Contains(d.Cause, "bad envelope") {
			t.Errorf("set aside because of %q", d.Cause)
		}
	}
}

// TestTransactionsAndCompaction: markers, aborted and compacted messages are offsets
// that nobody gets: the floor reaches the end all the same, and what was aborted takes
// no effect.
func TestTransactionsAndCompaction(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, map[string]string{"cleanup.policy": "compact", "segment.ms": "100",
		"min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "200", "delete.retention.ms": "100"})
	cluster := open(t, brokers)
	tx := transactor(t, cluster, "compacted-"+topic)
	put := func(value string) {
		if err := tx.Transact(t.Context(), nil, map[string][]rollcall.Message{topic: {{Key: "same", Body: []byte(value)}}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		put(body(i))
	}
	aborted(t, brokers, topic)
	before := extent(t, source(t, cluster, topic))
	wait(t, "the broker to compact", func() bool {
		time.Sleep(150 * time.Millisecond) // a segment ends by age, when the next message comes
		put("last")
		return messages(t, brokers, topic) < int(before.End)/2
	})
	aborted(t, brokers, topic)
	db := memory.NewDatabase(memory.Config{})
	s := source(t, cluster, topic)
	got, err := ledger(t, s, aGroup, db, rollcall.ConsumerConfig{})
	if err != nil || len(got) == 0 || slices.Contains(got, "aborted") || got[0] != "last" && len(got) > 25 {
		t.Fatalf("effects %q, %v", got, err)
	}
	x := extent(t, s)
	rows, err := memory.Open(db).Rolls(t.Context(), aGroup, []rollcall.Scope{rollcall.PartitionScope(x.Partition, x.Incarnation)})
	if err != nil {
		t.Fatal(err)
	}
	roll, err := rollcall.OpenRoll(rows[0])
	if err != nil || roll.Floor() != uint64(x.End) || roll.Missing() != 0 {
		t.Fatalf("the floor is %d of %d, %d missing, %v: %d messages took effect", roll.Floor(), x.End, roll.Missing(), err, len(got))
	}
	t.Logf("%d offsets, %d messages took effect, the floor is at the end", x.End, len(got))
}

func extent(t *testing.T, s *kafka.Source) rollcall.Extent {
	t.Helper()
	extents, err := s.Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return extents[0]
}

// messages counts what a reader gets.
func messages(t *testing.T, brokers []string, topic string) (n int) {
	t.Helper()
	s := source(t, open(t, brokers), topic)
	end := extent(t, s).End
	r := subscribe(t, s, "count-"+topic+time.Now().String())
	for deadline := time.Now().Add(patience); ; {
		batches, err := r.next()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("waited %v for offset %d: %v", patience, end, err)
		}
		for _, b := range batches {
			n += len(b.Deliveries)
			for _, c := range b.Covered {
				if c.Last >= end-1 {
					return n
				}
			}
		}
	}
}

// aborted leaves an aborted transaction at the end of the topic.
func aborted(t *testing.T, brokers []string, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("aborting-"+topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := context.WithoutCancel(t.Context())
	err = errors.Join(client.BeginTransaction(), client.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte("other"), Value: []byte("aborted")}).FirstErr(),
		client.EndTransaction(ctx, kgo.TryAbort))
	if err != nil {
		t.Fatal(err)
	}
}

// TestRefused: what cannot be sent is refused before it has a number, and the error
// says what to do.
func TestRefused(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	small := newTopic(t, a, 1, map[string]string{"max.message.bytes": "3000"})
	cluster := open(t, brokers)
	sender := cluster.Sender()
	_, err := sender.Lanes(t.Context(), "no-such-topic")
	wantWords(t, err, "no-such-topic", "kafka-topics.sh")
	if !errors.Is(err, rollcall.ErrNoDestination) {
		t.Errorf("unknown topic: %v", err)
	}
	_, err = cluster.Source(t.Context(), "no-such-topic", kafka.SourceConfig{})
	wantWords(t, err, "no-such-topic")
	_, err = cluster.Source(t.Context(), "no topic!", kafka.SourceConfig{})
	wantWords(t, err, "no topic!")
	results := sender.Publish(t.Context(), small, []rollcall.Message{{Body: []byte("a")}, {ID: "big", Body: make([]byte, 3000)}, {Body: []byte("c")},
		{ID: "ours", Headers: []rollcall.Header{{Name: rollcall.StampHeader}}}, {ID: "nowhere", Partition: 7}})
	fates := []rollcall.Fate{rollcall.Stored, rollcall.Refused, rollcall.Stored, rollcall.Refused, rollcall.Refused}
	for i, r := range results {
		if r.Fate != fates[i] {
			t.Errorf("message %d: %v %v, want %v", i, r.Fate, r.Err, fates[i])
		}
	}
	wantWords(t, results[1].Err, "big", small, "3000", "max.message.bytes")
	wantWords(t, results[3].Err, "ours", "rollcall-stamp")
	wantWords(t, results[4].Err, "nowhere", "1 partitions", "7")
}

// TestUnreachable: nobody there, at the start.
func TestUnreachable(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := kafka.Open(ctx, []string{"127.0.0.1:1"}, kafka.Config{})
	wantWords(t, err, "127.0.0.1:1", "nothing was sent or read", "is the cluster up")
	for _, brokers := range [][]string{nil, {"localhost"}} {
		if _, err := kafka.Open(t.Context(), brokers, kafka.Config{}); !errors.Is(err, rollcall.ErrConfig) {
			t.Errorf("brokers %q: %v, want ErrConfig", brokers, err)
		}
	}
	secret := kafka.Config{SASL: kafka.SASL{Mechanism: "PLAIN", User: "u", Password: "hunter2"}}
	_, err = kafka.Open(t.Context(), []string{"127.0.0.1:1"}, secret)
	wantWords(t, err, "PLAIN", "TLS")
	if !errors.Is(err, rollcall.ErrConfig) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("PLAIN without TLS: %v", err)
	}
}
