package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func handlerCases[X any]() []Case[X] {
	return []Case[X]{
		{"outcomes", outcomes[X]},
		{"part-of-a-batch", partOfABatch[X]},
		{"batch-handler", batchHandler[X]},
		{"gather", gathered[X]},
		{"deadline", deadline[X]},
		{"deadline-in-a-statement", deadlineInAStatement[X]},
		{"ignored-error", ignoredError[X]},
		{"discard", discard[X]},
	}
}

// outcomes: what a handler returns is what the books say.
func outcomes[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	w.start(options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: 3, Most: time.Millisecond}},
		handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			switch m.Key {
			case "stale":
				return fmt.Errorf("older: %w", rollcall.Stale)
			case "filtered":
				return rollcall.Filtered
			case "repeated":
				_ = w.record(ctx, tx, m) // a trace that must not stay
				return rollcall.Repeated
			case "fails":
				_ = w.record(ctx, tx, m)
				return errRefused
			case "panics":
				_ = w.record(ctx, tx, m)
				panic("at the disco")
			case "dead":
				return rollcall.Dead(errRefused)
			case "cancelled": // a call of the handler's own was
				return fmt.Errorf("call a service: %w", context.Canceled)
			}
			return w.record(ctx, tx, m)
		}})
	w.send(w.stamped(1, "ok"), w.stamped(2, "stale"), w.stamped(3, "filtered"), w.stamped(4, "repeated"), w.stamped(5, "fails"),
		w.stamped(6, "panics"), w.stamped(7, "dead"), w.stamped(8, "ok"), w.stamped(9, "cancelled"))
	wait(t, "four to be dead", func() bool { return len(w.asides(rollcall.AsideDead)) == 4 })
	w.waitIdle()
	w.expect(line(w.stamped(1, "ok")), line(w.stamped(8, "ok")))
	want := rollcall.Tally{Destination: destination, Dead: 4, Counts: rollcall.Counts{Applied: 2, Stale: 1, Filtered: 1, Repeated: 1}}
	if got := w.tally(); got != want {
		t.Fatalf("books %+v, want %+v", got, want)
	}
	attempts := map[string]int{"fails": 3, "panics": 3, "dead": 1, "cancelled": 3}
	for _, a := range w.asides(rollcall.AsideDead) {
		if a.Attempts != attempts[a.Message.Key] {
			t.Errorf("%s has %d attempts, want %d", a.Message.Key, a.Attempts, attempts[a.Message.Key])
		}
		if a.Message.Key == "panics" && !contains(a.Cause, "at the disco") {
			t.Errorf("cause %q does not name the panic", a.Cause)
		}
	}
}

// partOfABatch: some of many messages fail; the others take effect once, and
// a failed one never takes its batch with it.
func partOfABatch[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	var want []string
	var batch []rollcall.Message
	for i := 1; i <= 120; i++ {
		m := w.stamped(i, fmt.Sprintf("k%d", i))
		batch = append(batch, m)
		if i%17 != 0 {
			want = append(want, line(m))
		}
	}
	w.send(batch...)
	w.start(options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: 2, Most: time.Millisecond}},
		handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			if err := w.record(ctx, tx, m); err != nil {
				return err
			}
			if m.Stamp.Sequence%17 == 0 {
				return errRefused
			}
			return nil
		}})
	wait(t, "the failing ones to be dead", func() bool { return len(w.asides(rollcall.AsideDead)) == 7 })
	w.waitLines(len(want))
	w.waitIdle()
	w.expect(want...)
}

// batchHandler: the same with a handler for many messages, which fails as a
// whole, message by message, or answers with a wrong number of outcomes.
func batchHandler[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	w.start(options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: 2, Most: time.Millisecond}},
		batch: func(ctx context.Context, tx X, ms []rollcall.Message) ([]error, error) {
			out := make([]error, len(ms))
			for i, m := range ms {
				switch {
				case m.Key == "whole":
					return nil, errRefused
				case m.Key == "one":
					out[i] = errRefused
				default:
					if err := w.record(ctx, tx, m); err != nil {
						return nil, err
					}
				}
			}
			return out, nil
		}})
	w.send(w.stamped(1, "a"), w.stamped(2, "one"), w.stamped(3, "b"), w.stamped(4, "whole"), w.stamped(5, "c"))
	wait(t, "two to be dead", func() bool { return len(w.asides(rollcall.AsideDead)) == 2 })
	w.waitIdle()
	w.expect(line(w.stamped(1, "a")), line(w.stamped(3, "b")), line(w.stamped(5, "c")))
}

