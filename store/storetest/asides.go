package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func asideCases[X any]() []Case[X] {
	return []Case[X]{
		{"claim-dead", claimDead[X]},
		{"redrive-key", redriveKey[X]},
		{"redrive-any", redriveAny[X]},
		{"failed-run", failedRun[X]},
		{"attempt-due", attemptDue[X]},
		{"dead-shortcut", deadShortcut[X]},
		{"stored-behind", storedBehind[X]},
		{"early-waits", earlyWaits[X]},
		{"early-until-empty", earlyUntilEmpty[X]},
		{"behind-a-failure", behindAFailure[X]},
	}
}

func contains(s, part string) bool { return strings.Contains(s, part) }

// deadOne makes message m dead: its handler refuses it.
func deadOne[X any](w *world[X], m rollcall.Message, config rollcall.ConsumerConfig) rollcall.Aside {
	w.t.Helper()
	before := len(w.asides(rollcall.AsideDead))
	wk := w.start(options[X]{config: config, handler: func(context.Context, X, rollcall.Message) error { return rollcall.Dead(errRefused) }})
	w.send(m)
	wait(w.t, "the message to be dead", func() bool { return len(w.asides(rollcall.AsideDead)) > before })
	w.waitIdle()
	wk.stop()
	rows := w.asides(rollcall.AsideDead)
	return rows[len(rows)-1]
}

// byKit is who changes rows here.
var byKit = rollcall.Operation{Operator: "kit", Reason: "test"}

func redrive[X any](w *world[X], rows ...rollcall.Aside) int {
	w.t.Helper()
	n, err := rollcall.Redrive(context.Background(), w.storage.Open(w.t), group, rows, byKit)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// claimDead: two workers read the same due row; one runs it and it is dead;
// the other's claim must not accept "dead".
func claimDead[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	row := deadOne(w, w.stamped(1, "k"), rollcall.ConsumerConfig{})
	redrive(w, row)
	held := w.gate()
	slow := w.start(options[X]{at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "aside-begin" {
			held.pass()
		}
		return nil
	}})
	held.wait(t, "the first worker to have read the due row")
	fast := w.start(options[X]{handler: func(context.Context, X, rollcall.Message) error { return rollcall.Dead(errRefused) }})
	wait(t, "the second worker to make it dead", func() bool { return len(w.asides(rollcall.AsideDead)) == 1 })
	held.release()
	slow.stop()
	fast.stop()
	w.expect()
	if n := len(w.asides(rollcall.AsideDead)); n != 1 {
		t.Fatalf("%d rows dead, want 1", n)
	}
}

// redriveKey: the row owns its DedupKey; a redrive does not find it taken.
func redriveKey[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	m := w.owned(1, "k", "order-1")
	row := deadOne(w, m, rollcall.ConsumerConfig{})
	redrive(w, row)
	w.start(options[X]{})
	w.waitLines(1)
	w.waitIdle()
	w.expect(line(m))
	if c := w.tally(); c.Counts.Applied != 1 || c.Counts.Repeated != 0 || c.Dead != 0 {
		t.Fatalf("books %+v, want one applied", c)
	}
}

// redriveAny: only dead and parked rows are redriven; twice is harmless.
func redriveAny[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	m := w.stamped(1, "k")
	row := deadOne(w, m, rollcall.ConsumerConfig{})
	if n := redrive(w, row); n != 1 {
		t.Fatalf("redriven %d, want 1", n)
	}
	if n := redrive(w, row); n != 0 {
		t.Fatalf("a waiting row was redriven")
	}
	w.start(options[X]{})
	w.waitLines(1)
	w.waitIdle()
	if n := redrive(w, row); n != 0 {
		t.Fatalf("a row that is done was redriven")
	}
	w.redeliver()
	w.expect(line(m))
}

// failedRun: a run of an aside row fails; before that is written, another
// worker has taken the row and applied it.
func failedRun[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	if !w.storage.Writers || w.storage.UndoKeepsLocks {
		return // no other transaction can come in between
	}
	m := w.stamped(1, "k")
	redrive(w, deadOne(w, m, rollcall.ConsumerConfig{}))
	undone := w.gate()
	slow := w.start(options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{First: time.Millisecond}},
		handler: func(context.Context, X, rollcall.Message) error { return errRefused },
		at: func(_ context.Context, _ *worker[X], at string, _ int) error {
			if at == "aside-undone" {
				undone.pass()
			}
			return nil
		}})
	undone.wait(t, "the first run to have failed")
	w.start(options[X]{})
	w.waitLines(1)
	undone.release()
	slow.stop()
	w.waitIdle()
	w.expect(line(m))
	if c := w.tally(); c.Counts.Applied != 1 || c.Waiting+c.Dead != 0 {
		t.Fatalf("books %+v, want one applied and nothing aside", c)
	}
}

