package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// remove deletes records below an offset, as retention does.
func remove(t testing.TB, admin administrator, topic string, partition int32, below int64) {
	t.Helper()
	var o kadm.Offsets
	o.AddOffset(topic, partition, below, -1)
	if _, err := admin.DeleteRecords(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	wait(t, "the records to be removed", func() bool {
		starts, err := admin.ListStartOffsets(context.Background(), topic)
		at, _ := starts.Lookup(topic, partition)
		return err == nil && at.Offset >= below
	})
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Fatalf("error %v, want it to name %q", err, w)
		}
	}
}

// TestRetentionOvertakes: what was removed before the group did it is named, stopped or
// running; who accepts the loss goes on behind it, and the floor reaches the end.
func TestRetentionOvertakes(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 1, nil)
	cluster := open(t, brokers)
	send(t, cluster, topic, 100, 0)
	db := memory.NewDatabase(memory.Config{})
	if got, err := ledger(t, source(t, cluster, topic), aGroup, db, rollcall.ConsumerConfig{}); err != nil || len(got) != 100 {
		t.Fatalf("%d effects, %v", len(got), err)
	}
	send(t, cluster, topic, 100, 100)
	remove(t, a, topic, 0, 140)
	_, err := ledger(t, source(t, cluster, topic), aGroup, db, rollcall.ConsumerConfig{})
	wantWords(t, err, topic, "partition 0", "offsets 100 to 139", "up to 40 messages", "--accept-lost")
	var mu sync.Mutex
	var warnings []string
	telling, err := kafka.Open(t.Context(), brokers, kafka.Config{Warn: func(w string) { mu.Lock(); warnings = append(warnings, w); mu.Unlock() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(telling.Close)
	accepting, err := telling.Source(t.Context(), topic, kafka.SourceConfig{AcceptLost: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing left to accept
		got, err := ledger(t, accepting, aGroup, db, rollcall.ConsumerConfig{})
		if want := append(bodies(0, 100), bodies(140, 200)...); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%d effects, %v; want those that are left, once", len(got), err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	wantWords(t, errors.New(strings.Join(warnings, "\n")), "offsets 100 to 139", "one replica")
}

// TestRetentionWhileRunning: the client reads ahead of what was removed.
func TestRetentionWhileRunning(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	for _, accept := range []bool{false, true} {
		topic := newTopic(t, a, 1, nil)
		cluster := open(t, brokers)
		big := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{})
		for i := range 60 { // more than the client reads ahead
			m := rollcall.Message{Body: append([]byte(body(i)), make([]byte, 400_000)...)}
			if r := big.Publish(t.Context(), topic, m)[0]; r.Fate != rollcall.Stored {
				t.Fatal(r.Err)
			}
		}
		s, err := cluster.Source(t.Context(), topic, kafka.SourceConfig{Buffer: 1, AcceptLost: accept})
		if err != nil {
			t.Fatal(err)
		}
		r := subscribe(t, s, aGroup)
		got := []rollcall.Delivery{r.first()}
		remove(t, a, topic, 0, 59)
		covered := false
		for deadline := time.Now().Add(patience); ; {
			batches, err := r.next()
			for _, b := range batches {
				got = append(got, b.Deliveries...)
				covered = covered || slices.ContainsFunc(b.Covered, func(c rollcall.OffsetRange) bool { return c.Last == 58 })
			}
			if errors.Is(err, rollcall.ErrDamaged) && !accept {
				wantWords(t, err, fmt.Sprintf("offsets %d to 58", len(got)))
				break
			}
			if accept && covered && got[len(got)-1].Position.Offset == 59 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("accept %v: waited %v for the end: %d messages, %v", accept, patience, len(got), err)
			}
		}
	}
}

// TestRecreated: the topic is deleted and made again while the group runs, and while it
// is stopped. The error names both ids; the new one is read from its beginning.
func TestRecreated(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 1, nil)
	id := func() string {
		topics, err := a.ListTopics(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		id := topics[topic].ID
		return fmt.Sprintf("%x", id[:])
	}
	again := func() {
		if _, err := a.DeleteTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		create(t, a, topic, 1, nil)
	}
	cluster := open(t, brokers)
	send(t, cluster, topic, 10, 0)
	r := subscribe(t, source(t, cluster, topic), aGroup)
	r.read(10)
	old := id()
	again()
	wantWords(t, r.damage(), topic, old, id(), "start again")

	// A start of the old one is refused by both ids, too.
	db := memory.NewDatabase(memory.Config{})
	fresh := open(t, brokers) // senders of before mean the old one
	send(t, fresh, topic, 20, 0)
	if got, err := ledger(t, source(t, fresh, topic), "h", db, rollcall.ConsumerConfig{}); err != nil || !slices.Equal(got, bodies(0, 20)) {
		t.Fatalf("%d effects of the new one, %v", len(got), err)
	}
	start := rollcall.Start{Position: rollcall.Position{Incarnation: rollcall.Incarnation{1, 2}, Offset: 5}}
	wantWords(t, subscribeAt(t, source(t, fresh, topic), "i", map[int32]rollcall.Start{0: start}).damage(), "0102", id())

	again()
	last := open(t, brokers)
	send(t, last, topic, 30, 100)
	if got, err := ledger(t, source(t, last, topic), "h", db, rollcall.ConsumerConfig{}); err != nil || len(got) != 50 {
		t.Fatalf("%d effects, %v: want the 20 of before and all 30 of the new topic, whose offsets are the same", len(got), err)
	}
}

// TestCutOff: a log that ends below what was done, or whose epoch ended below it, is
// not the log that was worked on.
func TestCutOff(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	cluster := open(t, brokers)
	send(t, cluster, topic, 10, 0)
	last := subscribe(t, source(t, cluster, topic), aGroup).read(10)[9].Position
	if last.LeaderEpoch == 0 {
		t.Fatal("a delivery carries no leader epoch")
	}
	at := func(offset, seen int64) map[int32]rollcall.Start {
		s := rollcall.Start{Position: last, Seen: last}
		s.Position.Offset, s.Seen.Offset = offset, seen
		return map[int32]rollcall.Start{0: s}
	}
	wantWords(t, subscribeAt(t, source(t, cluster, topic), "h", at(15, 9)).damage(), "below offset 15", "ends at 10")
	wantWords(t, subscribeAt(t, source(t, cluster, topic), "i", at(5, 12)).damage(), "offset 12", "ends at 10", "cut off")
	if got := subscribeAt(t, source(t, cluster, topic), "j", at(5, 9)).read(5); string(got[0].Body) != body(5) {
		t.Fatalf("from offset 5 came %q", got[0].Body)
	}
}

// TestGroupDeleted: Kafka forgets the group while it is stopped. It goes on where its
// store has it, and is not fenced.
func TestGroupDeleted(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 3, nil)
	cluster := open(t, brokers)
	db := memory.NewDatabase(memory.Config{})
	byPosition := rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByPosition}}}
	for round := range 3 {
		send(t, cluster, topic, 50, 50*round)
		if got, err := ledger(t, source(t, cluster, topic), "gone-"+topic, db, byPosition); err != nil || !slices.Equal(got, bodies(0, 50*round+50)) {
			t.Fatalf("round %d: %d effects, %v", round, len(got), err)
		}
		if _, err := a.DeleteGroup(context.Background(), "gone-"+topic); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPartitionsRaised: 3 partitions become 6 while messages come, each sent twice, by
// a sender that knows 3 and one that knows 6. Keys move; each takes effect once by key.
func TestPartitionsRaised(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 3, nil)
	db := memory.NewDatabase(memory.Config{})
	byKey := rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{Key: []string{"content"}}}
	old := open(t, brokers)
	send(t, old, topic, 300, 0)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	c := rollcall.NewConsumer("raised-"+topic, source(t, open(t, brokers), topic), memory.Open(db), func(ctx context.Context, tx *memory.Tx, m rollcall.Message) error {
		return tx.Append(ctx, "ledger", string(m.Body))
	}, byKey)
	go func() { done <- c.Run(ctx) }()
	wait(t, "the first effects", func() bool { return len(effects(db)) > 0 })
	if _, err := a.UpdatePartitions(t.Context(), 6, topic); err != nil {
		t.Fatal(err)
	}
	ready(t, a, topic, 6)
	send(t, open(t, brokers), topic, 600, 0) // 300 of them again, by other lanes
	send(t, old, topic, 100, 500)
	wait(t, "all effects", func() bool { return len(effects(db)) >= 600 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got, err := ledger(t, source(t, open(t, brokers), topic), "raised-"+topic, db, byKey)
	if err != nil || !slices.Equal(got, bodies(0, 600)) {
		t.Fatalf("%d effects, %v; want 600, once", len(got), err)
	}
}

// TestOldMessages: Kafka's retention counts from the time in the message, and an outbox
// may have held one for longer. It is not removed at once, and its time arrives.
func TestOldMessages(t *testing.T) {
	broker := servers.Start(t, servers.Kafka, servers.Config{Settings: map[string]string{
		"log.retention.check.interval.ms": "200", "log.initial.task.delay.ms": "200"}})
	brokers := []string{broker.Addr}
	a := admin(t, brokers)
	topic, control := newTopic(t, a, 1, map[string]string{"segment.ms": "100"}), newTopic(t, a, 1, map[string]string{"segment.ms": "100"})
	at := time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Millisecond)
	cluster := open(t, brokers)
	p := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{})
	for i := range 2 { // the second begins a new segment: the first can be removed
		if r := p.Publish(t.Context(), topic, rollcall.Message{Body: []byte(body(i)), Time: at})[0]; r.Fate != rollcall.Stored {
			t.Fatal(r.Err)
		}
		raw(t, brokers, &kgo.Record{Topic: control, Timestamp: at})
		time.Sleep(200 * time.Millisecond)
	}
	wait(t, "retention to remove the old message of another client", func() bool {
		starts, err := a.ListStartOffsets(t.Context(), control)
		first, _ := starts.Lookup(control, 0)
		return err == nil && first.Offset > 0
	})
	if d := subscribe(t, source(t, cluster, topic), aGroup).first(); string(d.Body) != body(0) || !d.Time.Equal(at) || len(d.Headers) > 0 {
		t.Fatalf("first comes %q of %v with %v, want the one of %v", d.Body, d.Time, d.Headers, at)
	}
}
