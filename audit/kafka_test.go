package audit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// patience is the deadline of every wait of these tests.
const patience = time.Minute

func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// bench is one real broker with a topic, and senders that remember what became of
// each of their messages.
type bench struct {
	t       *testing.T
	server  *servers.Server
	admin   *kadm.Client
	topic   string
	cluster *kafka.Cluster
	senders []*rollcall.Publisher
	// acked is where each acknowledged number lay.
	acked map[audit.LaneKey]map[uint64]rollcall.Position
	sent  int
}

func newBench(t *testing.T, topic string, partitions int32, settings map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, topic: topic, acked: make(map[audit.LaneKey]map[uint64]rollcall.Position)}
	b.server = servers.Start(t, servers.Kafka, servers.Config{Settings: map[string]string{
		"log.retention.check.interval.ms": "500", "log.cleaner.backoff.ms": "300", "log.segment.delete.delay.ms": "100", "log.initial.task.delay.ms": "500"}})
	client, err := kgo.NewClient(kgo.SeedBrokers(b.server.Addr), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.admin = kadm.NewClient(client)
	values := make(map[string]*string)
	for name, value := range settings {
		values[name] = &value
	}
	if _, err := b.admin.CreateTopic(t.Context(), partitions, 1, values, topic); err != nil {
		t.Fatal(err)
	}
	wait(t, "the leaders of "+topic, func() bool {
		ends, err := b.admin.ListEndOffsets(context.Background(), topic)
		return err == nil && ends.Error() == nil && len(ends[topic]) == int(partitions)
	})
	b.cluster = b.open()
	t.Logf("%s, as asked from it: %s", b.server.Addr, b.cluster.Version())
	return b
}

func (b *bench) open() *kafka.Cluster {
	b.t.Helper()
	cluster, err := kafka.Open(b.t.Context(), []string{b.server.Addr}, kafka.Config{Warn: func(string) {}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cluster.Close)
	return cluster
}

// sender begins a new life.
func (b *bench) sender(name string) *rollcall.Publisher {
	p := rollcall.NewPublisher(b.cluster.Sender(), rollcall.PublisherConfig{Observer: quiet,
		Books: rollcall.BooksConfig{Sender: name, Every: 100 * time.Millisecond, Idle: time.Second}})
	b.senders = append(b.senders, p)
	return p
}

// send publishes n messages and remembers where they lie.
func (b *bench) send(p *rollcall.Publisher, n int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	for n > 0 {
		batch := make([]rollcall.Message, min(n, 2000))
		for i := range batch {
			batch[i] = rollcall.Message{Key: fmt.Sprint(b.sent % 997), Body: fmt.Appendf(nil, "message %d of %s", b.sent, b.topic)}
			b.sent++
		}
		for i, r := range p.Publish(ctx, b.topic, batch...) {
			if r.Fate != rollcall.Stored {
				b.t.Fatalf("message %d: %v %v", i, r.Fate, r.Err)
			}
			b.remember(p, &batch[i], r.Position)
		}
		n -= len(batch)
	}
}

// remember numbers as the publisher does: 1, 2, 3 … a partition, in order.
func (b *bench) remember(p *rollcall.Publisher, m *rollcall.Message, at rollcall.Position) {
	lanes, err := b.cluster.Sender().Lanes(b.t.Context(), b.topic)
	if err != nil {
		b.t.Fatal(err)
	}
	key := audit.LaneKey{Life: p.Life(), Origin: rollcall.OriginOf(b.topic), Lane: uint32(lanes.Pick(m))}
	if b.acked[key] == nil {
		b.acked[key] = make(map[uint64]rollcall.Position)
	}
	b.acked[key][uint64(len(b.acked[key])+1)] = at
}
