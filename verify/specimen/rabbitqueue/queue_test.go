//go:build linux

package rabbitqueue_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/verify/specimen"
	"github.com/rollcall-mq/rollcall/verify/specimen/rabbitqueue"
)

func open(t *testing.T, queue string) *rabbitqueue.Queue {
	t.Helper()
	c := config(servers.Shared(t, servers.RabbitMQ).URL(), queue)
	c.Idle = 200 * time.Millisecond
	q, err := rabbitqueue.Open(c)
	must(t, err)
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func receive(t *testing.T, q *rabbitqueue.Queue, id string, redelivered bool) specimen.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := q.Receive(ctx)
	if err != nil || m.ID != id || m.Redelivered != redelivered {
		t.Fatalf("received %+v, %v; want %s, redelivered %v", m, err, id, redelivered)
	}
	return m
}

// TestQueue: what is acked does not come again. What was handed back or merely
// prefetched does, marked as redelivered.
func TestQueue(t *testing.T) {
	s := newSender(t, servers.Shared(t, servers.RabbitMQ).URL())
	s.make(t, "one")
	s.send(t, "one", []string{"a", "b", "c"})
	q := open(t, "one")
	a := receive(t, q, "a", false)
	must(t, q.Ack(t.Context(), a))
	if q.Ack(t.Context(), a) == nil || q.Nack(t.Context(), a) == nil {
		t.Error("a message was settled twice")
	}
	receive(t, q, "b", false)
	if ahead := q.Ahead(); !slices.Equal(ahead, []string{"c"}) {
		t.Errorf("ahead are %v; want c", ahead)
	}
	must(t, q.Close())
	q = open(t, "one")
	b := receive(t, q, "b", true)
	must(t, q.Ack(t.Context(), b))
	c := receive(t, q, "c", true) // no worker ever had it in hand
	must(t, q.Nack(t.Context(), c))
	must(t, q.Ack(t.Context(), receive(t, q, "c", true)))
	if m, err := q.Receive(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("received %+v, %v; want the end", m, err)
	}
}

// TestLateAck: an ack after the connection is an error, and the next Receive says why.
func TestLateAck(t *testing.T) {
	s := newSender(t, servers.Shared(t, servers.RabbitMQ).URL())
	s.make(t, "late")
	s.send(t, "late", []string{"a"})
	q := open(t, "late")
	a := receive(t, q, "a", false)
	must(t, q.Close())
	if q.Ack(t.Context(), a) == nil {
		t.Error("acked on a closed connection")
	}
	if m, err := q.Receive(t.Context()); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("received %+v, %v on a closed connection", m, err)
	}
	receive(t, open(t, "late"), "a", true)
}
