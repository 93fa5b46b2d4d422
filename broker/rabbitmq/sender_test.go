//go:build linux

package rabbitmq_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
)

// tally is what a sender was told of messages, by body.
type tally map[rollcall.Fate]map[string]bool

func newTally() tally {
	return tally{rollcall.Stored: {}, rollcall.Refused: {}, rollcall.Unknown: {}}
}

func (f tally) add(messages []rollcall.Message, results []rollcall.PublishResult) {
	for i, m := range messages {
		f[results[i].Fate][string(m.Body)] = true
	}
}

// check against what is really there: all that is Stored, nothing that is Refused.
func (f tally) check(t testing.TB, there map[string]int) {
	t.Helper()
	for body := range f[rollcall.Stored] {
		if there[body] == 0 {
			t.Errorf("%s is Stored and not there", body)
		}
	}
	for body := range f[rollcall.Refused] {
		if there[body] > 0 {
			t.Errorf("%s is Refused and there", body)
		}
	}
}

// exchange makes a direct one with a queue bound to it by the key k.
func exchange(t testing.TB, address string) (name, queue string) {
	t.Helper()
	name = newName()
	ch := bare(t, address)
	if err := ch.ExchangeDeclare(name, "direct", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bare(t, address).ExchangeDelete(name, false, false) })
	return name, newQueue(t, address, rabbitmq.Queue{Bindings: []rabbitmq.Binding{{Exchange: name, Key: "k"}}})
}

// TestUnroutable: what no queue takes is confirmed by the broker all the same, and is
// Refused, among thousands in flight that are not.
func TestUnroutable(t *testing.T) {
	address := real(t)
	name, queue := exchange(t, address)
	s := open(t, address).Sender()
	good, bad := newNumbering("exchange:"+name+":k"), newNumbering("exchange:"+name+":nobody")
	fates, lost := newTally(), newTally()
	var both sync.WaitGroup
	for _, x := range []struct {
		n *numbering
		f tally
	}{{good, fates}, {bad, lost}} {
		both.Go(func() {
			for range 5 {
				ms := x.n.messages(200)
				x.f.add(ms, s.Publish(soon(t), x.n.destination, ms))
			}
		})
	}
	both.Wait()
	if len(fates[rollcall.Stored]) != 1000 || len(lost[rollcall.Refused]) != 1000 {
		t.Fatalf("bound: %d of 1000 stored; unbound: %d of 1000 refused", len(fates[rollcall.Stored]), len(lost[rollcall.Refused]))
	}
	fates.check(t, drain(t, address, queue))
	r := s.Publish(soon(t), bad.destination, bad.messages(1))[0]
	if !errors.Is(r.Err, rollcall.ErrNoDestination) {
		t.Fatalf("it says %v, want ErrNoDestination", r.Err)
	}
	t.Logf("1000 stored, 1000 refused: %v", r.Err)
}

// TestBindingRemoved: while it is published to, and while thousands are in flight.
func TestBindingRemoved(t *testing.T) {
	address := real(t)
	name, queue := exchange(t, address)
	s := open(t, address).Sender()
	n, fates := newNumbering("exchange:"+name+":k"), newTally()
	for i := range 30 {
		if i == 10 {
			go func() { _ = bare(t, address).QueueUnbind(queue, "k", name, nil) }()
		}
		ms := n.messages(100)
		fates.add(ms, s.Publish(soon(t), n.destination, ms))
		if i > 10 && len(fates[rollcall.Refused]) > 500 {
			break
		}
	}
	there := drain(t, address, queue)
	fates.check(t, there)
	if len(fates[rollcall.Refused]) == 0 || len(fates[rollcall.Unknown]) > 0 {
		t.Fatalf("%d refused, %d unknown", len(fates[rollcall.Refused]), len(fates[rollcall.Unknown]))
	}
	t.Logf("%d stored, %d refused, %d in the queue", len(fates[rollcall.Stored]), len(fates[rollcall.Refused]), len(there))
}

