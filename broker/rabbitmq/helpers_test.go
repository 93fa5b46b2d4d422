//go:build linux

package rabbitmq_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
)

// bare is a connection of the client library, for what the driver does not do.
func bare(t testing.TB, address string) *amqp.Channel {
	t.Helper()
	c, err := amqp.Dial("amqp://guest:guest@" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseDeadline(time.Now().Add(time.Second)) })
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// newQueue makes a queue that no other test uses, and deletes it after the test.
func newQueue(t testing.TB, address string, q rabbitmq.Queue) string {
	t.Helper()
	q.Name = newName()
	declare(t, open(t, address), q)
	t.Cleanup(func() { remove(t, address, q.Name) })
	return q.Name
}

// remove deletes a queue, if its broker is still there.
func remove(t testing.TB, address, queue string) {
	c, err := amqp.Dial("amqp://guest:guest@" + address + "/")
	if err != nil {
		return
	}
	defer func() { _ = c.CloseDeadline(time.Now().Add(time.Second)) }()
	if ch, err := c.Channel(); err == nil {
		_, _ = ch.QueueDelete(queue, false, false, false)
	}
}

func wait(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// numbering stamps messages as one sender does.
type numbering struct {
	destination string
	life        rollcall.Life
	n           uint64
}

func newNumbering(destination string) *numbering {
	return &numbering{destination: destination, life: rollcall.NewLife()}
}

func (s *numbering) message(body string) rollcall.Message {
	s.n++
	return rollcall.Message{ID: rollcall.MessageID("id-" + body), Destination: s.destination, Body: []byte(body), Time: time.Now(),
		Stamp: rollcall.Stamp{Life: s.life, Sequence: s.n, Origin: rollcall.OriginOf(s.destination)}}
}

// messages is so many of them, their bodies numbered.
func (s *numbering) messages(n int) []rollcall.Message {
	out := make([]rollcall.Message, n)
	for i := range out {
		out[i] = s.message(number(int(s.n)))
	}
	return out
}

func number(n int) string { return fmt.Sprintf("m%06d", n) }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// soon is a context for what a test waits for.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// stored publishes, and fails the test if one is not stored.
func stored(t testing.TB, s *rabbitmq.Sender, destination string, messages ...rollcall.Message) {
	t.Helper()
	for i, r := range s.Publish(soon(t), destination, messages) {
		if r.Fate != rollcall.Stored {
			t.Fatalf("message %d: %v %v, want it stored", i, r.Fate, r.Err)
		}
	}
}

// subscribe joins a queue that has no owner.
func subscribe(t testing.TB, s *rabbitmq.Source, owner rollcall.Owner) rollcall.Subscription {
	t.Helper()
	sub, err := s.Subscribe(soon(t), rollcall.SubscribeRequest{Group: "g", Worker: "w", Token: 7}, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Close(context.Background()) })
	return sub
}

// fetch until there are n messages; errors that the driver waits out are passed over.
func fetch(t testing.TB, sub rollcall.Subscription, n int) (out []rollcall.Delivery) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(patience); len(out) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %d messages, %d came (%v)", patience, n, len(out), last)
		}
		batches, err := sub.Fetch(context.Background(), rollcall.FetchRequest{Max: n - len(out), Min: 1, Wait: 100 * time.Millisecond})
		if err != nil {
			last = err
		}
		for _, b := range batches {
			out = append(out, b.Deliveries...)
		}
	}
	return out
}

func settle(queue string, verb rollcall.Verb, ds ...rollcall.Delivery) []rollcall.Settlement {
	out := make([]rollcall.Settlement, len(ds))
	for i, d := range ds {
		out[i] = rollcall.Settlement{Partition: rollcall.Partition{Destination: queue}, Receipt: d.Receipt, Verb: verb}
	}
	return out
}

// drain takes all that is in a queue, by the library alone: what is really there.
func drain(t testing.TB, address, queue string) map[string]int {
	t.Helper()
	ch := bare(t, address)
	out := make(map[string]int)
	for {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if q.Messages == 0 {
			return out
		}
		ds, err := ch.Consume(queue, "drain", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range q.Messages {
			select {
			case d := <-ds:
				out[string(d.Body)]++
			case <-time.After(patience):
				t.Fatalf("waited %v for %d messages of %s, %d came", patience, q.Messages, queue, len(out))
			}
		}
		if err := ch.Cancel("drain", false); err != nil {
			t.Fatal(err)
		}
		for d := range ds {
			out[string(d.Body)]++
		}
	}
}
