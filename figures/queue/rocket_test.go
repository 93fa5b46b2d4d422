//go:build linux

package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// rocket is what is measured on RocketMQ.
type rocket struct {
	b       *testing.B
	server  *servers.RocketMQ
	cluster *rocketmq.Cluster
	stub    v2.MessagingServiceClient
	topics  int
}

func openRocket(b *testing.B) *rocket {
	b.Helper()
	r := &rocket{b: b, server: servers.StartRocketMQ(b, true, servers.Config{})}
	var err error
	if r.cluster, err = rocketmq.Open(b.Context(), []string{r.server.Proxy.Addr}, rocketmq.Config{Plaintext: true}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.cluster.Close)
	conn, err := grpc.NewClient(r.server.Proxy.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	r.stub = v2.NewMessagingServiceClient(conn)
	return r
}

func (r *rocket) topic() string {
	r.topics++
	name := fmt.Sprintf("t%d", r.topics)
	r.server.CreateTopic(r.b, name, "NORMAL", 4)
	r.server.CreateGroup(r.b, "g-"+name, false, 16)
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := r.cluster.Sender().Lanes(r.b.Context(), name)
		if err == nil {
			return name
		}
		if time.Now().After(deadline) {
			r.b.Fatalf("waited a minute for topic %s: %v", name, err)
		}
	}
}

// filled is a topic with n messages.
func (r *rocket) filled(n int) string {
	topic := r.topic()
	publishOurs(r.b, r.cluster.Sender(), topic, n)
	return topic
}

// atOnce is how many requests are under way, each with so many messages: more of either
// is not quicker.
const atOnce, each = 8, 32

// context of a client with that id.
func (r *rocket) context(client string) context.Context {
	return metadata.AppendToOutgoingContext(r.b.Context(), "x-mq-client-id", client, "x-mq-language", "GO", "x-mq-protocol", "v2", "x-mq-client-version", "5.1.4")
}

// sendBare is the best loop on the stubs.
func (r *rocket) sendBare(topic string, n int) time.Duration {
	ctx := r.context("bare-" + topic)
	began := time.Now()
	var next atomic.Int64
	r.together(func(int) error {
		for {
			first := int(next.Add(each)) - each
			if first >= n {
				return nil
			}
			req := &v2.SendMessageRequest{}
			for i := first; i < min(first+each, n); i++ {
				req.Messages = append(req.Messages, &v2.Message{Topic: &v2.Resource{Name: topic}, Body: payload(i),
					SystemProperties: &v2.SystemProperties{MessageId: fmt.Sprint(topic, "-", i), BodyEncoding: v2.Encoding_IDENTITY, MessageType: v2.MessageType_NORMAL, BornHost: "bench"}})
			}
			got, err := r.stub.SendMessage(ctx, req)
			if err == nil && got.GetStatus().GetCode() != v2.Code_OK {
				err = errors.New(got.GetStatus().String())
			}
			if err != nil {
				return err
			}
		}
	})
	return time.Since(began)
}

