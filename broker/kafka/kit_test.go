package kafka_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/brokertest"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// names are unique among all cases that share a server, and process is among all test
// binaries that do, one after the other (internal/mutants).
var (
	names   atomic.Int64
	process = rollcall.NewLife()
)

// aGroup is for tests whose topic is of no other.
var aGroup = fmt.Sprintf("g-%x", process[:])

// harness makes every case a topic of its own on one cluster. Every sender and source
// has connections of its own, as processes have.
func harness(brokers []string) brokertest.Harness {
	return func(t testing.TB) brokertest.Broker {
		admin := admin(t, brokers)
		topic := newTopic(t, admin, 4, forEver)
		return brokertest.Broker{
			Destination: topic, Group: "g-" + topic, Partitions: 4,
			Sender: func(t testing.TB) rollcall.Sender { return open(t, brokers).Sender() },
			Source: func(t testing.TB, d string) rollcall.Source { return source(t, open(t, brokers), d) },
			Recreate: func(t testing.TB, d string) {
				if _, err := admin.DeleteTopic(context.Background(), d); err != nil {
					t.Fatal(err)
				}
				create(t, admin, d, 4, forEver)
			},
			Remove: func(t testing.TB, d string, partition int32, below int64) { remove(t, admin, d, partition, below) },
		}
	}
}

// newTopic makes a topic that no other test uses.
func newTopic(t testing.TB, admin administrator, partitions int32, settings map[string]string) string {
	t.Helper()
	topic := fmt.Sprintf("orders-%x-%d", process[:4], names.Add(1))
	create(t, admin, topic, partitions, settings)
	return topic
}

func create(t testing.TB, admin administrator, topic string, partitions int32, settings map[string]string) {
	t.Helper()
	values := make(map[string]*string)
	for name, value := range settings {
		values[name] = &value
	}
	made, err := admin.CreateTopic(context.Background(), partitions, -1, values, topic)
	if err != nil {
		t.Fatal(err)
	}
	known(t, admin, topic, made.ID)
	ready(t, admin, topic, int(partitions))
}

// known waits until every broker has heard of the topic. One that has not would still
// take messages for an old topic of that name, and lose them with it.
func known(t testing.TB, admin administrator, topic string, id kadm.TopicID) {
	t.Helper()
	brokers, err := admin.ListBrokers(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, broker := range brokers.NodeIDs() {
		wait(t, fmt.Sprintf("broker %d to know the topic %s", broker, topic), func() bool {
			req := kmsg.NewPtrMetadataRequest()
			asked := kmsg.NewMetadataRequestTopic()
			asked.Topic = kmsg.StringPtr(topic)
			req.Topics = append(req.Topics, asked)
			resp, err := admin.client.Broker(int(broker)).Request(context.Background(), req)
			return err == nil && kadm.TopicID(resp.(*kmsg.MetadataResponse).Topics[0].TopicID) == id
		})
	}
}

// forEver: the kit's messages are years old, and retention would take them away.
var forEver = map[string]string{"retention.ms": "-1"}

// administrator makes and deletes topics.
type administrator struct {
	*kadm.Client
	client *kgo.Client
}

func admin(t testing.TB, brokers []string) administrator {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return administrator{kadm.NewClient(client), client}
}

// ready waits until every partition of a new topic has a leader.
func ready(t testing.TB, admin administrator, topic string, partitions int) {
	t.Helper()
	wait(t, "the leaders of "+topic, func() bool {
		ends, err := admin.ListEndOffsets(context.Background(), topic)
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

// patience is how long anything may take before a test fails.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("ROLLCALL_TEST_PATIENCE")); err == nil {
		return d
	}
	return time.Minute
}()

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
	brokertest.Run(t, harness(cluster.ListenAddrs()))
}

// TestKit is the acceptance test of broker drivers on real Kafka, one node.
func TestKit(t *testing.T) { brokertest.Run(t, harness(real(t))) }

// real is the one node of all tests that do nothing to the server.
func real(t testing.TB) []string {
	t.Helper()
	return []string{servers.Shared(t, servers.Kafka).Addr}
}
