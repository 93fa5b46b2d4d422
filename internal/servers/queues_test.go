//go:build linux

package servers_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// dial connects, and says the server's version as it does.
func dial(t *testing.T, s *servers.Server) (*amqp.Connection, string) {
	t.Helper()
	conn, err := amqp.Dial(s.URL())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn, fmt.Sprint(conn.Properties["version"])
}

// put stores a persistent message in a quorum queue, confirmed.
func put(t *testing.T, conn *amqp.Connection, queue string) {
	t.Helper()
	ch, err := conn.Channel()
	must(t, err)
	_, err = ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	must(t, err)
	must(t, ch.Confirm(false))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
	must(t, err)
	if ok, err := c.WaitContext(ctx); !ok || err != nil {
		t.Fatalf("not confirmed: %v", err)
	}
}

// TestRabbitMQ: it says which one it is, keeps what it confirmed over a SIGKILL, and its
// processes end.
func TestRabbitMQ(t *testing.T) {
	for spec, version := range map[*servers.Spec]string{servers.RabbitMQ: "3.10.", servers.RabbitMQ4: "4.0."} {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			s := servers.Start(t, spec, servers.Config{})
			conn, said := dial(t, s)
			t.Logf("%s after %v", said, time.Since(begun))
			if !strings.HasPrefix(said, version) {
				t.Errorf("the server says %s", said)
			}
			put(t, conn, "kept")
			// The directory of queues (names.dets) is written every half second: one that is
			// younger has no leader after a kill, and whoever asks it waits for a minute.
			time.Sleep(time.Second)
			must(t, s.Kill())
			begun = time.Now()
			must(t, s.Restart())
			t.Logf("restarted after %v", time.Since(begun))
			conn, _ = dial(t, s)
			ch, err := conn.Channel()
			must(t, err)
			if _, there, err := ch.Get("kept", true); err != nil || !there {
				t.Fatalf("the message that was confirmed before the kill: %v %v", there, err)
			}
		})
	}
}

// TestRabbitMQCluster: three nodes know each other; one that is killed is missed, and comes back.
func TestRabbitMQCluster(t *testing.T) {
	begun := time.Now()
	c := servers.StartRabbitMQ(t, 3, servers.Config{})
	t.Logf("three nodes after %v", time.Since(begun))
	conn, _ := dial(t, c.Nodes[0])
	put(t, conn, "kept")
	must(t, c.Nodes[2].Kill())
	must(t, c.Ready())
	put(t, conn, "kept")
	must(t, c.Nodes[2].Restart())
	must(t, c.Ready())
	must(t, c.Nodes[1].Pause())
	must(t, c.Nodes[1].Resume())
	must(t, c.Ready())
	put(t, conn, "kept")
	// All at once: none of them comes up before it sees another one.
	for _, s := range c.Nodes {
		must(t, s.Kill())
	}
	begun = time.Now()
	must(t, c.Restart())
	t.Logf("all killed and back after %v", time.Since(begun))
	for _, s := range c.Nodes {
		conn, _ := dial(t, s)
		put(t, conn, "kept")
	}
}

// TestRocketMQ: both modes start, say their version, make topics, and come back after a kill.
func TestRocketMQ(t *testing.T) {
	for name, local := range map[string]bool{"local": true, "cluster": false} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			r := servers.StartRocketMQ(t, local, servers.Config{})
			t.Logf("RocketMQ %s, %s mode, after %v", r.Version(t), name, time.Since(begun))
			if !strings.Contains(r.Version(t), "5_5_0") {
				t.Errorf("it says %s", r.Version(t))
			}
			r.CreateTopic(t, "orders", "NORMAL", 2)
			r.CreateGroup(t, "billing", false, 16)
			must(t, r.Broker.Kill())
			begun = time.Now()
			must(t, r.Restart())
			t.Logf("broker killed and back after %v", time.Since(begun))
			must(t, r.Proxy.Kill())
			if local == (r.Broker.Pid() != 0) {
				t.Errorf("the proxy was killed: the broker's process is %d", r.Broker.Pid())
			}
			must(t, r.Restart())
			must(t, r.Pause())
			if c, err := net.DialTimeout("tcp", r.Names.Addr, time.Second); err == nil { // the kernel takes it
				must(t, c.SetDeadline(time.Now().Add(300*time.Millisecond)))
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("a paused name server: %v", err)
				}
				must(t, c.Close())
			}
			must(t, r.Resume())
			must(t, r.Kill())
			for _, s := range []*servers.Server{r.Names, r.Broker, r.Proxy} {
				if s.Pid() != 0 {
					t.Errorf("after Kill there is process %d", s.Pid())
				}
			}
			begun = time.Now()
			must(t, r.Restart())
			t.Logf("all killed and back after %v", time.Since(begun))
			if n := r.MaxOffsets(t, "orders", 2); !slices.Equal(n, []int64{0, 0}) {
				t.Errorf("the empty topic's queues have %d messages", n)
			}
		})
	}
}
