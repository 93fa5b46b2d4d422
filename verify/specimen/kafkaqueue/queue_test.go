package kafkaqueue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall/verify/specimen"
	"github.com/rollcall-mq/rollcall/verify/specimen/kafkaqueue"
)

const (
	messages = 6
	session  = time.Second
)

// topic is a topic with messages on a broker in this process.
func topic(t *testing.T) []string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, specimen.Topic), kfake.GroupMinSessionTimeout(session))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic(specimen.Topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range messages {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return cluster.ListenAddrs()
}

func open(t *testing.T, config kafkaqueue.Config) *kafkaqueue.Queue {
	t.Helper()
	config.Topic, config.Group, config.SessionTimeout = specimen.Topic, "g", session
	config.Decode = func(r *kgo.Record) (specimen.Message, error) { return specimen.Message{ID: string(r.Value)}, nil }
	q, err := kafkaqueue.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func receive(t *testing.T, q *kafkaqueue.Queue, want int) specimen.Message {
	t.Helper()
	m, err := q.Receive(t.Context())
	if err != nil || m.ID != fmt.Sprint(want) || m.Offset != int64(want) {
		t.Fatalf("received %+v, %v; want %d", m, err, want)
	}
	return m
}

func ack(t *testing.T, q *kafkaqueue.Queue, m specimen.Message) {
	t.Helper()
	if err := q.Ack(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func atEnd(t *testing.T, q *kafkaqueue.Queue) {
	t.Helper()
	if m, err := q.Receive(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("received %+v, %v; want the end", m, err)
	}
}

// TestQueue: what is not acked comes again, to this member and to the next one.
func TestQueue(t *testing.T) {
	t.Parallel()
	brokers := topic(t)
	q := open(t, kafkaqueue.Config{Brokers: brokers})
	ack(t, q, receive(t, q, 0))
	receive(t, q, 1)
	m := receive(t, q, 2)
	if err := q.Nack(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	ack(t, q, receive(t, q, 1))
	if err := q.Ack(t.Context(), m); err == nil {
		t.Error("acked what was not in hand")
	}
	receive(t, q, 2)
	q.Close()
	q = open(t, kafkaqueue.Config{Brokers: brokers})
	defer q.Close()
	for i := 2; i < messages; i++ {
		ack(t, q, receive(t, q, i))
	}
	atEnd(t, q)
}

// TestOwnOffsets: they count, not what is committed.
func TestOwnOffsets(t *testing.T) {
	t.Parallel()
	own := int64(3)
	q := open(t, kafkaqueue.Config{Brokers: topic(t), Own: func(context.Context) (int64, error) { return own, nil }})
	defer q.Close()
	ack(t, q, receive(t, q, 3))
	own = 1
	if err := q.Nack(t.Context(), specimen.Message{}); err != nil {
		t.Fatal(err)
	}
	receive(t, q, 1)
}

// TestSleeper: a member that is silent past its session loses the partition. Awake
// again it cannot ack, and is sent to where the other one came.
func TestSleeper(t *testing.T) {
	t.Parallel()
	brokers := topic(t)
	var network sleepyNetwork
	sleeper := open(t, kafkaqueue.Config{Brokers: brokers, Dial: network.dial})
	m := receive(t, sleeper, 0)
	network.mu.Lock()
	other := open(t, kafkaqueue.Config{Brokers: brokers})
	for i := range messages {
		ack(t, other, receive(t, other, i))
	}
	atEnd(t, other)
	other.Close()
	network.mu.Unlock()
	if err := sleeper.Ack(t.Context(), m); err == nil {
		t.Error("it could ack")
	}
	if err := sleeper.Nack(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	atEnd(t, sleeper)
	begun := time.Now()
	sleeper.Close()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v to leave", took)
	}
}

// sleepyNetwork stands still while it is locked.
type sleepyNetwork struct{ mu sync.RWMutex }

func (n *sleepyNetwork) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return sleepyConn{c, n}, err
}

type sleepyConn struct {
	net.Conn
	network *sleepyNetwork
}

func (c sleepyConn) Write(b []byte) (int, error) {
	c.network.mu.RLock()
	defer c.network.mu.RUnlock()
	return c.Conn.Write(b)
}

// TestSecondMember: another member comes and gets nothing, as there is one partition.
// The first one works on.
func TestSecondMember(t *testing.T) {
	t.Parallel()
	brokers := topic(t)
	first := open(t, kafkaqueue.Config{Brokers: brokers})
	defer first.Close()
	ack(t, first, receive(t, first, 0))
	second := open(t, kafkaqueue.Config{Brokers: brokers})
	defer second.Close()
	short, cancel := context.WithTimeout(t.Context(), 2*session)
	defer cancel()
	if m, err := second.Receive(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the second received %+v, %v", m, err)
	}
	for i := 1; i < messages; i++ {
		ack(t, first, receive(t, first, i))
	}
	atEnd(t, first)
}
