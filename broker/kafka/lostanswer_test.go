package kafka_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/kafkaproxy"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// through opens a cluster behind a proxy.
func through(t *testing.T, brokers []string) (*kafka.Cluster, *kafkaproxy.Proxy) {
	t.Helper()
	proxy := kafkaproxy.Start(t, brokers[0])
	cluster, err := kafka.Open(t.Context(), brokers, kafka.Config{Dial: kafkaproxy.Dialer(proxy), Warn: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, proxy
}

// TestProduceAnswerLost: the broker stores, and its answer does not come. The client
// asks again and hears where it lies; the log has one copy. A control without
// idempotence has two: the fault is real.
func TestProduceAnswerLost(t *testing.T) {
	brokers := real(t)
	topic, control := newTopic(t, admin(t, brokers), 1, nil), newTopic(t, admin(t, brokers), 1, nil)
	cluster, proxy := through(t, brokers)
	for i := range 10 {
		proxy.Drop(kafkaproxy.Produce, 1)
		send(t, cluster, topic, 1, i)
	}
	if proxy.Dropped() != 10 {
		t.Fatalf("%d answers were lost, want 10", proxy.Dropped())
	}
	if got := committed(t, brokers, topic, 10); !slices.Equal(got, bodies(0, 10)) {
		t.Fatalf("the log has %v", got)
	}
	bare, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.Dialer(kafkaproxy.Dialer(proxy)), kgo.DisableIdempotentWrite())
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	proxy.Drop(kafkaproxy.Produce, 1)
	if err := bare.ProduceSync(t.Context(), &kgo.Record{Topic: control, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, brokers, control, 2); len(got) != 2 {
		t.Fatalf("the control has %v, want two copies", got)
	}
}

// TestNoAnswer: no answer comes within the caller's time. The fate is Unknown, never
// Refused; sent again with its stamp it takes effect once.
func TestNoAnswer(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	cluster, proxy := through(t, brokers)
	send(t, cluster, topic, 1, 0)
	proxy.Hold(kafkaproxy.Produce)
	stamp := rollcall.Stamp{Life: rollcall.NewLife(), Sequence: 1, Origin: rollcall.OriginOf(topic)}
	m := rollcall.Message{ID: "x", Body: []byte(body(1)), Stamp: stamp, Time: time.Now()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r := cluster.Sender().Publish(ctx, topic, []rollcall.Message{m})[0]
	if r.Fate != rollcall.Unknown || r.Err == nil {
		t.Fatalf("%v %v, want that nobody knows", r.Fate, r.Err)
	}
	proxy.Refuse() // the client dies without an answer
	cluster.Close()
	p := rollcall.NewPublisher(open(t, brokers).Sender(), rollcall.PublisherConfig{})
	if r := p.Publish(t.Context(), topic, m)[0]; r.Fate != rollcall.Stored {
		t.Fatal(r.Err)
	}
	if got := committed(t, brokers, topic, 3); len(got) != 3 {
		t.Fatalf("the log has %v, want the message twice", got)
	}
	got, err := ledger(t, source(t, open(t, brokers), topic), aGroup, memory.NewDatabase(memory.Config{}), rollcall.ConsumerConfig{})
	if err != nil || !slices.Equal(got, bodies(0, 2)) {
		t.Fatalf("effects %v, %v", got, err)
	}
}

// TestCommitAnswerLost: the answer to the end of a transaction does not come. The client
// asks again, and the result is there once.
func TestCommitAnswerLost(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	cluster, proxy := through(t, brokers)
	tx := transactor(t, cluster, "lost-"+topic)
	put := func(i int) error {
		return tx.Transact(t.Context(), nil, map[string][]rollcall.Message{topic: {{Body: []byte(body(i))}}})
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	proxy.Drop(kafkaproxy.EndTxn, 1)
	if err := put(1); err != nil && !errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("%v: an answer that was lost is in doubt, or was had by asking again", err)
	}
	if proxy.Dropped() != 1 {
		t.Fatal("no answer was lost: the test shows nothing")
	}
	if err := put(2); err != nil {
		t.Fatalf("the next transaction: %v", err)
	}
	if got := committed(t, brokers, topic, 3); !slices.Equal(got, bodies(0, 3)) {
		t.Fatalf("committed %v", got)
	}
}

// TestBrokerAway: it cannot be reached for a while, in the middle of work. Fetch says
// so or waits, and everything goes on after it.
func TestBrokerAway(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 2, nil)
	cluster, proxy := through(t, brokers)
	send(t, cluster, topic, 500, 0)
	db := memory.NewDatabase(memory.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := rollcall.NewConsumer("away-"+topic, source(t, cluster, topic), memory.Open(db), func(ctx context.Context, tx *memory.Tx, m rollcall.Message) error {
		time.Sleep(time.Millisecond)
		return tx.Append(ctx, "ledger", string(m.Body))
	}, rollcall.ConsumerConfig{Batch: 20})
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for round := range 3 {
		n := len(effects(db))
		wait(t, "some effects", func() bool { return len(effects(db)) > n || n == 500 })
		proxy.Refuse()
		time.Sleep(time.Duration(round+1) * time.Second)
		proxy.Accept()
	}
	send(t, open(t, brokers), topic, 100, 500)
	wait(t, "all effects", func() bool { return len(effects(db)) >= 600 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := effects(db); !slices.Equal(got, bodies(0, 600)) {
		t.Fatalf("%d effects, want 600, once", len(got))
	}
}

// TestRefusedAfterLost: the connection is cut before the answer comes, and when the
// client asks again it is refused. The first time it may have been stored: nobody knows.
// Refused at once, it is surely not stored. (franz-go's broker for tests answers, because
// a real one cannot be made to refuse what it has.)
func TestRefusedAfterLost(t *testing.T) {
	for _, lost := range []bool{true, false} {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		sender := open(t, cluster.ListenAddrs()).Sender()
		publish := func() rollcall.PublishResult {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return sender.Publish(ctx, "orders", []rollcall.Message{{ID: "x", Body: []byte("x")}})[0]
		}
		if r := publish(); r.Fate != rollcall.Stored {
			t.Fatal(r.Err)
		}
		var asked atomic.Int64
		cluster.ControlKey(kafkaproxy.Produce, func(req kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			if asked.Add(1) == 1 && lost {
				return nil, errors.New("the connection is cut"), true
			}
			return refusal(req.(*kmsg.ProduceRequest)), nil, true
		})
		want := map[bool]rollcall.Fate{true: rollcall.Unknown, false: rollcall.Refused}[lost]
		if r := publish(); r.Fate != want {
			t.Errorf("answer lost before: %v; %v %v, want %v", lost, r.Fate, r.Err, want)
		}
	}
}

// refusal of everything that is to be stored.
func refusal(req *kmsg.ProduceRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// TestCloseWhileOneIsMissed: a member is gone without a word, another joins, and the
// broker lets nobody leave until the dead one's session is over. Close drains at once and
// does not wait for that.
func TestCloseWhileOneIsMissed(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 4, nil)
	long := func(c *kafka.Cluster) *kafka.Source {
		s, err := c.Source(t.Context(), topic, kafka.SourceConfig{SessionTimeout: 40 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	staying := subscribe(t, long(open(t, brokers)), "missed-"+topic)
	away, proxy := through(t, brokers)
	subscribe(t, long(away), "missed-"+topic)
	wait(t, "both to have partitions", func() bool { return owners(t, brokers, "missed-"+topic) == 2 })
	proxy.Refuse()
	subscribe(t, long(open(t, brokers)), "missed-"+topic)
	time.Sleep(2 * time.Second) // the first hears of it, and is waiting to meet the others
	begun := time.Now()
	if err := staying.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Fatalf("Close took %v", took)
	}
}

// owners is how many members of the group have partitions.
func owners(t *testing.T, brokers []string, group string) (n int) {
	t.Helper()
	groups, err := admin(t, brokers).DescribeGroups(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range groups[group].Members {
		if c, ok := m.Assigned.AsConsumer(); ok && len(c.Topics) > 0 {
			n++
		}
	}
	return n
}
