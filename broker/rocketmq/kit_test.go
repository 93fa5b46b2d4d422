//go:build linux

package rocketmq_test

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/brokertest"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
)

// names are unique among all cases that share a server, and process is among all test
// binaries that do, one after the other (internal/mutants).
var (
	names   atomic.Int64
	process = rollcall.NewLife()
)

// short times, as the test servers allow.
var short = rocketmq.SourceConfig{Invisible: 3 * time.Second, Poll: time.Second}

// harness makes every case a topic and a group of its own.
func harness(s *server, kind string) brokertest.Harness {
	return func(t testing.TB) brokertest.Broker {
		topic := newTopic(t, s, kind, 1)
		config := short
		config.FIFO = kind == "FIFO"
		return brokertest.Broker{
			Destination: topic, Group: "g-" + topic, Partitions: 1,
			Sender: func(t testing.TB) rollcall.Sender { return open(t, s).Sender() },
			Source: func(t testing.TB, d string) rollcall.Source { return source(t, open(t, s), d, config) },
		}
	}
}

// newTopic makes a topic that no other test uses, and a group of its name.
func newTopic(t testing.TB, s *server, kind string, queues int) string {
	t.Helper()
	topic := fmt.Sprintf("orders-%x-%d", process[:4], names.Add(1))
	s.CreateTopic(t, topic, kind, queues)
	s.CreateGroup(t, "g-"+topic, kind == "FIFO", 16)
	cluster := open(t, s)
	wait(t, "the route of "+topic, func() bool {
		_, err := cluster.Sender().Lanes(t.Context(), topic)
		return err == nil
	})
	return topic
}

func wait(t testing.TB, what string, is func() bool) {
	t.Helper()
	within(t, patience, what, is)
}

func within(t testing.TB, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// patience is how long anything may take before a test fails.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("ROLLCALL_TEST_PATIENCE")); err == nil {
		return d
	}
	return time.Minute
}()

func open(t testing.TB, s *server) *rocketmq.Cluster {
	t.Helper()
	return openWith(t, s, rocketmq.Config{})
}

func openWith(t testing.TB, s *server, config rocketmq.Config) *rocketmq.Cluster {
	t.Helper()
	config.Plaintext = config.TLS == nil
	cluster, err := rocketmq.Open(t.Context(), []string{s.proxy}, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func source(t testing.TB, cluster *rocketmq.Cluster, topic string, config rocketmq.SourceConfig) *rocketmq.Source {
	t.Helper()
	s, err := cluster.Source(t.Context(), topic, config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestKitLocal is the acceptance test of broker drivers on a proxy in local mode.
func TestKitLocal(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, harness(sharedServer(t, "local"), "NORMAL"))
}

// TestKitCluster is the same on a proxy before a cluster.
func TestKitCluster(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, harness(sharedServer(t, "cluster"), "NORMAL"))
}

// TestKitFIFO is the part of it that an orderly group can pass: one member has the queue
// at a time, and nothing behind what it holds is handed over.
func TestKitFIFO(t *testing.T) {
	t.Parallel()
	can := []string{"publish-at-deadline", "lanes", "fetch-cancelled", "receipt-of-older-session", "ownership-token-of-the-fetch",
		"effects-crash-between-steps", "effects-many-workers", "effects-many-senders", "effects-publisher", "publisher-unknown"}
	for _, c := range brokertest.Cases() {
		if slices.Contains(can, c.Name) {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				c.Run(t, harness(sharedServer(t, "local"), "FIFO"))
			})
		}
	}
}
