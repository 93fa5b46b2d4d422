//go:build linux

package rocketqueue_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/verify/specimen"
	"github.com/rollcall-mq/rollcall/verify/specimen/rocketqueue"
)

func open(t *testing.T, s *sender, topic string) *rocketqueue.Queue {
	t.Helper()
	c := config(s.server.Proxy.Addr, topic)
	c.Invisible = short
	q, err := rocketqueue.Open(t.Context(), c)
	must(t, err)
	return q
}

func receive(t *testing.T, q *rocketqueue.Queue, redelivered bool) specimen.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := q.Receive(ctx)
	if err != nil || m.Redelivered != redelivered {
		t.Fatalf("received %+v, %v; want one with redelivered %v", m, err, redelivered)
	}
	return m
}

// TestQueue: what is acked does not come again. What was handed back or merely received
// does, as another attempt; then the receipt of the first is of no use.
func TestQueue(t *testing.T) {
	s := newSender(t)
	s.make(t, "one")
	s.send(t, "one", []string{"a", "b", "c"})
	q := open(t, s, "one")
	var seen []string
	first := receive(t, q, false)
	must(t, q.Ack(t.Context(), first))
	if q.Ack(t.Context(), first) == nil || q.Nack(t.Context(), first) == nil {
		t.Error("a message was settled twice")
	}
	seen = append(seen, first.ID)
	late := receive(t, q, false)
	if ahead := q.Ahead(); len(ahead) != 1 {
		t.Errorf("ahead are %v; want one", ahead)
	}
	other := open(t, s, "one")
	again := receive(t, other, true)
	must(t, other.Nack(t.Context(), again))
	if q.Ack(t.Context(), late) == nil {
		t.Error("acked with a receipt whose time is over")
	}
	must(t, q.Close())
	for range 2 {
		m := receive(t, other, true)
		must(t, other.Ack(t.Context(), m))
		seen = append(seen, m.ID)
	}
	if slices.Sort(seen); !slices.Equal(seen, []string{"a", "b", "c"}) {
		t.Errorf("acked %v; want each of a, b, c", seen)
	}
	must(t, other.Close())
}

// TestEnd: a topic is worked off when nothing came for the idle time.
func TestEnd(t *testing.T) {
	s := newSender(t)
	s.make(t, "ended")
	s.send(t, "ended", []string{"a"})
	c := config(s.server.Proxy.Addr, "ended")
	c.Idle = time.Second
	q, err := rocketqueue.Open(t.Context(), c)
	must(t, err)
	must(t, q.Ack(t.Context(), receive(t, q, false)))
	if m, err := q.Receive(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("received %+v, %v; want the end", m, err)
	}
	must(t, q.Close())
}

// TestNoTopic: a topic that is not there is told at once.
func TestNoTopic(t *testing.T) {
	if _, err := rocketqueue.Open(t.Context(), config(newSender(t).server.Proxy.Addr, "nowhere")); err == nil {
		t.Error("opened a topic that is not there")
	}
}
