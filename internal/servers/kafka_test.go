//go:build linux

package servers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// kafkaClient is a client that gives up after the context's time, and looks
// again at who leads what at once.
func kafkaClient(t testing.TB, brokers []string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50 * time.Millisecond), kgo.DialTimeout(time.Second),
	}, options...)...)
	must(t, err)
	t.Cleanup(client.Close)
	return client
}

// kafkaTopic makes a topic of one partition with the servers' usual settings.
func kafkaTopic(t testing.TB, brokers []string, topic string) {
	t.Helper()
	_, err := kadm.NewClient(kafkaClient(t, brokers)).CreateTopic(limited(t, time.Minute), 1, -1, nil, topic)
	must(t, err)
}

// kafkaWrite appends one record, on a fresh connection.
func kafkaWrite(ctx context.Context, t testing.TB, brokers []string, topic, value string) error {
	t.Helper()
	client := kafkaClient(t, brokers)
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr()
}

// kafkaWant reads the topic from its start until it has as many values as are
// wanted, on a fresh connection.
func kafkaWant(t testing.TB, brokers []string, topic string, want ...string) {
	t.Helper()
	client := kafkaClient(t, brokers, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	ctx := limited(t, time.Minute)
	var got []string
	for len(got) < len(want) && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("topic %s holds %q, want %q", topic, got, want)
	}
}

// TestKafkaLives takes a broker through all that can be done to one: what was
// written is there afterwards.
func TestKafkaLives(t *testing.T) {
	began := time.Now()
	s := servers.Start(t, servers.Kafka, servers.Config{})
	started := time.Since(began)
	brokers := []string{s.Addr}
	kafkaTopic(t, brokers, "kept")
	must(t, kafkaWrite(limited(t, time.Minute), t, brokers, "kept", "1"))

	began = time.Now()
	must(t, s.Kill())
	killed := limited(t, 300*time.Millisecond)
	if err := kafkaWrite(killed, t, brokers, "kept", "lost"); err == nil {
		t.Fatal("a killed broker answers")
	}
	must(t, s.Restart())
	recovered := time.Since(began)
	kafkaWant(t, brokers, "kept", "1")

	must(t, s.Pause())
	paused := limited(t, 300*time.Millisecond)
	if err := kafkaClient(t, brokers).Ping(paused); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a paused broker answers: %v", err)
	}
	must(t, s.Resume())
	must(t, kafkaWrite(limited(t, time.Minute), t, brokers, "kept", "2"))

	began = time.Now()
	must(t, s.Stop())
	stopped := time.Since(began)
	if s.Pid() != 0 {
		t.Fatal("a stopped broker has a process")
	}
	must(t, s.Restart())
	kafkaWant(t, brokers, "kept", "1", "2")
	if v := s.Version(); strings.TrimSpace(v) != "4.3.1" {
		t.Fatalf("version %q, want 4.3.1", v)
	}
	t.Logf("%s: started in %v, killed and back in %v, stopped in %v", strings.TrimSpace(s.Version()),
		started.Round(time.Millisecond), recovered.Round(time.Millisecond), stopped.Round(time.Millisecond))
}

// TestKafkaSettings: what a Config sets arrives at the broker.
func TestKafkaSettings(t *testing.T) {
	s := servers.Start(t, servers.Kafka, servers.Config{Settings: map[string]string{
		"log.retention.check.interval.ms": "500", "log.cleaner.backoff.ms": "100", "transactional.id.expiration.ms": "60000",
	}})
	configs, err := kadm.NewClient(kafkaClient(t, []string{s.Addr})).DescribeBrokerConfigs(limited(t, time.Minute), 1)
	must(t, err)
	got := make(map[string]string)
	for _, c := range configs[0].Configs {
		got[c.Key] = c.MaybeValue()
	}
	for name, want := range map[string]string{
		"log.retention.check.interval.ms": "500", "log.cleaner.backoff.ms": "100", "transactional.id.expiration.ms": "60000",
		"auto.create.topics.enable": "false", "group.min.session.timeout.ms": "1000",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}