// attemptDue: the attempt written before a suspect message runs is not due and
// no claim: no other worker runs the message from there, and nothing waits
// behind it.
func attemptDue[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	m := w.stamped(1, "k")
	w.send(m)
	var first *worker[X]
	up := make(chan struct{})
	first = w.start(options[X]{handler: func(context.Context, X, rollcall.Message) error {
		<-up
		first.kill()
		return errKilled
	}})
	close(up)
	wait(t, "the first worker to be killed in mid-message", func() bool { return closed(first.done) })
	inside := w.gate()
	second := w.start(options[X]{at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "begin" {
			inside.pass()
		}
		return nil
	}})
	inside.wait(t, "the redelivered message to be in hand")
	if n := len(w.asides(rollcall.AsideAttempt)); n != 1 {
		t.Fatalf("%d attempts written, want 1", n)
	}
	second.member().Stop(true) // the next message is not for it
	third := w.start(options[X]{})
	w.send(w.stamped(2, "k")) // of the same Key: an attempt holds nobody back
	w.waitLines(1)
	w.expect(line(w.stamped(2, "k")))
	inside.release()
	w.waitLines(2)
	w.waitIdle()
	second.stop()
	third.stop()
	w.expect(line(m), line(w.stamped(2, "k")))
	if rest := w.asides(rollcall.AsideAttempt, rollcall.AsideWaiting, rollcall.AsideDead); len(rest) != 0 {
		t.Fatalf("left behind: %+v", rest)
	}
}

// deadShortcut: while a slow worker has the message in its transaction, it is
// redelivered until it has too many attempts. Declared dead it goes through
// the protocol: it is dead, or applied, never both.
func deadShortcut[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	if !w.storage.Writers {
		return // nobody gets to declare anything while another writes
	}
	m := w.stamped(1, "k")
	w.send(m)
	inside := w.gate()
	config := rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: 2}}
	slow := w.start(options[X]{config: config, at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "rolls" {
			inside.pass()
		}
		return nil
	}})
	inside.wait(t, "the slow worker to have made its effect")
	w.expireAll()
	for len(w.asides(rollcall.AsideDead)) == 0 {
		var next *worker[X]
		up := make(chan struct{})
		next = w.start(options[X]{config: config, handler: func(context.Context, X, rollcall.Message) error {
			<-up
			next.kill()
			return errKilled
		}})
		close(up)
		wait(t, "the message to kill a worker or be declared dead", func() bool {
			return closed(next.done) || len(w.asides(rollcall.AsideDead)) > 0
		})
		// What a killed worker takes to end (it tries to give its token back) is not waited
		// for: the server would end the slow worker's transaction meanwhile.
		next.kill()
		defer next.end()
	}
	inside.release()
	wait(t, "the slow worker to find the message decided", func() bool {
		return w.count(func(e rollcall.Event) bool { _, is := e.(rollcall.Hit); return is }) > 0 || len(w.storage.Ledger(t)) > 0
	})
	slow.end()
	for _, row := range w.asides(rollcall.AsideDead) {
		redrive(w, row)
	}
	w.start(options[X]{config: config})
	w.waitLines(1)
	w.waitIdle()
	w.expect(line(m))
}

