package kafka_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
)

func tap(t testing.TB, s *kafka.Source) rollcall.Tap {
	t.Helper()
	opened, err := s.Tap(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// tapUntil fetches until enough says so, and returns what was missed.
func tapUntil(t testing.TB, p rollcall.Tap, what string, enough func([]rollcall.Batch) bool) (out []rollcall.Batch, missed error) {
	t.Helper()
	for deadline := time.Now().Add(patience); !enough(out); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s, came %v (%v)", patience, what, places(out), missed)
		}
		batches, err := p.Fetch(t.Context(), rollcall.FetchRequest{Max: 1000, Min: 1, Wait: 200 * time.Millisecond})
		if err != nil && !errors.Is(err, rollcall.ErrMissed) {
			t.Fatal(err)
		}
		out, missed = append(out, batches...), errors.Join(missed, err)
	}
	return out, missed
}

// count how many deliveries there are.
func count(batches []rollcall.Batch) (n int) {
	for _, b := range batches {
		n += len(b.Deliveries)
	}
	return n
}

// producer of records as they are, in transactions.
func transactional(t *testing.T, brokers []string, id string) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// write stamped messages in one transaction.
func write(t *testing.T, client *kgo.Client, topic string, end kgo.TransactionEndTry, stamps ...rollcall.Stamp) {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, s := range stamps {
		r := &kgo.Record{Topic: topic, Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: rollcall.StampHeader, Value: rollcall.AppendStamp(nil, s)}}}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

// TestExplainTransactions: markers, and what was aborted with its stamps; a tap covers
// both.
func TestExplainTransactions(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, forEver)
	client := transactional(t, brokers, "explain-"+topic)
	life := rollcall.NewLife()
	stamp := func(n uint64) rollcall.Stamp {
		return rollcall.Stamp{Life: life, Sequence: n, Origin: rollcall.OriginOf(topic)}
	}
	write(t, client, topic, kgo.TryCommit, stamp(1), stamp(2)) // offsets 0, 1, marker 2
	write(t, client, topic, kgo.TryAbort, stamp(3), stamp(4))  // 3, 4, marker 5
	write(t, client, topic, kgo.TryCommit, stamp(5))           // 6, marker 7
	s := source(t, open(t, brokers), topic)
	got, err := s.Explain(t.Context(), rollcall.Partition{Destination: topic}, 0, 8)
	want := []rollcall.Hole{
		{First: 2, Last: 2, Cause: rollcall.HoleMarker},
		{First: 3, Last: 4, Cause: rollcall.HoleAborted, Stamps: []rollcall.Stamp{stamp(3), stamp(4)}},
		{First: 5, Last: 5, Cause: rollcall.HoleMarker},
		{First: 7, Last: 7, Cause: rollcall.HoleMarker},
		{First: 8, Last: 8, Cause: rollcall.HoleBeyond},
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("explained %+v (%v), want %+v", got, err, want)
	}
	batches, missed := tapUntil(t, tap(t, s), "offset 7", func(batches []rollcall.Batch) bool {
		return len(batches) > 0 && len(batches[len(batches)-1].Covered) > 0 && slices.ContainsFunc(batches[len(batches)-1].Covered, func(r rollcall.OffsetRange) bool { return r.Last == 7 })
	})
	var covered []rollcall.OffsetRange
	for _, b := range batches {
		covered = append(covered, b.Covered...)
	}
	if missed != nil || count(batches) != 3 || covered[0].First != 2 || covered[len(covered)-1].Last != 7 {
		t.Fatalf("tapped %v (%v)", places(batches), missed)
	}
}

// TestExplainOpenTransaction: what may still be committed is no hole.
func TestExplainOpenTransaction(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, forEver)
	client := transactional(t, brokers, "open-"+topic)
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	holes, err := source(t, open(t, brokers), topic).Explain(t.Context(), rollcall.Partition{Destination: topic}, 0, 0)
	if err != nil || len(holes) > 0 {
		t.Fatalf("explained %+v (%v), want nothing: nobody knows yet", holes, err)
	}
}

// TestExplainCompaction: what a later message of the key replaced.
func TestExplainCompaction(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100", "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "100"})
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	next := 0
	produce := func(key string) {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(fmt.Sprint(next))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		next++
	}
	for range 20 {
		produce("same")
	}
	produce("other")
	s := source(t, open(t, brokers), topic)
	var holes []rollcall.Hole
	wait(t, "the log cleaner to have removed offsets 0 to 18", func() bool {
		time.Sleep(300 * time.Millisecond)
		produce("filler") // it closes the segment before
		holes, err = s.Explain(t.Context(), rollcall.Partition{Destination: topic}, 0, 20)
		return err == nil && len(holes) > 0
	})
	if len(holes) != 1 || holes[0].First != 0 || holes[0].Last != 18 || holes[0].Cause != rollcall.HoleCompacted {
		t.Fatalf("explained %+v, want offsets 0 to 18 compacted", holes)
	}
}

