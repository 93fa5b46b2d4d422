//go:build linux

package servers_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall/internal/kafkaproxy"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestKafkaProxyDrop: the answer to a write is lost after the broker has it. A
// client that writes again then has it twice, one with a producer's id once.
func TestKafkaProxyDrop(t *testing.T) {
	brokers := []string{servers.Shared(t, servers.Kafka).Addr}
	for topic, c := range map[string]struct {
		options []kgo.Opt
		want    []string
	}{
		"drop-plain":      {[]kgo.Opt{kgo.DisableIdempotentWrite()}, []string{"a", "a", "b"}},
		"drop-idempotent": {nil, []string{"a", "b"}},
	} {
		kafkaTopic(t, brokers, topic)
		proxy := kafkaproxy.Start(t, brokers[0])
		client := kafkaClient(t, brokers, append(c.options, kgo.Dialer(kafkaproxy.Dialer(proxy)))...)
		proxy.Drop(kafkaproxy.Produce, 1)
		for _, value := range []string{"a", "b"} {
			must(t, client.ProduceSync(limited(t, time.Minute), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr())
		}
		kafkaWant(t, brokers, topic, c.want...)
		if proxy.Dropped() != 1 {
			t.Fatalf("%s: %d answers dropped, want 1", topic, proxy.Dropped())
		}
		must(t, proxy.Wait(limited(t, time.Second), kafkaproxy.Produce, 3)) // a, a again, b
	}
}

// TestKafkaProxyHold: a held answer is late by what it is held, a delayed one
// by the delay, and others pass.
func TestKafkaProxyHold(t *testing.T) {
	brokers := []string{servers.Shared(t, servers.Kafka).Addr}
	kafkaTopic(t, brokers, "held")
	proxy := kafkaproxy.Start(t, brokers[0])
	client := kafkaClient(t, brokers, kgo.Dialer(kafkaproxy.Dialer(proxy)))
	proxy.Hold(kafkaproxy.Produce)
	done := make(chan error, 1)
	go func() {
		done <- client.ProduceSync(limited(t, time.Minute), &kgo.Record{Topic: "held", Value: []byte("a")}).FirstErr()
	}()
	must(t, proxy.Wait(limited(t, time.Minute), kafkaproxy.Produce, 1))
	kafkaWant(t, brokers, "held", "a") // the broker has it
	must(t, client.Ping(limited(t, time.Minute)))
	select {
	case err := <-done:
		t.Fatalf("a held answer came: %v", err)
	default:
	}
	proxy.Release(kafkaproxy.Produce)
	must(t, <-done)

	const delay = 300 * time.Millisecond
	proxy.Delay(kafkaproxy.Produce, delay)
	began := time.Now()
	must(t, client.ProduceSync(limited(t, time.Minute), &kgo.Record{Topic: "held", Value: []byte("b")}).FirstErr())
	if took := time.Since(began); took < delay {
		t.Fatalf("a delayed answer came after %v, want %v or more", took, delay)
	}
}

// TestKafkaProxyCut: a client whose connections are cut dials again; one that
// is refused gets nowhere until it is accepted.
func TestKafkaProxyCut(t *testing.T) {
	brokers := []string{servers.Shared(t, servers.Kafka).Addr}
	kafkaTopic(t, brokers, "cut")
	proxy := kafkaproxy.Start(t, brokers[0])
	client := kafkaClient(t, brokers, kgo.Dialer(kafkaproxy.Dialer(proxy)))
	write := func(value string, limit time.Duration) error {
		return client.ProduceSync(limited(t, limit), &kgo.Record{Topic: "cut", Value: []byte(value)}).FirstErr()
	}
	must(t, write("a", time.Minute))
	proxy.Cut()
	must(t, write("b", time.Minute))
	proxy.Refuse()
	if err := client.Ping(limited(t, time.Second)); err == nil {
		t.Fatal("a refused client got an answer")
	}
	proxy.Accept()
	must(t, write("c", time.Minute))
	kafkaWant(t, brokers, "cut", "a", "b", "c")
}