// storedBehind: rows behind the first one of a Key are found when they are
// looked for; none is left waiting, and order per Key holds.
func storedBehind[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	var down atomic.Bool
	down.Store(true)
	w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 3, Retry: rollcall.RetryConfig{Attempts: 1000, Most: 10 * time.Millisecond}},
		handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			if down.Load() && m.Key == "bad" {
				return errRefused
			}
			return w.record(ctx, tx, m)
		}})
	var bad []string
	for i := 1; i <= 30; i++ {
		key := "bad"
		if i%3 == 0 {
			key = "good"
		}
		m := w.stamped(i, key)
		if key == "bad" {
			bad = append(bad, line(m))
		}
		w.send(m)
		if i == 20 {
			w.waitLines(6)
			down.Store(false)
		}
	}
	w.waitLines(30)
	w.waitIdle()
	var got []string
	for _, l := range w.storage.Ledger(t) {
		if strings.HasPrefix(l, "bad ") {
			got = append(got, l)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(bad) {
		t.Fatalf("effects of the failing key:\n got %v\nwant %v", got, bad)
	}
}

// earlyWaits: version 2 comes first and waits; version 1 of the same Key is
// not "behind" it, and when it commits, version 2 takes effect soon.
func earlyWaits[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	var mu sync.Mutex
	version := 0
	o := options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: 2, First: time.Hour, Most: time.Hour}},
		handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			mu.Lock()
			defer mu.Unlock()
			n := int(m.Stamp.Sequence)
			if n > version+1 {
				_ = w.record(ctx, tx, m) // a trace that must not stay
				return rollcall.Early
			}
			version = n
			return w.record(ctx, tx, m)
		}}
	w.send(w.stamped(3, "k"), w.stamped(2, "k"))
	w.start(o)
	wait(t, "versions 2 and 3 to wait", func() bool { return len(w.asides(rollcall.AsideWaiting)) == 2 })
	for _, a := range w.asides(rollcall.AsideWaiting) {
		if !a.Early || a.Attempts != 0 {
			t.Fatalf("row %+v: it should be early and have spent no attempt", a)
		}
	}
	w.send(w.stamped(1, "k"))
	w.waitLines(3)
	w.waitIdle()
	if got := w.storage.Ledger(t); got[0] != line(w.stamped(1, "k")) || got[1] != line(w.stamped(2, "k")) {
		t.Fatalf("effects %v, want versions 1, 2, 3", got)
	}
}

// earlyUntilEmpty: versions 1, 3, 2 are there; a run until empty ends only when
// version 3, woken by version 2, has taken effect. A version 5 keeps waiting
// and does not keep the run from ending.
func earlyUntilEmpty[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	var mu sync.Mutex
	version := 0
	handler := func(ctx context.Context, tx X, m rollcall.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if n := int(m.Stamp.Sequence); n > version+1 {
			return rollcall.Early
		} else {
			version = n
		}
		return w.record(ctx, tx, m)
	}
	w.send(w.stamped(1, "k"), w.stamped(3, "k"), w.stamped(5, "k"), w.stamped(2, "k"))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := rollcall.NewConsumer[X](group, w.broker.Source(destination), w.storage.Open(t), handler, rollcall.ConsumerConfig{
		Observer: w, Retry: rollcall.RetryConfig{First: time.Minute, Most: time.Minute}})
	if err := c.RunUntilEmpty(ctx); err != nil {
		t.Fatal(err)
	}
	w.expect(line(w.stamped(1, "k")), line(w.stamped(2, "k")), line(w.stamped(3, "k")))
	if rest := w.asides(rollcall.AsideWaiting); len(rest) != 1 || rest[0].Message.Stamp.Sequence != 5 {
		t.Fatalf("waiting: %+v, want version 5", rest)
	}
}

// behindAFailure: in one batch, what comes after a failed message of its Key
// waits behind it; other keys go on.
func behindAFailure[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	var fails atomic.Int64
	w.start(options[X]{handler: func(ctx context.Context, tx X, m rollcall.Message) error {
		if err := w.record(ctx, tx, m); err != nil {
			return err
		}
		if m.Stamp.Sequence == 2 && fails.Add(1) <= 3 {
			return errRefused // after the effect: it must be undone
		}
		return nil
	}})
	w.send(w.stamped(1, "a"), w.stamped(2, "a"), w.stamped(3, "b"), w.stamped(4, "a"), w.stamped(5, "a"), w.stamped(6, ""))
	w.waitLines(6)
	w.waitIdle()
	var a []string
	for _, l := range w.storage.Ledger(t) {
		if strings.HasPrefix(l, "a ") {
			a = append(a, l)
		}
	}
	if want := []string{line(w.stamped(1, "a")), line(w.stamped(2, "a")), line(w.stamped(4, "a")), line(w.stamped(5, "a"))}; fmt.Sprint(a) != fmt.Sprint(want) {
		t.Fatalf("effects of key a: %v, want %v", a, want)
	}
	if len(w.storage.Ledger(t)) != 6 {
		t.Fatalf("effects %v", w.storage.Ledger(t))
	}
}
