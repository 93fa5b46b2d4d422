//go:build linux

package servers_test

import (
	"context"
	"fmt"
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
			t.Logf("restarted after %v", time.Since(begun))
			if n := r.MaxOffset(t, "orders", 1); n != 0 {
				t.Errorf("an empty queue has %d messages", n)
			}
		})
	}
}
