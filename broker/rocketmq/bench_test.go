//go:build linux

package rocketmq_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
)

const (
	benchMessages = 12_000
	benchRounds   = 5 // the middle one counts: other work on the machine hits some
)

// BenchmarkDriver compares sending and receiving with a bare loop on the stubs: the same
// batches, the same requests side by side, turn about; the median of some rounds.
func BenchmarkDriver(b *testing.B) {
	s := sharedServer(b, "local")
	cluster := open(b, s)
	var sent, received, sentBare, receivedBare []float64 // seconds of each round
	warm := newTopic(b, s, "NORMAL", 4)                  // the server's compiler is to have seen it
	ourSend(b, cluster, warm)
	ourReceive(b, cluster, warm)
	for b.Loop() {
		for range benchRounds {
			topic := newTopic(b, s, "NORMAL", 4)
			sentBare = append(sentBare, timed(func() { bareSend(b, cluster, topic) }))
			receivedBare = append(receivedBare, timed(func() { bareReceive(b, cluster, topic) }))
			topic = newTopic(b, s, "NORMAL", 4)
			sent = append(sent, timed(func() { ourSend(b, cluster, topic) }))
			received = append(received, timed(func() { ourReceive(b, cluster, topic) }))
		}
	}
	report := func(what string, ours, bare []float64) {
		slices.Sort(ours)
		slices.Sort(bare)
		middle := len(ours) / 2
		b.ReportMetric(benchMessages/ours[middle], what+"/s")
		b.ReportMetric(benchMessages/bare[middle], "bare-"+what+"/s")
		b.ReportMetric(100*bare[middle]/ours[middle], "%"+what)
	}
	report("sent", sent, sentBare)
	report("received", received, receivedBare)
}

func timed(do func()) float64 {
	begun := time.Now()
	do()
	return time.Since(begun).Seconds()
}

func benchMessage(n int) rollcall.Message {
	return rollcall.Message{ID: rollcall.MessageID(body(n)), Key: "k", Body: make([]byte, 200), Stamp: rollcall.Stamp{Life: rollcall.Life{1}, Sequence: uint64(n) + 1}}
}

func ourSend(b *testing.B, cluster *rocketmq.Cluster, topic string) {
	all := make([]rollcall.Message, benchMessages)
	for n := range all {
		all[n] = benchMessage(n)
	}
	for _, r := range cluster.Sender().Publish(context.Background(), topic, all) {
		if r.Fate != rollcall.Stored {
			b.Fatal(r.Err)
		}
	}
}

func bareSend(b *testing.B, cluster *rocketmq.Cluster, topic string) {
	slots := make(chan struct{}, 8)
	var work sync.WaitGroup
	for from := 0; from < benchMessages; from += 128 {
		request := new(v2.SendMessageRequest)
		for n := from; n < min(from+128, benchMessages); n++ {
			m := foreign(fmt.Sprint("b", n), map[string]string{"a": "1234567890123456789012345678901234567890"}, make([]byte, 200))
			m.Topic, m.SystemProperties.MessageType = &v2.Resource{Name: topic}, v2.MessageType_NORMAL
			request.Messages = append(request.Messages, m)
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			ctx, stub := cluster.Stub(context.Background())
			if got, err := stub.SendMessage(ctx, request); err != nil || got.GetStatus().GetCode() != v2.Code_OK {
				b.Error(err, got)
			}
		})
	}
	work.Wait()
}

func ourReceive(b *testing.B, cluster *rocketmq.Cluster, topic string) {
	config := rocketmq.SourceConfig{Poll: time.Second, Receivers: 8, Ahead: 500}
	sub, err := source(b, cluster, topic, config).Subscribe(context.Background(), rollcall.SubscribeRequest{Group: group(topic)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = sub.Close(context.Background()) }()
	for n := 0; n < benchMessages; {
		batches, err := sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 500, Min: 1, Wait: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		for _, batch := range batches {
			n += len(batch.Deliveries)
			var all []rollcall.Settlement
			for _, d := range batch.Deliveries {
				all = append(all, rollcall.Settlement{Receipt: d.Receipt})
			}
			for _, err := range sub.Settle(context.Background(), all) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

// bareReceive is eight loops that receive and acknowledge. A member of the driver's own is
// there for its settings.
func bareReceive(b *testing.B, cluster *rocketmq.Cluster, topic string) {
	ctx, stub, queue := cluster.Member(b.Context(), topic, group(topic))
	ctx, done := context.WithCancel(ctx) // nobody waits for a last request that brings nothing
	defer done()
	var n atomic.Int64
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for ctx.Err() == nil {
				if n.Add(int64(bareRound(b, ctx, stub, queue, topic))) >= benchMessages {
					done()
				}
			}
		})
	}
	work.Wait()
}

func bareRound(b *testing.B, ctx context.Context, stub v2.MessagingServiceClient, queue *v2.MessageQueue, topic string) (n int) {
	g := &v2.Resource{Name: group(topic)}
	ctx, cancel := context.WithTimeout(ctx, 11*time.Second)
	defer cancel()
	stream, err := stub.ReceiveMessage(ctx, &v2.ReceiveMessageRequest{Group: g, MessageQueue: queue, FilterExpression: &v2.FilterExpression{Type: v2.FilterType_TAG, Expression: "*"},
		BatchSize: 32, InvisibleDuration: durationpb.New(time.Minute), LongPollingTimeout: durationpb.New(time.Second)})
	if err != nil {
		return 0
	}
	ack := &v2.AckMessageRequest{Group: g, Topic: &v2.Resource{Name: topic}}
	for {
		part, err := stream.Recv()
		if err != nil {
			break
		}
		if code := part.GetStatus().GetCode(); code != v2.Code_CODE_UNSPECIFIED && code != v2.Code_OK && code != v2.Code_MESSAGE_NOT_FOUND {
			b.Error(part)
			return benchMessages
		}
		if m := part.GetMessage(); m != nil {
			ack.Entries = append(ack.Entries, &v2.AckMessageEntry{MessageId: m.SystemProperties.MessageId, ReceiptHandle: m.SystemProperties.GetReceiptHandle()})
		}
	}
	if len(ack.Entries) == 0 {
		return 0
	}
	if _, err := stub.AckMessage(ctx, ack); err != nil {
		b.Error(err)
	}
	return len(ack.Entries)
}
