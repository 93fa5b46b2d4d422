package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func ownerCases[X any]() []Case[X] {
	return []Case[X]{
		{"sleeper", sleeper[X]},
		{"own-old-batch", ownOldBatch[X]},
		{"late-acquire", lateAcquire[X]},
		{"self-wait", selfWait[X]},
		{"all-suspect", allSuspect[X]},
		{"zombie", zombie[X]},
		{"clean-drain", cleanDrain[X]},
		{"recreated", recreated[X]},
		{"store-down", storeDown[X]},
	}
}

// forgetAll sweeps with a window that is over, as seen by the store's clock.
func forgetAll[X any](w *world[X], window time.Duration) rollcall.Swept {
	w.t.Helper()
	time.Sleep(window + 20*time.Millisecond) // the window itself, no luck: what it holds is asserted after
	swept, err := w.storage.Open(w.t).Upkeep().Sweep(context.Background(), group, window)
	if err != nil {
		w.t.Fatal(err)
	}
	return swept
}

// sleeper: a worker fetches and its machine is suspended before BEGIN. Another
// applies the message and settles it; keys and rolls are forgotten after the
// window. The first one wakes: its token is no longer good.
func sleeper[X any](t *testing.T, h Harness[X]) {
	for _, shape := range []memory.Shape{memory.Shared, memory.Exclusive} {
		w := newWorld(t, h, shape)
		asleep := w.gate()
		m := w.owned(1, "k", "order-1")
		w.send(m)
		victim := w.start(options[X]{at: func(_ context.Context, _ *worker[X], at string, _ int) error {
			if at == "begin" {
				asleep.pass()
			}
			return nil
		}})
		asleep.wait(t, "the first worker to have the message in hand")
		victim.store.suspended.Store(true)
		w.expireAll()
		other := w.start(options[X]{})
		w.waitLines(1)
		w.waitIdle()
		other.stop()
		swept := forgetAll(w, 300*time.Millisecond)
		if swept.Keys == 0 || swept.Rolls == 0 {
			t.Fatalf("swept %+v: the case needs the key and the roll to be gone", swept)
		}
		fenced := w.count(isFenced)
		asleep.release()
		wait(t, "the sleeper to be refused", func() bool { return w.count(isFenced) > fenced })
		victim.end()
		w.expect(line(m))
	}
}

func isFenced(e rollcall.Event) bool { _, is := e.(rollcall.Fenced); return is }

// ownOldBatch: a worker loses the partition and gets it back while an old batch
// lies in its hands; the message was applied and forgotten in between.
func ownOldBatch[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Exclusive)
	held := w.gate()
	m := w.owned(1, "k", "order-1")
	w.send(m)
	// A short window: the worker lives, and shows it, while all is forgotten.
	window := rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{Window: 300 * time.Millisecond}}
	w.start(options[X]{config: window, at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "begin" {
			held.pass()
		}
		return nil
	}})
	held.wait(t, "the worker to have the message in hand")
	member := w.broker.Members(group, destination)[0]
	member.Bounce([]rollcall.Partition{{Destination: destination}})
	w.waitLines(1)
	w.waitIdle()
	wait(t, "the key and the roll to be swept", func() bool {
		// Perhaps by two sweeps: they were not written in the same instant.
		swept := func(what func(rollcall.Swept) int) int {
			return w.count(func(e rollcall.Event) bool { s, is := e.(rollcall.SweptUp); return is && what(s.Swept) > 0 })
		}
		return swept(func(s rollcall.Swept) int { return s.Keys }) > 0 && swept(func(s rollcall.Swept) int { return s.Rolls }) > 0
	})
	fenced := w.count(isFenced)
	held.release()
	wait(t, "the old batch to be refused", func() bool { return w.count(isFenced) > fenced })
	w.workers[0].stop()
	w.expect(line(m))
}

// lateAcquire: an Acquire that was under way when the partition moved on
// outranks the rightful owner, who must go on all the same.
func lateAcquire[X any](t *testing.T, h Harness[X]) {
	for _, shape := range []memory.Shape{memory.Replayable, memory.Exclusive} {
		w := newWorld(t, h, shape)
		w.send(w.stamped(1, "k"))
		w.start(options[X]{})
		w.waitLines(1)
		w.waitIdle()
		_, err := w.storage.Open(t).Acquire(context.Background(), group,
			[]rollcall.Holder{{Partition: rollcall.Partition{Destination: destination}}})
		if err != nil {
			t.Fatal(err)
		}
		w.send(w.stamped(2, "k"), w.stamped(3, "k"))
		w.waitLines(3)
		w.waitIdle()
		w.expect(line(w.stamped(1, "k")), line(w.stamped(2, "k")), line(w.stamped(3, "k")))
		if w.count(isFenced) == 0 {
			t.Fatal("the case needs the owner to be fenced once")
		}
		w.workers[0].stop()
	}
}

