//go:build linux

package rabbitqueue_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/verify/specimen"
	"github.com/rollcall-mq/rollcall/verify/specimen/queuetest"
	"github.com/rollcall-mq/rollcall/verify/specimen/rabbitqueue"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) {
	queuetest.Main(func(_ context.Context, j queuetest.Job) (queuetest.Queue, error) {
		return rabbitqueue.Open(config(j.Addr, j.Queue))
	})
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// config is that of the workers: nobody ends by itself.
func config(url, queue string) rabbitqueue.Config {
	return rabbitqueue.Config{URL: url, Queue: queue, Prefetch: 5, Idle: time.Hour,
		Decode: func(d amqp.Delivery) (specimen.Message, error) { return specimen.Message{ID: string(d.Body)}, nil }}
}

// sender is a connection that makes queues and publishes.
type sender struct {
	conn    *amqp.Connection
	channel *amqp.Channel
}

func newSender(t testing.TB, url string) *sender {
	t.Helper()
	conn, err := amqp.Dial(url)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	must(t, err)
	must(t, channel.Confirm(false))
	return &sender{conn, channel}
}

func (s *sender) make(t testing.TB, queue string) {
	t.Helper()
	must(t, rabbitqueue.Declare(s.channel, queue))
}

func (s *sender) send(t testing.TB, queue string, ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, id := range ids {
		c, err := s.channel.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: id, Body: []byte(id)})
		must(t, err)
		if ok, err := c.WaitContext(ctx); !ok || err != nil {
			t.Fatalf("%s is not confirmed: %v", id, err)
		}
	}
}

// left is what lies in the queue ready to be handed over.
func (s *sender) left(t testing.TB, queue string) int {
	t.Helper()
	state, err := s.channel.QueueDeclarePassive(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	must(t, err)
	return state.Messages
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSpecimens: on a quorum queue each textbook pattern is right without a fault, and
// loses or doubles when its workers are killed between two steps.
func TestSpecimens(t *testing.T) {
	url := servers.Shared(t, servers.RabbitMQ).URL()
	s := newSender(t, url)
	queuetest.Run(t, queuetest.Broker{Name: fmt.Sprint("RabbitMQ ", s.conn.Properties["version"]), Addr: url, Make: s.make, Send: s.send, Left: s.left})
}
