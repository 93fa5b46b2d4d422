//go:build linux

package rocketqueue_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/verify/specimen"
	"github.com/rollcall-mq/rollcall/verify/specimen/queuetest"
	"github.com/rollcall-mq/rollcall/verify/specimen/rocketqueue"
)

const (
	patience = 30 * time.Second
	// short is the invisible time when workers are killed: what they had comes again soon.
	short = 3 * time.Second
)

func TestMain(m *testing.M) {
	queuetest.Main(func(ctx context.Context, j queuetest.Job) (queuetest.Queue, error) {
		c := config(j.Addr, j.Queue)
		if !j.Calm { // in calm, a slow machine must not count as a fault
			c.Invisible = short
		}
		return rocketqueue.Open(ctx, c)
	})
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// config is that of the workers: nobody ends by itself.
func config(endpoint, topic string) rocketqueue.Config {
	return rocketqueue.Config{Endpoint: endpoint, Topic: topic, Group: topic, Idle: time.Hour,
		Decode: func(m *v2.Message) (specimen.Message, error) { return specimen.Message{ID: string(m.GetBody())}, nil }}
}

// sender makes topics and sends.
type sender struct {
	server *servers.RocketMQ
	stub   v2.MessagingServiceClient
}

func newSender(t testing.TB) *sender {
	t.Helper()
	server := servers.SharedRocketMQ(t)
	conn, err := grpc.NewClient(server.Proxy.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &sender{server, v2.NewMessagingServiceClient(conn)}
}

func (s *sender) make(t testing.TB, topic string) {
	t.Helper()
	s.server.CreateTopic(t, topic, "NORMAL", 4)
	s.server.CreateGroup(t, topic, false, 16)
}

// send is one request: all of them lie in one queue.
func (s *sender) send(t testing.TB, topic string, ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request := &v2.SendMessageRequest{}
	for _, id := range ids {
		request.Messages = append(request.Messages, &v2.Message{Topic: &v2.Resource{Name: topic}, Body: []byte(id),
			SystemProperties: &v2.SystemProperties{MessageId: id, MessageType: v2.MessageType_NORMAL, BodyEncoding: v2.Encoding_IDENTITY}})
	}
	got, err := s.stub.SendMessage(metadata.AppendToOutgoingContext(ctx, "x-mq-language", "GO", "x-mq-client-id", "specimens"), request)
	must(t, err)
	if got.GetStatus().GetCode() != v2.Code_OK {
		t.Fatalf("send to %s: %v", topic, got.GetStatus())
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSpecimens: on a topic of RocketMQ each textbook pattern is right without a fault,
// and loses or doubles when its workers are killed between two steps.
func TestSpecimens(t *testing.T) {
	s := newSender(t)
	queuetest.Run(t, queuetest.Broker{Name: "RocketMQ " + s.server.Version(t), Addr: s.server.Proxy.Addr, Make: s.make, Send: s.send})
}
