package kafka_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
)

// TestCommitModes: without a store, each mode commits what is settled and no more, and
// what was not committed comes again.
func TestCommitModes(t *testing.T) {
	const messages = 30
	stopped := errors.New("the handler stops")
	settle := func(ctx context.Context, sub *kafka.Subscription, b rollcall.Batch) error {
		var all []rollcall.Settlement
		for _, d := range b.Deliveries {
			all = append(all, rollcall.Settlement{Partition: b.Partition, Receipt: d.Receipt})
		}
		return errors.Join(append(sub.Settle(ctx, all), sub.Commit(ctx))...)
	}
	for _, c := range []struct {
		name    string
		mode    kafka.CommitMode
		every   time.Duration
		each    kafka.BatchHandler // after a batch
		during  int64              // committed while the second batch is in work
		after   int64              // committed when its handler has failed
		another string             // what it shows
	}{
		{"batch", kafka.PerBatch, 0, nil, 10, 10, "the batch in work"},
		{"periodic", kafka.Periodic, time.Hour, nil, -1, 10, "given back, what is settled is committed, and not the batch in work"},
		{"manual, never", kafka.Manual, 0, nil, -1, -1, "everything"},
		{"manual, settled", kafka.Manual, 0, settle, 10, 10, "what was not settled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			brokers := real(t)
			a := admin(t, brokers)
			topic := newTopic(t, a, 1, nil)
			cluster := open(t, brokers)
			s, err := cluster.Source(t.Context(), topic, kafka.SourceConfig{CommitEvery: c.every})
			if err != nil {
				t.Fatal(err)
			}
			committed := func() int64 {
				offsets, err := a.FetchOffsets(t.Context(), "g-"+topic)
				if err != nil {
					t.Error(err)
				}
				if at, ok := offsets.Lookup(topic, 0); ok {
					return at.At
				}
				return -1
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			send(t, cluster, topic, 10, 0)
			first := 0
			err = s.Consume(ctx, "g-"+topic, c.mode, func(ctx context.Context, sub *kafka.Subscription, b rollcall.Batch) error {
				if first == 10 {
					if got := committed(); got != c.during {
						t.Errorf("%d is committed while the next batch is in work, want %d", got, c.during)
					}
					return stopped
				}
				if first += len(b.Deliveries); first == 10 {
					send(t, cluster, topic, messages-10, 10)
				}
				if c.each != nil {
					return c.each(ctx, sub, b)
				}
				return nil
			})
			if !errors.Is(err, stopped) {
				t.Fatalf("Consume: %v, want the handler's error", err)
			}
			if got := committed(); got != c.after {
				t.Errorf("%d is committed at the end, want %d", got, c.after)
			}
			again, stop := context.WithCancel(ctx)
			n := int64(0)
			err = s.Consume(again, "g-"+topic, c.mode, func(_ context.Context, _ *kafka.Subscription, b rollcall.Batch) error {
				if n += int64(len(b.Deliveries)); n >= messages-max(0, c.after) {
					stop()
				}
				return nil
			})
			if err != nil || n != messages-max(0, c.after) {
				t.Errorf("%d messages came again or for the first time, want %s: %d; %v", n, c.another, messages-max(0, c.after), err)
			}
			stop()
		})
	}
}