// selfWait: the partition comes back to a worker that still has a transaction
// of it open; Acquire waits for that one, which must be able to finish.
func selfWait[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	inside := w.gate()
	m := w.stamped(1, "k")
	w.send(m, w.stamped(2, "k"))
	w.start(options[X]{at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "rolls" {
			inside.pass()
		}
		return nil
	}})
	inside.wait(t, "the worker to be inside its transaction")
	bounced := make(chan struct{})
	go func() {
		w.broker.Members(group, destination)[0].Bounce([]rollcall.Partition{{Destination: destination}})
		close(bounced)
	}()
	time.Sleep(50 * time.Millisecond) // Acquire is waiting by now; if not, the case is only easier
	inside.release()
	select {
	case <-bounced:
	case <-time.After(patience):
		t.Fatal("the assignment waits for ever for a transaction of its own worker")
	}
	w.waitLines(2)
	w.waitIdle()
	w.expect(line(m), line(w.stamped(2, "k")))
}

// allSuspect: after a clean handing-over nothing is suspect; after a kill only
// what can have been in work.
func allSuspect[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	suspected := func() (n int) {
		w.count(func(e rollcall.Event) bool {
			if s, is := e.(rollcall.Suspected); is {
				n += s.Messages
			}
			return false
		})
		return n
	}
	const batch = 5
	o := options[X]{config: rollcall.ConsumerConfig{Batch: batch}}
	w.send(w.stamped(1, "k"))
	first := w.start(o)
	w.waitLines(1)
	first.stop()
	for i := 2; i <= 100; i++ {
		w.send(w.stamped(i, "k"))
	}
	second := w.start(o)
	w.waitLines(100)
	w.waitIdle()
	if n := suspected(); n != 0 {
		t.Fatalf("%d messages suspect after a clean handing-over", n)
	}
	second.kill()
	second.end()
	wait(t, "the broker to notice", func() bool { return len(w.broker.Members(group, destination)) == 0 })
	for i := 101; i <= 200; i++ {
		w.send(w.stamped(i, "k"))
	}
	w.start(o)
	w.waitLines(200)
	w.waitIdle()
	if n := suspected(); n == 0 || n > batch {
		t.Fatalf("%d messages suspect after a kill, want 1 to %d", n, batch)
	}
	if rest := w.asides(rollcall.AsideAttempt); len(rest) != 0 {
		t.Fatalf("%d attempts are left behind by messages that succeeded", len(rest))
	}
}

// zombie: a worker paused outside a transaction wakes after another has taken
// over and worked: the old token is refused, nothing is settled by it.
func zombie[X any](t *testing.T, h Harness[X]) {
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		w := newWorld(t, h, shape)
		paused := w.gate()
		victim := w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 10}, at: func(_ context.Context, _ *worker[X], at string, _ int) error {
			if at == "begin" {
				paused.pass()
			}
			return nil
		}})
		lines := backlog(w, 20)
		paused.wait(t, "the first worker to have a batch in hand")
		w.expireAll()
		w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 3}})
		w.waitLines(len(lines))
		paused.release()
		w.waitIdle()
		victim.end()
		w.expect(lines...)
	})
}

// cleanDrain: workers come and go under load, each drains cleanly; every
// message takes effect once and no stop is taken for a death.
func cleanDrain[X any](t *testing.T, h Harness[X]) {
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		w := newWorld(t, h, shape)
		var lines []string
		n := 0
		for round := range 6 {
			a := w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 3}})
			b := w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 3}})
			for range 30 {
				n++
				m := w.stamped(n, fmt.Sprintf("k%d", n%5))
				w.send(m)
				lines = append(lines, line(m))
			}
			w.waitLines(round*30 + 5)
			a.stop()
			b.stop()
		}
		w.start(options[X]{})
		w.waitLines(n)
		w.waitIdle()
		w.expect(lines...)
		if dead := w.asides(rollcall.AsideDead, rollcall.AsideParked); len(dead) > 0 {
			t.Fatalf("%d rows aside after clean drains: %s", len(dead), dead[0].Cause)
		}
	})
}

// recreated: the destination is deleted and created again: another
// incarnation, whose offsets are not those of the first. Nothing new is taken
// for old.
func recreated[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	o := options[X]{config: rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByPosition}}}}
	w.send(w.stamped(1, "k"), w.stamped(2, "k"))
	w.start(o)
	w.waitLines(2)
	w.waitIdle()
	w.broker.Recreate(destination)
	w.send(w.stamped(3, "k"), w.stamped(4, "k"))
	w.waitLines(4)
	w.expect(line(w.stamped(1, "k")), line(w.stamped(2, "k")), line(w.stamped(3, "k")), line(w.stamped(4, "k")))
}

// storeDown: the store answers nothing for a while. No attempt is spent, no
// message goes aside, nothing is settled.
func storeDown[X any](t *testing.T, h Harness[X]) {
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		w := newWorld(t, h, shape)
		var failures atomic.Int64
		lines := backlog(w, 8)
		o := options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: 1}}}
		o.at = func(_ context.Context, _ *worker[X], at string, n int) error {
			if failures.Load() < 2 && n > 0 && at != "settle" && at != "committed" {
				failures.Add(1)
				return errCut
			}
			return nil
		}
		o.handler = func(ctx context.Context, tx X, m rollcall.Message) error {
			if failures.Load() < 7 {
				failures.Add(1)
				return fmt.Errorf("insert: %w", errCut)
			}
			return w.record(ctx, tx, m)
		}
		w.start(o)
		w.waitLines(len(lines))
		w.waitIdle()
		w.expect(lines...)
		if aside := w.asides(); len(aside) != 0 {
			t.Fatalf("%d rows aside though only the store was down: %s", len(aside), aside[0].Cause)
		}
	})
}

var errRefused = errors.New("refused by the handler")
