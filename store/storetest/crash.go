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

// steps are the points between two steps of the protocol.
var steps = []string{"begin", "token", "keys", "behind", "effects", "effect", "rolls", "write", "asides", "counts", "commit", "committed", "settle"}

// asideSteps are those of a row set aside.
var asideSteps = []string{"aside-begin", "aside-token", "aside-claim", "aside-keys", "aside-behind", "aside-effects",
	"aside-turn", "aside-counts", "aside-commit", "aside-committed"}

var shapes = map[string]memory.Shape{"X": memory.Replayable, "XQ": memory.Exclusive, "S": memory.Shared}

func crashCases[X any]() []Case[X] {
	return []Case[X]{
		{"crash-between-steps", crashBetweenSteps[X]},
		{"crash-in-aside-steps", crashInAsideSteps[X]},
		{"crash-while-setting-aside", crashWhileSettingAside[X]},
		{"settle-first", settleFirst[X]},
		{"doubt-guessed", doubtGuessed[X]},
		{"doubt-in-aside", doubtInAside[X]},
		{"doubt-overtaken", doubtOvertaken[X]},
		{"poison-kills", poisonKills[X]},
		{"no-deadline", noDeadline[X]},
	}
}

// eachShape runs f for the three shapes of partitions.
func eachShape(t *testing.T, f func(t *testing.T, shape memory.Shape)) {
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, shape)
		})
	}
}

// backlog sends n messages of five keys, every fourth one twice, and returns
// what should be in the ledger.
func backlog[X any](w *world[X], n int) (lines []string) {
	for i := 1; i <= n; i++ {
		m := w.owned(i, fmt.Sprintf("k%d", i%5), fmt.Sprintf("order-%d", i))
		w.send(m)
		if i%4 == 0 {
			w.send(m)
		}
		lines = append(lines, line(m))
	}
	return lines
}

// crashBetweenSteps kills a worker at each step with messages in work; another
// process takes over. Every message takes effect once.
func crashBetweenSteps[X any](t *testing.T, h Harness[X]) {
	by := map[string]rollcall.DedupConfig{
		"auto":  {},
		"rolls": {By: []rollcall.Strategy{rollcall.ByStamp, rollcall.ByPosition}},
		"inbox": {By: []rollcall.Strategy{rollcall.ByKey}},
	}
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		for name, dedup := range by {
			if name == "rolls" && shape != memory.Replayable {
				dedup.By = []rollcall.Strategy{rollcall.ByStamp}
			}
			for _, step := range steps {
				t.Run(name+"/"+step, func(t *testing.T) { crashAt(t, h, shape, dedup, step) })
			}
		}
	})
}

func crashAt[X any](t *testing.T, h Harness[X], shape memory.Shape, dedup rollcall.DedupConfig, step string) {
	w := newWorld(t, h, shape)
	config := rollcall.ConsumerConfig{Batch: 4, Dedup: dedup}
	var bitten atomic.Int64
	var seen atomic.Int64
	w.start(options[X]{config: config, at: func(_ context.Context, wk *worker[X], at string, n int) error {
		// The second time: the first batch is behind it, so that it has settled.
		if at == step && n > 0 && seen.Add(1) == 2 {
			bitten.Store(int64(n))
			wk.kill()
			return errKilled
		}
		return nil
	}})
	lines := backlog(w, 30)
	wait(t, "the kill at step "+step, func() bool { return bitten.Load() > 0 })
	t.Logf("killed at %s with %d messages in work", step, bitten.Load())
	w.start(options[X]{config: config})
	w.waitLines(len(lines))
	w.waitIdle()
	w.expect(lines...)
	if c := w.tally(); c.Counts.Applied != int64(len(lines)) || c.Dead+c.Waiting+c.Parked != 0 {
		t.Fatalf("the books do not balance: %+v, want %d applied", c, len(lines))
	}
}

