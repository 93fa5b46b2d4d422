package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func repeatCases[X any]() []Case[X] {
	return []Case[X]{
		{"create-row", createRow[X]},
		{"batch-stamp", batchStamp[X]},
		{"other-number", otherNumber[X]},
		{"offset-holes", offsetHoles[X]},
		{"fold-gap", foldGap[X]},
		{"key-order", keyOrder[X]},
		{"roll-order", rollOrder[X]},
		{"parked-twice", parkedTwice[X]},
		{"redelivered-whole", redeliveredWhole[X]},
		{"redelivered-aside", redeliveredAside[X]},
		{"no-identity", noIdentity[X]},
		{"by-none", byNone[X]},
		{"parallel", parallel[X]},
		{"faster-between-parts", fasterBetweenParts[X]},
	}
}

// createRow: the first message of a new life lies twice in a queue. Two workers
// have one copy each: one has locked the roll, which did not exist, and not
// committed; the other comes to that step.
func createRow[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	locked := w.gate()
	var there atomic.Bool
	m := w.stamped(1, "k")
	second := w.start(options[X]{at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "rolls" || at == "begin" && !w.storage.Writers {
			there.Store(true)
		}
		return nil
	}})
	second.member().Stop(true)
	first := w.start(options[X]{at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "asides" {
			locked.pass()
		}
		return nil
	}})
	w.send(m)
	locked.wait(t, "the first worker to have locked the roll")
	first.member().Stop(true)
	second.member().Stop(false)
	w.send(m)
	wait(t, "the second worker to come to the roll", there.Load)
	time.Sleep(50 * time.Millisecond) // it waits for the lock now, or has read past it
	locked.release()
	w.waitIdle()
	w.expect(line(m))
	if c := w.tally().Counts; c.Applied != 1 {
		t.Fatalf("books %+v, want one applied", c)
	}
}

// batchStamp: both copies of one stamp lie in one batch.
func batchStamp[X any](t *testing.T, h Harness[X]) {
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		w := newWorld(t, h, shape)
		m := w.stamped(1, "k")
		w.send(m, m, w.stamped(2, "k"), m)
		w.start(options[X]{})
		w.waitLines(2)
		w.waitIdle()
		w.expect(line(m), line(w.stamped(2, "k")))
	})
}

// otherNumber: a sender's repeat at another offset has no effect, and its
// offset still enters the position roll: the floor reaches the end.
func otherNumber[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	m := w.stamped(1, "k")
	w.send(m)
	w.start(options[X]{})
	w.waitLines(1)
	w.send(m, w.stamped(2, "k"), m)
	w.waitLines(2)
	w.waitIdle()
	wait(t, "the floor to reach the end of the partition", func() bool { return w.floor() == 4 })
	w.expect(line(m), line(w.stamped(2, "k")))
	if c := w.tally().Counts; c.Copies != 2 || c.Applied != 2 {
		t.Fatalf("books %+v, want 2 applied and 2 copies", c)
	}
}

// offsetHoles: markers are never delivered, and the floor passes them.
func offsetHoles[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	w.broker.Marker(destination, 0)
	w.send(w.stamped(1, "k"))
	w.broker.Marker(destination, 0)
	w.broker.Marker(destination, 0)
	w.send(w.stamped(2, "k"))
	w.broker.Marker(destination, 0)
	w.start(options[X]{})
	w.waitLines(2)
	wait(t, "the floor to pass the markers", func() bool { return w.floor() == 6 })
	if c := w.tally().Counts; c.Void != 4 || c.Lost != 0 {
		t.Errorf("books %+v, want 4 void", c)
	}
}

// foldGap: numbers 1 and 3 of a life are done and the sender is gone; number 2
// arrives late and is New.
func foldGap[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	w.send(w.stamped(1, "k"), w.stamped(3, "k"))
	w.start(options[X]{}).world.waitLines(2)
	w.waitIdle()
	if _, err := w.storage.Open(t).Upkeep().Sweep(context.Background(), group, time.Hour); err != nil {
		t.Fatal(err)
	}
	w.send(w.stamped(2, "k"))
	w.waitLines(3)
	w.waitIdle()
	w.expect(line(w.stamped(1, "k")), line(w.stamped(3, "k")), line(w.stamped(2, "k")))
}

// keyOrder: two workers claim the same keys, which came to them in opposite
// order, while a third holds one in the middle. The server meets no deadlock.
func keyOrder[X any](t *testing.T, h Harness[X]) {
	byKey := rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByKey}, Key: []string{"payload.k"}}
	opposite(t, h, byKey, "keys", "behind", func(w *world[X], n int) rollcall.Message {
		m := w.stamped(n+1, "")
		m.Body = fmt.Appendf(nil, `{"k":"key-%d"}`, n)
		return m
	})
}

