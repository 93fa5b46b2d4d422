//go:build linux

package rabbitmq_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/brokertest"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// names are unique among all cases that share a server, and process is among all test
// binaries that do.
var (
	names   atomic.Int64
	process = rollcall.NewLife()
)

// patience is how long anything may take before a test fails.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("ROLLCALL_TEST_PATIENCE")); err == nil {
		return d
	}
	return time.Minute
}()

func newName() string { return fmt.Sprintf("orders-%x-%d", process[:4], names.Add(1)) }

// harness makes every case a queue of its own. Every sender and source has connections
// of its own, as processes have.
func harness(address string, kind rabbitmq.Queue) brokertest.Harness {
	return func(t testing.TB) brokertest.Broker {
		q := kind
		q.Name = newQueue(t, address, q)
		t.Cleanup(func() { remove(t, address, q.Name+"-side") })
		config := rabbitmq.SourceConfig{Type: q.Type, SingleActive: q.SingleActive, Leases: leases(), Lease: 3 * time.Second}
		return brokertest.Broker{
			Destination: q.Name, Group: "g-" + q.Name, Partitions: 1,
			Sender: func(t testing.TB) rollcall.Sender { return open(t, address).Sender() },
			Source: func(t testing.TB, d string) rollcall.Source { return source(t, open(t, address), d, config) },
			Coarse: time.Minute, // streams know when a chunk came, in seconds
			Narrow: func(t testing.TB, d string) rollcall.Source {
				narrow := config
				narrow.Prefetch = 8
				return source(t, open(t, address), d, narrow)
			},
		}
	}
}

func declare(t testing.TB, c *rabbitmq.Cluster, q rabbitmq.Queue) {
	t.Helper()
	if err := c.Declare(t.Context(), q); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, address string) *rabbitmq.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cluster, err := rabbitmq.Open(ctx, strings.Split(address, ","), rabbitmq.Config{Warn: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func source(t testing.TB, c *rabbitmq.Cluster, queue string, config rabbitmq.SourceConfig) *rabbitmq.Source {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := c.Source(ctx, queue, config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// onEach runs a test with every server that we know: one node of 3.10, and of 4.0.
func onEach(t *testing.T, run func(t *testing.T, address string)) {
	for _, spec := range []*servers.Spec{servers.RabbitMQ, servers.RabbitMQ4} {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			address := servers.Shared(t, spec).Addr
			t.Logf("RabbitMQ %s", open(t, address).Sender().Capabilities().Version)
			run(t, address)
		})
	}
}

func TestKitQuorum(t *testing.T) {
	onEach(t, func(t *testing.T, address string) { brokertest.Run(t, harness(address, rabbitmq.Queue{})) })
}

func TestKitClassic(t *testing.T) {
	onEach(t, func(t *testing.T, address string) {
		brokertest.Run(t, harness(address, rabbitmq.Queue{Type: rabbitmq.Classic}))
	})
}

func TestKitSingleActive(t *testing.T) {
	onEach(t, func(t *testing.T, address string) {
		brokertest.Run(t, harness(address, rabbitmq.Queue{SingleActive: true}))
	})
}

func TestKitStream(t *testing.T) {
	onEach(t, func(t *testing.T, address string) {
		brokertest.Run(t, harness(address, rabbitmq.Queue{Type: rabbitmq.Stream}))
	})
}

// TestKitThreeNodes: quorum queues with a replica on each of three nodes.
func TestKitThreeNodes(t *testing.T) {
	nodes := servers.StartRabbitMQ(t, 3, servers.Config{}).Addrs()
	brokertest.Run(t, harness(strings.Join(nodes, ","), rabbitmq.Queue{}))
}

// leases of a store that all workers of a test share.
func leases() rollcall.Claims { return memory.Open(memory.NewDatabase(memory.Config{})).Claims() }

// real is the server of 3.10 that tests share.
func real(t testing.TB) string { return servers.Shared(t, servers.RabbitMQ).Addr }