// crashInAsideSteps: every message fails once, so each goes aside and is
// worked off from there; workers are killed at each step of that.
func crashInAsideSteps[X any](t *testing.T, h Harness[X]) {
	for _, step := range asideSteps {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, h, memory.Replayable)
			var failing atomic.Bool
			failing.Store(true)
			o := options[X]{handler: func(ctx context.Context, tx X, m rollcall.Message) error {
				if err := w.record(ctx, tx, m); err != nil {
					return err
				}
				if failing.Load() {
					return errors.New("not now")
				}
				return nil
			}}
			o.config.Retry.Attempts = 100
			first := w.start(o)
			var lines []string
			for i := 1; i <= 12; i++ {
				m := w.stamped(i, fmt.Sprintf("k%d", i%3))
				w.send(m)
				lines = append(lines, line(m))
			}
			wait(t, "all to be aside", func() bool { return len(w.asides(rollcall.AsideWaiting)) == 12 })
			first.stop()
			w.expect()
			failing.Store(false)
			var bitten atomic.Bool
			o.at = func(_ context.Context, wk *worker[X], at string, _ int) error {
				if at == step && bitten.CompareAndSwap(false, true) {
					wk.kill()
					return errKilled
				}
				return nil
			}
			w.start(o)
			wait(t, "the kill at step "+step, bitten.Load)
			o.at = nil
			w.start(o)
			w.waitLines(len(lines))
			w.waitIdle()
			w.expect(lines...)
			if c := w.tally(); c.Counts.Applied != 12 || c.Dead != 0 {
				t.Fatalf("the books do not balance: %+v", c)
			}
		})
	}
}

// crashWhileSettingAside: a message fails, and its worker is killed before the
// row set aside is committed. The next worker runs the message as if nothing
// had been: there is no row beside it.
func crashWhileSettingAside[X any](t *testing.T, h Harness[X]) {
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		w := newWorld(t, h, shape)
		m := w.stamped(1, "k")
		w.send(m)
		var killed atomic.Bool
		w.start(options[X]{handler: func(context.Context, X, rollcall.Message) error { return errRefused },
			at: func(_ context.Context, wk *worker[X], at string, _ int) error {
				if at == "commit" && killed.CompareAndSwap(false, true) {
					wk.kill()
					return errKilled
				}
				return nil
			}})
		wait(t, "the kill before COMMIT", killed.Load)
		if rows := w.asides(); len(rows) != 0 {
			t.Fatalf("%d rows aside though nothing was committed", len(rows))
		}
		w.start(options[X]{})
		w.waitLines(1)
		w.waitIdle()
		w.expect(line(m))
	})
}

// settleFirst: a worker killed at COMMIT has settled nothing, on brokers that
// forget what is settled.
func settleFirst[X any](t *testing.T, h Harness[X]) {
	for _, shape := range []memory.Shape{memory.Exclusive, memory.Shared} {
		w := newWorld(t, h, shape)
		w.send(w.stamped(1, "k"))
		var killed atomic.Bool
		w.start(options[X]{at: func(_ context.Context, wk *worker[X], at string, _ int) error {
			if at == "commit" {
				if w.broker.Settled(group, destination) {
					t.Error("settled before COMMIT")
				}
				killed.Store(true)
				wk.kill()
				return errKilled
			}
			return nil
		}})
		wait(t, "the kill before COMMIT", killed.Load)
		w.expect()
		w.start(options[X]{})
		w.waitLines(1)
		w.waitIdle()
		w.expect(line(w.stamped(1, "k")))
	}
}

// doubtGuessed: a COMMIT without an answer has happened, or has not. Taking it
// for done loses, taking it for failed doubles.
func doubtGuessed[X any](t *testing.T, h Harness[X]) {
	strategies := map[string][]rollcall.Strategy{"auto": nil, "stamp": {rollcall.ByStamp}, "key": {rollcall.ByKey}}
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		for name, by := range strategies {
			for _, fault := range []commitFault{commitDone, commitUndone} {
				w := newWorld(t, h, shape)
				var n atomic.Int64
				lines := backlog(w, 12)
				w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 5, Dedup: rollcall.DedupConfig{By: by}}, store: func(s *faultyStore[X]) {
					s.OnCommit(func() commitFault {
						if n.Add(1)%2 == 1 {
							return fault
						}
						return commitWell
					})
				}})
				w.waitLines(len(lines))
				w.waitIdle()
				w.expect(lines...)
				doubts := w.count(func(e rollcall.Event) bool { _, is := e.(rollcall.InDoubt); return is })
				if c := w.tally().Counts; doubts == 0 || c.Applied != int64(len(lines)) || c.Repeated != 0 {
					t.Fatalf("%s: %d commits were in doubt, books %+v, want %d applied", name, doubts, c, len(lines))
				}
				w.workers[0].stop()
			}
		}
	})
}

// doubtInAside: the same for rows set aside, also when they fail again.
func doubtInAside[X any](t *testing.T, h Harness[X]) {
	for _, fault := range []commitFault{commitDone, commitUndone} {
		w := newWorld(t, h, memory.Replayable)
		var n, tries atomic.Int64
		o := options[X]{handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			if tries.Add(1) <= 4 {
				return errors.New("not yet")
			}
			return w.record(ctx, tx, m)
		}, store: func(s *faultyStore[X]) {
			s.OnCommit(func() commitFault {
				if n.Add(1)%2 == 1 {
					return fault
				}
				return commitWell
			})
		}}
		o.config.Retry.Attempts = 50
		m := w.stamped(1, "k")
		w.send(m)
		wk := w.start(o)
		w.waitLines(1)
		w.waitIdle()
		w.expect(line(m))
		if c := w.tally().Counts; c.Applied != 1 {
			t.Fatalf("books %+v, want one applied", c)
		}
		wk.stop()
	}
}