// rollOrder: the same for the rolls of many lives.
func rollOrder[X any](t *testing.T, h Harness[X]) {
	lives := make([]rollcall.Life, 9)
	for i := range lives {
		lives[i] = rollcall.NewLife()
	}
	byStamp := rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByStamp}}
	opposite(t, h, byStamp, "rolls", "asides", func(w *world[X], n int) rollcall.Message {
		m := w.stamped(1, "")
		m.Stamp.Life = lives[n]
		m.Body = fmt.Appendf(nil, `{"n":%d}`, n)
		return m
	})
}

// opposite lets a first worker hold what message i needs after step taken, for
// each i in turn; then two others come to step with all messages, one in order
// and one in the opposite order.
func opposite[X any](t *testing.T, h Harness[X], dedup rollcall.DedupConfig, step, taken string, make func(w *world[X], n int) rollcall.Message) {
	const size = 9
	for held := range size {
		w := newWorld(t, h, memory.Shared)
		var batch []rollcall.Message
		var want []string
		for i := range size {
			batch = append(batch, make(w, i))
			want = append(want, line(batch[i]))
		}
		back := slices.Clone(batch)
		slices.Reverse(back)
		o := options[X]{config: rollcall.ConsumerConfig{Dedup: dedup}}
		gate := w.gate()
		holder := o
		holder.at = func(_ context.Context, _ *worker[X], at string, _ int) error {
			if at == taken {
				gate.pass()
			}
			return nil
		}
		one := w.start(holder)
		one.member().Stop(true)
		var there [2]atomic.Bool
		var two [2]*worker[X]
		for i := range two {
			next := o
			next.at = func(_ context.Context, _ *worker[X], at string, _ int) error {
				if at == step || at == "begin" && !w.storage.Writers {
					there[i].Store(true)
				}
				return nil
			}
			two[i] = w.start(next)
			two[i].member().Stop(true)
		}
		one.member().Stop(false)
		w.send(batch[held])
		gate.wait(t, "the first worker to hold its lock")
		one.member().Stop(true)
		for i, messages := range [][]rollcall.Message{batch, back} {
			two[i].member().Stop(false)
			w.send(messages...)
			wait(t, "a worker to come to the step", there[i].Load)
			two[i].member().Stop(true)
		}
		time.Sleep(20 * time.Millisecond) // both wait for their locks now
		gate.release()
		w.waitIdle()
		w.expect(want...)
		if w.storage.Deadlocks != nil && w.storage.Deadlocks() > 0 {
			t.Fatalf("%d deadlocks at the server: locks were not taken in sorted order", w.storage.Deadlocks())
		}
		for _, wk := range w.workers {
			wk.end()
		}
	}
}

// parkedTwice: the roll outgrows its size, an old region is Unknown, and a
// late message of it is parked: once, however often it is delivered, and it
// neither runs nor vanishes. Redriven it takes effect once.
func parkedTwice[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	o := options[X]{config: rollcall.ConsumerConfig{RollSize: 40, Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByStamp}}}}
	w.start(o)
	const odd = 60
	for i := 1; i <= odd; i++ {
		w.send(w.stamped(2*i+1, ""))
	}
	w.waitLines(odd)
	if w.count(func(e rollcall.Event) bool { _, is := e.(rollcall.RollOverflow); return is }) == 0 {
		t.Fatal("no alarm though the roll outgrew its size")
	}
	late := w.stamped(4, "")
	for range 3 {
		w.send(late)
		w.waitIdle()
	}
	w.redeliver()
	parked := w.asides(rollcall.AsideParked)
	mine := slices.DeleteFunc(slices.Clone(parked), func(a rollcall.Aside) bool { return a.Message.Stamp.Sequence != 4 })
	if len(mine) != 1 {
		t.Fatalf("message 4 has %d parked rows, want 1", len(mine))
	}
	if n := len(w.storage.Ledger(t)); n != odd {
		t.Fatalf("%d effects, want %d: an Unknown number ran", n, odd)
	}
	for range 2 {
		if _, err := rollcall.Redrive(context.Background(), w.storage.Open(t), group, mine, byKit); err != nil {
			t.Fatal(err)
		}
		w.waitLines(odd + 1)
		w.redeliver()
	}
	if n := len(w.storage.Ledger(t)); n != odd+1 {
		t.Fatalf("%d effects, want %d", n, odd+1)
	}
}

