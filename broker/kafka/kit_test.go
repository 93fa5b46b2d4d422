package kafka_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/brokertest"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// names are unique among all cases that share a server.
var names atomic.Int64

// harness makes every case a topic of its own on one cluster. Every sender and source
// has connections of its own, as processes have.
func harness(brokers []string, replicas int16) brokertest.Harness {
	return func(t testing.TB) brokertest.Broker {
		n := names.Add(1)
		topic, group := fmt.Sprintf("orders-%d", n), fmt.Sprintf("g-%d", n)
		admin := admin(t, brokers)
		create := func() {
			if _, err := admin.CreateTopic(t.Context(), 4, replicas, nil, topic); err != nil {
				t.Fatal(err)
			}
			ready(t, admin, topic, 4)
		}
		create()
		return brokertest.Broker{
			Destination: topic, Group: group, Partitions: 4,
			Sender: func(t testing.TB) rollcall.Sender { return open(t, brokers).Sender() },
			Source: func(t testing.TB, d string) rollcall.Source { return source(t, open(t, brokers), d) },
			Recreate: func(t testing.TB, d string) {
				if _, err := admin.DeleteTopic(context.Background(), d); err != nil {
					t.Fatal(err)
				}
				create()
			},
		}
	}
}

func admin(t testing.TB, brokers []string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// ready waits until every partition of a new topic has a leader.
func ready(t testing.TB, admin *kadm.Client, topic string, partitions int) {
	t.Helper()
	wait(t, "the leaders of "+topic, func() bool {
		ends, err := admin.ListEndOffsets(t.Context(), topic)
		return err == nil && ends.Error() == nil && len(ends[topic]) == partitions
	})
}

func wait(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

const patience = 60 * time.Second

// open connects; what the cluster's settings are worth is no news here.
func open(t testing.TB, brokers []string) *kafka.Cluster {
	t.Helper()
	cluster, err := kafka.Open(t.Context(), brokers, kafka.Config{Warn: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func source(t testing.TB, cluster *kafka.Cluster, topic string) *kafka.Source {
	t.Helper()
	s, err := cluster.Source(t.Context(), topic, kafka.SourceConfig{SessionTimeout: 6 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestKitFake is the acceptance test of broker drivers on franz-go's broker for tests.
// It is quick, and never evidence alone: see TestKit.
func TestKitFake(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.DefaultNumPartitions(4))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokertest.Run(t, harness(cluster.ListenAddrs(), 3))
}