// together runs atOnce of it.
func (r *rocket) together(do func(k int) error) {
	var all sync.WaitGroup
	errs := make([]error, atOnce)
	for k := range atOnce {
		all.Go(func() { errs[k] = do(k) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		r.b.Fatal(err)
	}
}

// receiveBare is the best loop on the stubs: receive a batch, acknowledge it.
func (r *rocket) receiveBare(topic string, n int) time.Duration {
	ctx, cancel := context.WithCancel(r.context("reader-" + topic))
	defer cancel()
	group, queue := &v2.Resource{Name: "g-" + topic}, &v2.MessageQueue{Topic: &v2.Resource{Name: topic}, Broker: &v2.Broker{Name: "broker-a"}, Id: -1, Permission: v2.Permission_READ_WRITE}
	r.settings(ctx, topic, group)
	began := time.Now()
	var done atomic.Int64
	r.together(func(int) error {
		for int(done.Load()) < n {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // the server asks how much is left
			defer cancel()
			got, err := r.stub.ReceiveMessage(ctx, &v2.ReceiveMessageRequest{Group: group, MessageQueue: queue, BatchSize: each,
				FilterExpression: &v2.FilterExpression{Type: v2.FilterType_TAG, Expression: "*"}, InvisibleDuration: durationpb.New(time.Minute), LongPollingTimeout: durationpb.New(500 * time.Millisecond)})
			if err != nil {
				return err
			}
			ack := &v2.AckMessageRequest{Group: group, Topic: queue.Topic}
			for {
				part, err := got.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return err
				}
				if s := part.GetStatus(); s != nil && s.GetCode() != v2.Code_OK && s.GetCode() != v2.Code_MESSAGE_NOT_FOUND {
					return errors.New(s.String())
				}
				if m := part.GetMessage(); m != nil {
					ack.Entries = append(ack.Entries, &v2.AckMessageEntry{MessageId: m.SystemProperties.MessageId, ReceiptHandle: m.SystemProperties.GetReceiptHandle()})
				}
			}
			if len(ack.Entries) == 0 {
				continue
			}
			answer, err := r.stub.AckMessage(ctx, ack)
			if err == nil && answer.GetStatus().GetCode() != v2.Code_OK {
				err = errors.New(answer.GetStatus().String())
			}
			if err != nil {
				return err
			}
			done.Add(int64(len(ack.Entries)))
		}
		return nil
	})
	return time.Since(began)
}

// settings tells the server who reads, which it wants to know first.
func (r *rocket) settings(ctx context.Context, topic string, group *v2.Resource) {
	stream, err := r.stub.Telemetry(ctx)
	if err != nil {
		r.b.Fatal(err)
	}
	kind := v2.ClientType_SIMPLE_CONSUMER
	err = stream.Send(&v2.TelemetryCommand{Command: &v2.TelemetryCommand_Settings{Settings: &v2.Settings{ClientType: &kind, PubSub: &v2.Settings_Subscription{Subscription: &v2.Subscription{
		Group: group, Subscriptions: []*v2.SubscriptionEntry{{Topic: &v2.Resource{Name: topic}, Expression: &v2.FilterExpression{Type: v2.FilterType_TAG, Expression: "*"}}}}}}}})
	if err == nil {
		_, err = stream.Recv()
	}
	if err == nil {
		_, err = r.stub.Heartbeat(ctx, &v2.HeartbeatRequest{Group: group, ClientType: kind})
	}
	if err != nil {
		r.b.Fatal(err)
	}
}

// receiveOurs reads by a subscription, and settles each batch.
func (r *rocket) receiveOurs(topic string, n int) time.Duration {
	source, err := r.cluster.Source(r.b.Context(), topic, rocketmq.SourceConfig{Receivers: atOnce})
	if err != nil {
		r.b.Fatal(err)
	}
	began := time.Now()
	sub, err := source.Subscribe(r.b.Context(), rollcall.SubscribeRequest{Group: "g-" + topic, Worker: "w", Token: 1}, nil)
	if err != nil {
		r.b.Fatal(err)
	}
	defer func() { _ = sub.Close(context.WithoutCancel(r.b.Context())) }()
	for done := 0; done < n; {
		batches, err := sub.Fetch(r.b.Context(), rollcall.FetchRequest{Max: batch, Min: each, Wait: time.Second})
		if err != nil {
			r.b.Fatal(err)
		}
		for i := range batches {
			var all []rollcall.Settlement
			for _, d := range batches[i].Deliveries {
				all = append(all, rollcall.Settlement{Partition: batches[i].Partition, Receipt: d.Receipt})
			}
			for _, err := range sub.Settle(r.b.Context(), all) {
				if err != nil {
					r.b.Fatal(err)
				}
			}
			done += len(all)
		}
	}
	return time.Since(began)
}