// redeliveredWhole: a broker that lost all its offsets brings everything
// again; nothing takes effect twice, the books do not change.
func redeliveredWhole[X any](t *testing.T, h Harness[X]) {
	strategies := map[string][]rollcall.Strategy{"auto": nil, "stamp": {rollcall.ByStamp}, "key": {rollcall.ByKey}}
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		for name, by := range strategies {
			w := newWorld(t, h, shape)
			lines := backlog(w, 20)
			if name != "stamp" {
				w.send(w.owned(1000, "k1", "order-1"), w.owned(1001, "k2", "order-2")) // the application sends twice
			}
			w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 7, Dedup: rollcall.DedupConfig{By: by}}})
			w.waitLines(len(lines))
			w.waitIdle()
			before := w.tally()
			w.redeliver()
			w.expect(lines...)
			if after := w.tally(); after != before {
				t.Fatalf("%s: the books changed from %+v to %+v", name, before, after)
			}
			w.workers[0].stop()
		}
	})
}

// redeliveredAside: what is aside and delivered again, under a strategy whose
// record does not tell (by: none on a queue), gets no second row; what was
// redriven and done does not come back from there.
func redeliveredAside[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	m := w.stamped(1, "k")
	w.send(m)
	refuse := func(context.Context, X, rollcall.Message) error { return rollcall.Dead(errRefused) }
	wk := w.start(options[X]{config: rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByNone}}}, handler: refuse})
	wait(t, "the message to be dead", func() bool { return len(w.asides(rollcall.AsideDead)) == 1 })
	w.waitIdle()
	first := w.asides(rollcall.AsideDead)[0].ID
	w.redeliver()
	rows := w.asides(rollcall.AsideDead)
	if len(rows) != 1 || rows[0].ID != first {
		t.Fatalf("rows %+v, want the first one only: rows are unique by identity", rows)
	}
	wk.stop()
}

// noIdentity: what carries nothing to record goes aside and says so; it is
// neither run without protection nor taken for a repeat of another one.
func noIdentity[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	bare := rollcall.Message{Body: []byte(`{"a":1}`)}
	other := rollcall.Message{Body: []byte(`{"a":2}`)}
	empty := rollcall.Message{Body: []byte(`{"k":""}`)}
	good := w.stamped(1, "")
	good.Body = []byte(`{"k":"x"}`)
	w.send(bare, other, bare, empty, good)
	w.start(options[X]{config: rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByKey}, Key: []string{"payload.k"}}}})
	w.waitLines(1)
	w.waitIdle()
	w.expect(line(good))
	dead := w.asides(rollcall.AsideDead)
	if len(dead) != 4 {
		t.Fatalf("%d rows dead, want 4 (three without key, of which two are equal, and one with an empty one)", len(dead))
	}
	for _, a := range dead {
		if !contains(a.Cause, "no identity") || !contains(a.Cause, "payload.k") {
			t.Errorf("cause %q does not say which setting is missing what", a.Cause)
		}
	}
}

// byNone records nothing: a redelivery is another effect, as promised by the
// name. What fails still goes aside once.
func byNone[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	w.send(w.stamped(1, "k"))
	w.start(options[X]{config: rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByNone}}}})
	w.waitLines(1)
	w.waitIdle()
	w.broker.Redeliver(group)
	w.waitLines(2)
}

// parallel: several transactions of one partition side by side, dealt by key:
// each message once, in order per key, also copies under another Key.
func parallel[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	var want []string
	for i := 1; i <= 200; i++ {
		m := w.stamped(i, fmt.Sprintf("k%d", i%7))
		w.send(m)
		want = append(want, line(m))
		if i%10 == 0 {
			m.Key = fmt.Sprintf("another%d", i)
			w.send(m)
		}
	}
	var failed atomic.Bool
	w.start(options[X]{config: rollcall.ConsumerConfig{Parallel: 4, Batch: 50}, handler: func(ctx context.Context, tx X, m rollcall.Message) error {
		if failed.CompareAndSwap(false, true) {
			return errors.New("the first one fails")
		}
		return w.record(ctx, tx, m)
	}})
	w.waitLines(len(want))
	w.waitIdle()
	w.expect(want...)
	last := make(map[string]int)
	for _, l := range w.storage.Ledger(t) {
		var key string
		var n int
		if _, err := fmt.Sscanf(l, `%s {"n":%d}`, &key, &n); err != nil {
			t.Fatal(err)
		}
		if n < last[key] {
			t.Fatalf("%s: %d after %d: order per key is lost", key, n, last[key])
		}
		last[key] = n
	}
}
