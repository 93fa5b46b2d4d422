package storetest

import (
	"context"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// fasterBetweenParts: two messages of one sender have been in work as workers
// ended, so a third one runs each alone. Before it begins, its session times out and a
// fourth applies both. What the first part learns from the locked roll (both
// are Known) must not make the second one leave the roll unlocked and run.
func fasterBetweenParts[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Shared)
	config := rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByStamp}}}
	first, second := w.stamped(1, "a"), w.stamped(2, "b")
	w.send(first, second)
	for range 2 { // delivered, then written down as attempts
		begins := make(chan struct{}, 100)
		wk := w.start(options[X]{config: config, at: func(_ context.Context, wk *worker[X], at string, _ int) error {
			if at != "begin" {
				return nil
			}
			wk.kill()
			begins <- struct{}{}
			return errKilled
		}})
		wait(t, "a worker to be killed with the messages in work", func() bool { return len(begins) > 0 })
		wk.end()
		wait(t, "the broker to take the messages back", func() bool { return len(w.broker.Members(group, destination)) == 0 })
	}
	held := w.gate()
	slow := w.start(options[X]{config: config, at: func(_ context.Context, _ *worker[X], at string, _ int) error {
		if at == "begin" {
			held.pass()
		}
		return nil
	}})
	held.wait(t, "the third worker to begin its first part")
	if n := w.count(func(e rollcall.Event) bool { s, is := e.(rollcall.Suspected); return is && s.Alone == 2 }); n != 1 {
		t.Fatalf("%d batches of two messages that each run alone, want 1: the case needs it", n)
	}
	w.expireAll()
	w.start(options[X]{config: config})
	w.waitLines(2)
	w.waitIdle()
	held.release()
	wait(t, "the third worker to come to the end of its batch", func() bool {
		return w.count(func(e rollcall.Event) bool { _, is := e.(rollcall.SettleFailed); return is }) > 0
	})
	slow.end()
	w.expect(line(first), line(second))
}