// TestExchangeMissing: before it is told by Lanes; deleted in mid-run, what was in flight
// is Refused only as far as it is proven, and another exchange is not spoiled.
func TestExchangeMissing(t *testing.T) {
	address := real(t)
	s := open(t, address).Sender()
	if _, err := s.Lanes(soon(t), "exchange:"+newName()+":k"); !errors.Is(err, rollcall.ErrNoDestination) {
		t.Fatalf("Lanes: %v, want ErrNoDestination", err)
	}
	if _, err := s.Lanes(soon(t), newName()); !errors.Is(err, rollcall.ErrNoDestination) {
		t.Fatalf("Lanes of a queue: %v, want ErrNoDestination", err)
	}
	name, queue := exchange(t, address)
	n, fates := newNumbering("exchange:"+name+":k"), newTally()
	ms := n.messages(10)
	fates.add(ms, s.Publish(soon(t), n.destination, ms))
	if err := bare(t, address).ExchangeDelete(name, false, false); err != nil {
		t.Fatal(err)
	}
	one := n.messages(1)
	r := s.Publish(soon(t), n.destination, one)
	fates.add(one, r)
	if r[0].Fate != rollcall.Refused || !errors.Is(r[0].Err, rollcall.ErrNoDestination) {
		t.Fatalf("alone in flight: %v %v, want refused: nothing else can have closed the channel", r[0].Fate, r[0].Err)
	}
	other := newQueue(t, address, rabbitmq.Queue{})
	stored(t, s, other, newNumbering(other).messages(100)...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	again := n.messages(50)
	results := s.Publish(ctx, n.destination, again)
	fates.add(again, results)
	if !errors.Is(results[0].Err, rollcall.ErrTryAgain) || !errors.Is(results[0].Err, rollcall.ErrNoDestination) {
		t.Fatalf("later: %v, want it not sent at all", results[0].Err)
	}
	fates.check(t, drain(t, address, queue))
}

// TestExchangeDeletedInFlight: many in flight when the exchange goes.
func TestExchangeDeletedInFlight(t *testing.T) {
	address := real(t)
	name, queue := exchange(t, address)
	s := open(t, address).Sender()
	n, fates := newNumbering("exchange:"+name+":k"), newTally()
	var gone sync.WaitGroup
	for i := range 20 {
		if i == 5 {
			gone.Go(func() { _ = bare(t, address).ExchangeDelete(name, false, false) })
		}
		ms := n.messages(300)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		fates.add(ms, s.Publish(ctx, n.destination, ms))
		cancel()
	}
	gone.Wait()
	there := drain(t, address, queue)
	fates.check(t, there)
	if len(fates[rollcall.Unknown])+len(fates[rollcall.Refused]) == 0 {
		t.Fatal("everything was stored: the case shows nothing")
	}
	t.Logf("%d stored, %d refused, %d unknown, %d in the queue", len(fates[rollcall.Stored]), len(fates[rollcall.Refused]), len(fates[rollcall.Unknown]), len(there))
}

// TestFull: a queue that refuses what is too much.
func TestFull(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{MaxLength: 20})
	s := open(t, address).Sender()
	n, fates := newNumbering(queue), newTally()
	for range 10 {
		ms := n.messages(20)
		fates.add(ms, s.Publish(soon(t), queue, ms))
	}
	there := drain(t, address, queue)
	fates.check(t, there)
	if len(fates[rollcall.Refused]) < 100 || len(fates[rollcall.Unknown]) > 0 {
		t.Fatalf("%d refused, %d unknown", len(fates[rollcall.Refused]), len(fates[rollcall.Unknown]))
	}
	t.Logf("limit 20: %d stored, %d refused, %d in the queue", len(fates[rollcall.Stored]), len(fates[rollcall.Refused]), len(there))
}

// TestBlocked: a broker that is short of memory takes nothing. Who publishes waits as
// long as they want to, and no longer; when it takes messages again, all goes on.
func TestBlocked(t *testing.T) {
	t.Parallel()
	server := start(t, "", "")
	queue := newQueue(t, server.Addr, rabbitmq.Queue{})
	s := open(t, server.Addr).Sender()
	n, fates := newNumbering(queue), newTally()
	stored(t, s, queue, n.messages(10)...)
	server.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
	wait(t, "the alarm to block us", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		ms := n.messages(1)
		r := s.Publish(ctx, queue, ms)
		fates.add(ms, r)
		return r[0].Fate == rollcall.Unknown
	})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	ms := n.messages(500)
	began := time.Now()
	results := s.Publish(ctx, queue, ms)
	took := time.Since(began)
	fates.add(ms, results)
	for i, r := range results {
		if !errors.Is(r.Err, rollcall.ErrTryAgain) {
			t.Fatalf("message %d: %v %v, want it not written", i, r.Fate, r.Err)
		}
	}
	if took > 5*time.Second {
		t.Fatalf("Publish took %v, its ctx 300ms", took)
	}
	done := make(chan []rollcall.PublishResult, 1)
	late := n.messages(100)
	go func() { done <- s.Publish(soon(t), queue, late) }()
	server.ctl("set_vm_memory_high_watermark", "absolute", "512MB")
	select {
	case r := <-done:
		fates.add(late, r)
	case <-time.After(patience):
		t.Fatal("nothing is published after the alarm")
	}
	there := drain(t, server.Addr, queue)
	fates.check(t, there)
	for _, m := range ms {
		if there[string(m.Body)] > 0 {
			t.Fatalf("%s was not written, and is there", m.Body)
		}
	}
	for _, m := range late {
		if there[string(m.Body)] != 1 {
			t.Fatalf("%s waited for the alarm to end, and is there %d times", m.Body, there[string(m.Body)])
		}
	}
	t.Logf("%v: 500 not written after %v: %v", open(t, server.Addr).Version(), took, results[0].Err)
}
