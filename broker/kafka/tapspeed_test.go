package kafka_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestTapSpeed reads the same 200,000 messages by a bare client that only polls and
// counts, and by a tap, in turn, and takes the best of seven of each. The verdict is
// about the processor's time: where others use the machine too, the clock says little.
func TestTapSpeed(t *testing.T) {
	const n = 200_000
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 4, forEver)
	cluster := open(t, brokers)
	for i := 0; i < n; i += 50_000 {
		send(t, cluster, topic, 50_000, i)
	}
	s := source(t, cluster, topic)
	bare, tapped := spent{time.Hour, time.Hour}, spent{time.Hour, time.Hour}
	for range 7 {
		bare = bare.least(measure(func() { readBare(t, brokers, topic, n) }))
		tapped = tapped.least(measure(func() { readTapped(t, s, n) }))
	}
	ratio := 100 * bare.processor.Seconds() / tapped.processor.Seconds()
	t.Logf("%d messages: bare client %v, tap %v: %.0f %%; processor %v and %v: %.0f %%", n, bare.clock.Round(time.Millisecond), tapped.clock.Round(time.Millisecond),
		100*bare.clock.Seconds()/tapped.clock.Seconds(), bare.processor.Round(time.Millisecond), tapped.processor.Round(time.Millisecond), ratio)
	if ratio < 35 { // far below what it is, since others use the machine
		t.Errorf("a tap takes %v of the processor for what a bare client takes %v", tapped.processor, bare.processor)
	}
}

// spent is what something took.
type spent struct{ clock, processor time.Duration }

func (s spent) least(o spent) spent {
	return spent{min(s.clock, o.clock), min(s.processor, o.processor)}
}

func measure(do func()) spent {
	clock, used := time.Now(), processor()
	do()
	return spent{time.Since(clock), processor() - used}
}

func processor() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // it cannot fail for ourselves
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func readTapped(t *testing.T, s *kafka.Source, n int) {
	t.Helper()
	p := tap(t, s)
	for got, began := 0, time.Now(); got < n; {
		batches, err := p.Fetch(t.Context(), rollcall.FetchRequest{Max: 2000, Min: 1, Wait: time.Second})
		if err != nil || time.Since(began) > patience {
			t.Fatalf("waited %v for %d messages, %d came: %v", patience, n, got, err)
		}
		got += count(batches)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func readBare(t *testing.T, brokers []string, topic string, n int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for got := 0; got < n; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("waited %v for %d messages, %d came", patience, n, got)
		}
		got += fetches.NumRecords()
	}
}