// gathered: handlers of different keys side by side, those of one key in order.
func gathered[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	var mu sync.Mutex
	last := make(map[string]uint64)
	w.start(options[X]{config: rollcall.ConsumerConfig{Gather: true}, handler: func(ctx context.Context, tx X, m rollcall.Message) error {
		mu.Lock()
		if m.Key != "" && m.Stamp.Sequence < last[m.Key] {
			t.Errorf("key %s: %d after %d", m.Key, m.Stamp.Sequence, last[m.Key])
		}
		last[m.Key] = m.Stamp.Sequence
		mu.Unlock()
		return w.record(ctx, tx, m)
	}})
	var want []string
	for i := 1; i <= 60; i++ {
		m := w.stamped(i, []string{"a", "b", "c", ""}[i%4])
		want = append(want, line(m))
		w.send(m)
	}
	w.waitLines(len(want))
	w.waitIdle()
	w.expect(want...)
}

// deadline: a handler still at work at its deadline has failed, whatever it
// returns; its message goes aside and the others take effect.
func deadline[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	w.start(options[X]{config: rollcall.ConsumerConfig{HandlerTimeout: 30 * time.Millisecond, Retry: rollcall.RetryConfig{Attempts: 2, Most: time.Millisecond}},
		handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			if m.Key == "slow" {
				<-ctx.Done()
				return nil
			}
			return w.record(ctx, tx, m)
		}})
	w.send(w.stamped(1, "a"), w.stamped(2, "slow"), w.stamped(3, "b"))
	wait(t, "the slow one to be dead", func() bool { return len(w.asides(rollcall.AsideDead)) == 1 })
	w.waitIdle()
	w.expect(line(w.stamped(1, "a")), line(w.stamped(3, "b")))
	if a := w.asides(rollcall.AsideDead)[0]; !contains(a.Cause, "deadline") {
		t.Fatalf("cause %q does not name the deadline", a.Cause)
	}
}

// deadlineInAStatement: the deadline interrupts a statement, and that takes the
// whole transaction with it. The message goes aside all the same, alone.
func deadlineInAStatement[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	slowOnes(w, func(ctx context.Context, tx X) error { return w.storage.Slow(ctx, tx) }, rollcall.ConsumerConfig{HandlerTimeout: 50 * time.Millisecond})
	if a := w.asides(rollcall.AsideDead)[0]; !contains(a.Cause, "deadline") {
		t.Fatalf("cause %q does not name the deadline", a.Cause)
	}
}

// ignoredError: the handler sets a deadline of its own, ignores that its
// statement failed, and returns nil. Its transaction is gone: no success.
func ignoredError[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	slowOnes(w, func(ctx context.Context, tx X) error {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_ = w.storage.Slow(short, tx)
		return nil
	}, rollcall.ConsumerConfig{})
	if a := w.asides(rollcall.AsideDead)[0]; !contains(a.Cause, "ignored the error") {
		t.Fatalf("cause %q does not say what the handler did", a.Cause)
	}
}

// slowOnes runs some messages of which one does what slow does: it is dead in
// the end, and the others take effect once.
func slowOnes[X any](w *world[X], slow func(context.Context, X) error, config rollcall.ConsumerConfig) {
	w.t.Helper()
	var want []string
	for i := 1; i <= 9; i++ {
		m := w.stamped(i, fmt.Sprintf("k%d", i))
		if i == 4 {
			m.Key = "slow"
		} else {
			want = append(want, line(m))
		}
		w.send(m)
	}
	config.Retry = rollcall.RetryConfig{Attempts: 2, Most: time.Millisecond}
	w.start(options[X]{config: config, handler: func(ctx context.Context, tx X, m rollcall.Message) error {
		if m.Key == "slow" {
			return slow(ctx, tx)
		}
		return w.record(ctx, tx, m)
	}})
	wait(w.t, "the slow one to be dead", func() bool { return len(w.asides(rollcall.AsideDead)) == 1 })
	w.waitLines(len(want))
	w.waitIdle()
	w.expect(want...)
}

// discard: what an operator gives up is counted, its key is free again, its
// bytes are gone, and it comes back neither by redrive nor by redelivery.
func discard[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	m := w.owned(1, "k", "order-1")
	row := deadOne(w, m, rollcall.ConsumerConfig{})
	for want := 1; want >= 0; want-- { // the second time it is discarded already
		n, err := rollcall.Discard(context.Background(), w.storage.Open(t), group, []rollcall.Aside{row}, byKit)
		if err != nil || n != want {
			t.Fatalf("discarded %d (%v), want %d", n, err, want)
		}
	}
	if n := redrive(w, row); n != 0 {
		t.Fatal("a discarded row was redriven")
	}
	again := w.owned(2, "k", "order-1")
	w.start(options[X]{})
	w.send(again)
	w.waitLines(1)
	w.redeliver()
	w.expect(line(again))
	if c := w.tally(); c.Counts.Discarded != 1 || c.Counts.Applied != 1 || c.Dead != 0 {
		t.Fatalf("books %+v", c)
	}
	if a := w.asides(rollcall.AsideDiscarded); len(a) != 1 || len(a[0].Message.Body) != 0 {
		t.Fatalf("the discarded row keeps its bytes: %+v", a)
	}
}