// TestTapFindsNewPartitions: they are read from their first message.
func TestTapFindsNewPartitions(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 1, forEver)
	cluster := open(t, brokers)
	send(t, cluster, topic, 10, 0)
	p := tap(t, source(t, cluster, topic))
	if got, missed := tapUntil(t, p, "10 messages", func(b []rollcall.Batch) bool { return count(b) == 10 }); missed != nil {
		t.Fatalf("%v %v", places(got), missed)
	}
	if _, err := a.UpdatePartitions(t.Context(), 3, topic); err != nil {
		t.Fatal(err)
	}
	ready(t, a, topic, 3)
	fresh := open(t, brokers)
	send(t, fresh, topic, 100, 10)
	got, missed := tapUntil(t, p, "100 messages of three partitions", func(b []rollcall.Batch) bool { return count(b) == 100 })
	if missed != nil || !slices.ContainsFunc(got, func(b rollcall.Batch) bool { return b.Partition.Number > 0 }) {
		t.Fatalf("tapped %v (%v)", places(got), missed)
	}
}

// TestTapOvertaken: what retention removes while nobody fetches is told of, once, and
// covered as lost.
func TestTapOvertaken(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 1, map[string]string{"retention.ms": "-1", "max.message.bytes": "2000000"})
	cluster := open(t, brokers)
	p := tap(t, source(t, cluster, topic))
	publisher := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{Batch: 1})
	large := make([]byte, 900_000) // the client reads ahead no more than a few
	for range 40 {
		if r := publisher.Publish(t.Context(), topic, rollcall.Message{Body: large}); r[0].Fate != rollcall.Stored {
			t.Fatal(r[0].Err)
		}
	}
	remove(t, a, topic, 0, 39)
	got, missed := tapUntil(t, p, "the last message", func(b []rollcall.Batch) bool {
		return len(b) > 0 && len(b[len(b)-1].Deliveries) > 0 && b[len(b)-1].Deliveries[len(b[len(b)-1].Deliveries)-1].Position.Offset == 39
	})
	if missed == nil || strings.Count(missed.Error(), "were removed") != 1 {
		t.Fatalf("%d messages came, and: %v; want word of what was removed, once", count(got), missed)
	}
	lost := int64(0)
	for _, b := range got {
		for _, r := range b.Covered {
			if r.Lost {
				lost += r.Last - r.First + 1
			}
		}
	}
	if int(lost)+count(got) != 40 {
		t.Fatalf("%d messages came and %d are covered as lost, of 40", count(got), lost)
	}
}

// TestTapIsInNoGroup: the broker has never heard of one.
func TestTapIsInNoGroup(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	topic := newTopic(t, a, 2, forEver)
	cluster := open(t, brokers)
	send(t, cluster, topic, 50, 0)
	before, err := a.ListGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tapUntil(t, tap(t, source(t, cluster, topic)), "50 messages", func(b []rollcall.Batch) bool { return count(b) == 50 })
	after, err := a.ListGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range after.Groups() {
		if _, was := before[name]; !was && strings.Contains(name, topic) {
			t.Fatalf("group %q is new", name)
		}
	}
}

// TestMakeSide: one partition, 60 days, not compacted.
func TestMakeSide(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	side := fmt.Sprintf("_rollcall-%d", names.Add(1))
	sender := open(t, brokers).Sender()
	for range 2 {
		if err := sender.MakeSide(t.Context(), side); err != nil {
			t.Fatal(err)
		}
	}
	configs, err := a.DescribeTopicConfigs(t.Context(), side)
	if err != nil {
		t.Fatal(err)
	}
	on, _ := configs.On(side, nil)
	settings := make(map[string]string)
	for _, c := range on.Configs {
		settings[c.Key] = c.MaybeValue()
	}
	detail, err := a.ListTopics(t.Context(), side)
	if err != nil || len(detail[side].Partitions) != 1 || settings["cleanup.policy"] != "delete" || settings["retention.ms"] != "5184000000" {
		t.Fatalf("made %+v with %v (%v)", detail[side], settings, err)
	}
}