// doubtOvertaken: while a COMMIT is in doubt and still under way at the
// server, its partition stands still: order per key holds.
func doubtOvertaken[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	late := w.storage.LateCommit
	var n atomic.Int64
	o := options[X]{config: rollcall.ConsumerConfig{Batch: 2}, store: func(s *faultyStore[X]) {
		s.OnCommit(func() commitFault {
			if n.Add(1) != 1 {
				return commitWell
			}
			if late != nil {
				late()
				return commitWell // the server itself loses the answer
			}
			return commitDone
		})
	}}
	var want []string
	for i := 1; i <= 8; i++ {
		m := w.stamped(i, "k")
		w.send(m)
		want = append(want, line(m))
	}
	w.start(o)
	w.waitLines(8)
	w.waitIdle()
	w.expect(want...)
	for i, got := range w.storage.Ledger(t) {
		if got != want[i] {
			t.Fatalf("effect %d is %q, want %q: a later batch overtook the one in doubt", i, got, want[i])
		}
	}
}

// poisonKills: a message that kills whoever works on it is given up in the
// end, and nothing else is.
func poisonKills[X any](t *testing.T, h Harness[X]) {
	for name, shape := range map[string]memory.Shape{"X": memory.Replayable, "S": memory.Shared} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, h, shape)
			var want []string
			for i := 1; i <= 9; i++ {
				m := w.stamped(i, fmt.Sprintf("k%d", i))
				if i == 5 {
					m.Body = []byte("poison")
				} else {
					want = append(want, line(m))
				}
				w.send(m)
			}
			const attempts = 3
			kills := 0
			for len(w.asides(rollcall.AsideDead)) == 0 {
				if kills++; kills > attempts+3 {
					t.Fatalf("%d workers were killed and the message was still run", kills-1)
				}
				killOne(w, attempts)
			}
			w.start(options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: attempts}}, handler: neverPoison(w)})
			w.waitLines(len(want))
			w.waitIdle()
			w.expect(want...)
			if dead := w.asides(rollcall.AsideDead); len(dead) != 1 || string(dead[0].Message.Body) != "poison" {
				t.Fatalf("dead: %+v, want just the poison message", dead)
			}
			w.redeliver() // and it must not run again
			w.expect(want...)
		})
	}
}

func neverPoison[X any](w *world[X]) rollcall.Handler[X] {
	return func(ctx context.Context, tx X, m rollcall.Message) error {
		if string(m.Body) == "poison" {
			w.t.Error("the poison message ran again after it was dead")
		}
		return w.record(ctx, tx, m)
	}
}

// killOne starts a worker that the poison kills, and waits for its end or for
// the message to be given up.
func killOne[X any](w *world[X], attempts int) {
	var wk *worker[X]
	started := make(chan struct{})
	wk = w.start(options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: attempts}},
		handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			if string(m.Body) == "poison" {
				<-started
				wk.kill()
				return errKilled
			}
			return w.record(ctx, tx, m)
		}})
	close(started)
	wait(w.t, "the poison to kill its worker or to be given up", func() bool {
		return closed(wk.done) || len(w.asides(rollcall.AsideDead)) > 0
	})
	wk.end()
	wait(w.t, "the broker to take the killed worker's partitions", func() bool { return len(w.broker.Members(group, destination)) == 0 })
}

// noDeadline: an owner stopped inside its transaction holds locks; the
// server's deadline ends it, and the next owner goes on. A store without such
// a deadline says so in its documentation.
func noDeadline[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	if w.storage.ShortDeadline == nil {
		if w.storage.Writers {
			t.Fatal("a store with row locks needs deadlines at the server")
		}
		return // shown by the driver's own test: nobody can proceed
	}
	w.storage.ShortDeadline()
	stopped := w.gate()
	m := w.stamped(1, "k")
	w.send(m)
	victim := w.start(options[X]{at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "rolls" {
			stopped.pass()
		}
		return nil
	}})
	stopped.wait(t, "the owner to be inside its transaction")
	w.expireAll()
	w.start(options[X]{})
	w.waitLines(1)
	stopped.release()
	time.Sleep(20 * time.Millisecond) // let the woken one try
	w.expect(line(m))
	victim.end()
}
