package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func keyCases[X any]() []Case[X] {
	return []Case[X]{
		{"sweep-dead", sweepDead[X]},
		{"behind-key", behindKey[X]},
		{"key-held", keyHeld[X]},
		{"key-held-twice", keyHeldTwice[X]},
		{"sent-twice", sentTwice[X]},
		{"keys-are-bytes", keysAreBytes[X]},
		{"window", window[X]},
	}
}

// sweepDead: a message is dead; its key would be old enough to be swept; the
// application sends the same again; the operator redrives the first.
func sweepDead[X any](t *testing.T, h Harness[X]) {
	for _, shape := range []memory.Shape{memory.Replayable, memory.Shared} {
		w := newWorld(t, h, shape)
		m := w.owned(1, "k", "order-1")
		row := deadOne(w, m, rollcall.ConsumerConfig{})
		forgetAll(w, 200*time.Millisecond)
		wk := w.start(options[X]{})
		w.send(w.owned(2, "k", "order-1"))
		w.waitIdle()
		w.expect()
		w.redeliver()
		redrive(w, row)
		w.waitLines(1)
		w.waitIdle()
		wk.stop()
		w.expect(line(m))
	}
}

// behindKey: m1 waits; its repeat (same Key and DedupKey, other stamp) is
// counted as repeated, not set aside: else both rows would be run.
func behindKey[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	failing := w.gate()
	w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 1, Retry: rollcall.RetryConfig{Attempts: 1000, Most: 5 * time.Millisecond}},
		handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			if !closed(failing.open) {
				return errRefused
			}
			return w.record(ctx, tx, m)
		}})
	m := w.owned(1, "k", "order-1")
	w.send(m, w.owned(2, "k", "order-1"), w.owned(3, "k", "order-3"))
	wait(t, "the first to wait and its repeat to be counted", func() bool {
		return len(w.asides(rollcall.AsideWaiting)) == 2 && w.tally().Counts.Repeated == 1
	})
	failing.release()
	w.waitLines(2)
	w.waitIdle()
	w.expect(line(m), line(w.owned(3, "k", "order-3")))
}

// keyHeld: the first message is dead and the application sends a corrected one
// with the same key. It is not swallowed: it is set aside dead beside the
// first; discarding that one frees the key.
func keyHeld[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	first := deadOne(w, w.owned(1, "k", "order-1"), rollcall.ConsumerConfig{})
	corrected := w.owned(2, "k", "order-1")
	w.start(options[X]{})
	w.send(corrected)
	wait(t, "the corrected one to be set aside", func() bool { return len(w.asides(rollcall.AsideDead)) == 2 })
	w.waitIdle()
	w.expect()
	second := w.asides(rollcall.AsideDead)[1]
	if !contains(second.Cause, "key held") || second.OwnsKey {
		t.Fatalf("row %+v: want cause \"key held\" and no key of its own", second)
	}
	if c := w.tally(); c.Counts.Repeated != 0 || c.Dead != 2 {
		t.Fatalf("books %+v, want two dead and nothing repeated", c)
	}
	discard := func(row rollcall.Aside) {
		if _, err := rollcall.Discard(context.Background(), w.storage.Open(t), group, []rollcall.Aside{row}, byKit); err != nil {
			t.Fatal(err)
		}
	}
	discard(second) // it does not own the key, so the key stays held
	again := w.owned(3, "k", "order-1")
	w.send(again)
	wait(t, "the next one to be set aside too", func() bool { return len(w.asides(rollcall.AsideDead)) == 2 })
	w.waitIdle()
	w.expect()
	discard(first)
	redrive(w, w.asides(rollcall.AsideDead)[0])
	w.waitLines(1)
	w.waitIdle()
	w.expect(line(again))
}

// keyHeldTwice: both the first and the one beside it are redriven: the row
// that does not own the key claims it like a new message.
func keyHeldTwice[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	deadOne(w, w.owned(1, "k", "order-1"), rollcall.ConsumerConfig{})
	w.start(options[X]{})
	w.send(w.owned(2, "k", "order-1"))
	wait(t, "the second to be set aside", func() bool { return len(w.asides(rollcall.AsideDead)) == 2 })
	redrive(w, w.asides(rollcall.AsideDead)...)
	w.waitLines(1)
	w.waitIdle()
	if n := len(w.storage.Ledger(t)); n != 1 {
		t.Fatalf("%d effects, want 1", n)
	}
	if c := w.tally(); c.Counts.Applied != 1 || c.Counts.Repeated != 1 || c.Dead != 0 {
		t.Fatalf("books %+v, want one applied and one repeated", c)
	}
}

// sentTwice: the application sends the same order twice, as two messages with
// two stamps; in one batch, in two, and by two senders.
func sentTwice[X any](t *testing.T, h Harness[X]) {
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		w := newWorld(t, h, shape)
		first := w.owned(1, "k", "order-1")
		w.send(first, w.owned(2, "k", "order-1"))
		w.start(options[X]{})
		w.waitLines(1)
		w.waitIdle()
		other := w.owned(1, "k", "order-1")
		other.Stamp.Life = rollcall.NewLife()
		w.send(other)
		w.waitIdle()
		w.expect(line(first))
		if c := w.tally().Counts; c.Applied != 1 || c.Repeated != 2 {
			t.Fatalf("books %+v, want one applied and two repeated", c)
		}
	})
}

// keysAreBytes: 'a', 'A', 'a ' and 'a' with an accent are four keys.
func keysAreBytes[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	for i, id := range []string{"a", "A", "a ", "á", "a\x00", "\xff"} {
		w.send(w.owned(i+1, "", id))
	}
	w.start(options[X]{})
	w.waitLines(6)
	w.waitIdle()
	if n := len(w.storage.Ledger(t)); n != 6 {
		t.Fatalf("%d effects, want 6", n)
	}
}

// window: within the window a repeat is absorbed, whatever is swept; after it a
// repeat is New: that is the promise, no more and no less.
func window[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	m := w.owned(1, "k", "order-1")
	w.send(m)
	w.start(options[X]{config: rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{Window: time.Hour}}})
	w.waitLines(1)
	w.waitIdle()
	swept, err := w.storage.Open(t).Upkeep().Sweep(context.Background(), group, time.Hour)
	if err != nil || swept != (rollcall.Swept{}) {
		t.Fatalf("a sweep within the window removed %+v (%v)", swept, err)
	}
	w.redeliver()
	w.expect(line(m))
	w.workers[0].stop()
	if swept := forgetAll(w, 150*time.Millisecond); swept.Keys != 1 || swept.Rolls != 1 {
		t.Fatalf("swept %+v, want one key and one roll", swept)
	}
}
