package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
)

// told is what Kafka has as committed, over all partitions.
func told(t *testing.T, a administrator, group string) (n int64) {
	t.Helper()
	offsets, err := a.FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	for _, partitions := range offsets {
		for _, o := range partitions {
			n += max(o.At, 0)
		}
	}
	return n
}

// TestConsume: without a store each mode is at least once: what a handler had not
// finished, or nobody committed, comes again to the next; nothing is skipped.
func TestConsume(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	cluster := open(t, brokers)
	for _, mode := range []kafka.CommitMode{kafka.PerBatch, kafka.Periodic, kafka.Manual} {
		t.Run(string(mode), func(t *testing.T) {
			topic := newTopic(t, a, 2, nil)
			group := "plain-" + topic
			send(t, cluster, topic, 1000, 0)
			s, err := cluster.Source(t.Context(), topic, kafka.SourceConfig{SessionTimeout: 6 * time.Second, CommitEvery: 50 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			broken := errors.New("broken")
			seen := 0
			err = s.Consume(t.Context(), group, mode, func(ctx context.Context, sub *kafka.Subscription, b rollcall.Batch) error {
				if seen += len(b.Deliveries); seen > 600 {
					return broken // this batch is not done
				}
				for _, d := range b.Deliveries {
					got = append(got, string(d.Body))
				}
				if mode == kafka.Manual { // all but the first message: the floor stays before it
					for _, d := range b.Deliveries[1:] {
						sub.Settle(ctx, []rollcall.Settlement{{Partition: b.Partition, Receipt: d.Receipt}})
					}
					return sub.Commit(ctx)
				}
				return nil
			})
			if !errors.Is(err, broken) {
				t.Fatalf("Consume: %v", err)
			}
			if n := told(t, a, group); n > int64(len(got)) || mode == kafka.Manual && n > 0 {
				t.Fatalf("%d are committed and %d done", n, len(got))
			}
			rest := consume(t, s, group, mode)
			if all := slices.Compact(slices.Sorted(slices.Values(append(got, rest...)))); !slices.Equal(all, bodies(0, 1000)) {
				t.Fatalf("%d messages of 1000 were done", len(all))
			}
			if n := told(t, a, group); mode != kafka.Manual && n != 1000 {
				t.Fatalf("%d are committed at the end, want 1000", n)
			}
		})
	}
	err := source(t, cluster, newTopic(t, a, 1, nil)).Consume(t.Context(), aGroup, "auto", nil)
	wantWords(t, err, "mode", "auto", "batch")
}

// consume until all partitions are read to their end.
func consume(t *testing.T, s *kafka.Source, group string, mode kafka.CommitMode) (got []string) {
	t.Helper()
	extents, err := s.Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	left := make(map[int32]bool)
	for _, x := range extents {
		left[x.Partition.Number] = x.End > 0
	}
	err = s.Consume(ctx, group, mode, func(_ context.Context, _ *kafka.Subscription, b rollcall.Batch) error {
		for _, d := range b.Deliveries {
			got = append(got, string(d.Body))
			if d.Position.Offset == extents[b.Partition.Number].End-1 {
				delete(left, b.Partition.Number)
			}
		}
		if len(left) == 0 {
			cancel()
		}
		return nil
	})
	if err != nil || len(left) > 0 {
		t.Fatalf("waited %v for the end of all partitions: %v", patience, err)
	}
	return got
}

// TestMarkers: transactions that were committed and aborted, the last one aborted. The
// floor reaches the end, and what was aborted takes no effect.
func TestMarkers(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	cluster := open(t, brokers)
	tx := transactor(t, cluster, "markers-"+topic)
	for i := range 3 {
		if err := tx.Transact(t.Context(), nil, map[string][]rollcall.Message{topic: {{Body: []byte(body(i))}}}); err != nil {
			t.Fatal(err)
		}
		aborted(t, brokers, topic)
	}
	r := subscribe(t, source(t, cluster, topic), aGroup)
	var got []string
	next := int64(0)
	for deadline := time.Now().Add(patience); next < 12; {
		batches, err := r.next()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("waited %v for offset 12 of %s, at %d: %v", patience, topic, next, err)
		}
		for _, b := range batches {
			var offsets []int64
			for _, d := range b.Deliveries {
				got, offsets = append(got, string(d.Body)), append(offsets, d.Position.Offset)
			}
			for _, c := range b.Covered {
				for o := c.First; o <= c.Last; o++ {
					offsets = append(offsets, o)
				}
			}
			slices.Sort(offsets)
			for _, o := range offsets {
				if o != next {
					t.Fatalf("offset %d is neither handed over nor covered; %v", next, offsets)
				}
				next++
			}
		}
	}
	if !slices.Equal(got, bodies(0, 3)) {
		t.Fatalf("came %v", got)
	}
}

// TestFacts: what doctor needs, as the cluster told it.
func TestFacts(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 3, map[string]string{"retention.ms": "12345000"})
	facts, err := open(t, brokers).Facts(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]string)
	for _, f := range facts {
		have[f.Of+" "+f.Name] = f.Value
	}
	for name, want := range map[string]string{
		"topic " + topic + " partitions": "3", "topic " + topic + " replication.factor": "1", "topic " + topic + " retention.ms": "12345000",
		"topic " + topic + " min.insync.replicas": "1", "cluster transaction.version": "2",
		"broker 1 auto.create.topics.enable": "false", "broker 1 offsets.topic.replication.factor": "1",
	} {
		if have[name] != want {
			t.Errorf("%s is %q, want %q", name, have[name], want)
		}
	}
}

// TestRisky: a confirmed message that is on one disk only is said to be, once.
func TestRisky(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	var mu sync.Mutex
	var warnings []string
	cluster, err := kafka.Open(t.Context(), brokers, kafka.Config{Warn: func(w string) { mu.Lock(); warnings = append(warnings, w); mu.Unlock() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	for range 2 {
		if _, err := cluster.Sender().Lanes(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(warnings) != 1 {
		t.Fatalf("warnings %q, want one", warnings)
	}
	wantWords(t, errors.New(fmt.Sprint(warnings)), topic, "one replica")
}

// TestPeek: messages are read where they lie, in any order; where there is none there is
// none.
func TestPeek(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	cluster := open(t, brokers)
	send(t, cluster, topic, 1000, 0)
	aborted(t, brokers, topic) // offsets 1000 and, a little later, 1001
	s := source(t, cluster, topic)
	wait(t, "the marker", func() bool { return extent(t, s).End == 1002 })
	send(t, cluster, topic, 1, 1000)
	x := extent(t, s)
	for _, offset := range []int64{1002, 0, 999, 500, 998, 1001, 1000} {
		m, err := s.Peek(t.Context(), x.Partition, rollcall.Position{Incarnation: x.Incarnation, Offset: offset})
		want := map[int64]string{1002: body(1000), 1001: "", 1000: ""}
		if offset < 1000 {
			want[offset] = body(int(offset))
		}
		if err != nil || string(m.Body) != want[offset] || m.Stamp.IsZero() != (want[offset] == "") {
			t.Errorf("offset %d: %q, %v; want %q", offset, m.Body, err, want[offset])
		}
	}
}
