package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func workerCases[X any]() []Case[X] {
	return []Case[X]{
		{"one-sender-many-workers", oneSenderManyWorkers[X]},
		{"many-senders-one-worker", manySendersOneWorker[X]},
		{"outbox", outboxRelayed[X]},
		{"two-relays", twoRelays[X]},
	}
}

// oneSenderManyWorkers: one sender, four workers with connections of their
// own, killed at random; rolls only and Inbox only too.
func oneSenderManyWorkers[X any](t *testing.T, h Harness[X]) {
	strategies := map[string][]rollcall.Strategy{"auto": nil, "stamp": {rollcall.ByStamp}, "key": {rollcall.ByKey}}
	for name, by := range strategies {
		eachShape(t, func(t *testing.T, shape memory.Shape) {
			w := newWorld(t, h, shape)
			w.broker = memory.New(memory.Config{Shape: shape, Partitions: 4})
			o := options[X]{config: rollcall.ConsumerConfig{Batch: 8, Dedup: rollcall.DedupConfig{By: by},
				Retry: rollcall.RetryConfig{Attempts: 50}}}
			workers := make([]*worker[X], 4)
			for i := range workers {
				workers[i] = w.start(o)
			}
			var lines []string
			for i := 1; i <= 200; i++ {
				m := w.owned(i, fmt.Sprintf("k%d", i%9), fmt.Sprintf("order-%d", i))
				m.Partition = int32(i%9) % int32(w.partitions())
				w.send(m)
				if i%6 == 0 {
					w.send(m)
				}
				lines = append(lines, line(m))
				if i%50 == 0 {
					n := rand.N(len(workers))
					workers[n].kill()
					workers[n] = w.start(o)
				}
			}
			w.waitLines(len(lines))
			w.waitIdle()
			w.expect(lines...)
			if c := w.tally(); c.Counts.Applied != int64(len(lines)) {
				t.Fatalf("%s: books %+v, want %d applied", name, c, len(lines))
			}
			for _, wk := range w.workers {
				wk.end()
			}
		})
	}
}

func (w *world[X]) partitions() int {
	if w.broker.Capabilities().Exclusive {
		return 4
	}
	return 1
}

// manySendersOneWorker: a hundred lives, numbers of each out of order.
func manySendersOneWorker[X any](t *testing.T, h Harness[X]) {
	eachShape(t, func(t *testing.T, shape memory.Shape) {
		w := newWorld(t, h, shape)
		lives := make([]rollcall.Life, 100)
		for i := range lives {
			lives[i] = rollcall.NewLife()
		}
		var lines []string
		for _, n := range []int{2, 1, 3, 3, 1} { // 3 and 1 come twice
			for s, life := range lives {
				m := w.stamped(n, fmt.Sprintf("s%d", s))
				m.Stamp.Life = life
				w.send(m)
				if len(lines) < 300 {
					lines = append(lines, line(m))
				}
			}
		}
		w.start(options[X]{})
		w.waitLines(len(lines))
		w.waitIdle()
		w.expect(lines...)
	})
}

// outboxRelayed: a handler publishes through the outbox of its transaction. A
// handler that fails publishes nothing; a relay that dies at any step, and the
// one that takes over, send the same stamps, which are absorbed.
func outboxRelayed[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	store := w.storage.Open(t)
	w.start(options[X]{config: rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{Attempts: 2, Most: time.Millisecond}},
		handler: func(ctx context.Context, tx X, m rollcall.Message) error {
			out := rollcall.Message{Destination: "out", Key: m.Key, Body: m.Body}
			if err := store.Outbox().Enqueue(ctx, tx, []rollcall.Message{out}); err != nil {
				return err
			}
			if m.Key == "bad" {
				return errRefused
			}
			return w.record(ctx, tx, m)
		}})
	for i := 1; i <= 40; i++ {
		key := "k"
		if i%8 == 0 {
			key = "bad"
		}
		w.send(w.stamped(i, key))
	}
	w.waitLines(35)
	wait(t, "the failing ones to be dead", func() bool { return len(w.asides(rollcall.AsideDead)) == 5 })
	for _, step := range []string{"relay-stamped", "relay-sent", ""} {
		relayUntil(w, step)
	}
	checkRelayed(w, 35)
}

// relayUntil runs a relay that is killed at a step, or drains.
func relayUntil[X any](w *world[X], step string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	store := newFaultyStore(w.storage.Open(w.t))
	bitten := step == ""
	relay := rollcall.NewRelay[X](store, w.broker.Sender(), rollcall.RelayConfig{Batch: 10})
	err := relay.Drain(hookStep(ctx, step, func() {
		bitten = true
		store.Kill()
		cancel()
	}))
	if !bitten || step == "" && err != nil {
		w.t.Fatalf("relay until %q: bitten %v, %v", step, bitten, err)
	}
}

// checkRelayed reads the destination raw and counts messages and stamps.
func checkRelayed[X any](w *world[X], want int) {
	w.t.Helper()
	stamps := make(map[rollcall.Stamp]string)
	bodies := make(map[string]rollcall.Stamp)
	stored := 0
	for _, m := range w.broker.Messages("out") {
		stored++
		if m.Stamp.IsZero() {
			w.t.Fatalf("message %s was sent without a stamp", m.Body)
		}
		if before, ok := bodies[string(m.Body)]; ok && before != m.Stamp {
			w.t.Fatalf("message %s was sent under two stamps", m.Body)
		}
		if before, ok := stamps[m.Stamp]; ok && before != string(m.Body) {
			w.t.Fatalf("messages %s and %s have one stamp", before, m.Body)
		}
		bodies[string(m.Body)], stamps[m.Stamp] = m.Stamp, string(m.Body)
	}
	if len(bodies) != want || stored == want {
		w.t.Fatalf("%d distinct messages of %d stored, want %d distinct and some sent again", len(bodies), stored, want)
	}
}

// twoRelays: both pump the same outbox; each message is sent under one stamp.
func twoRelays[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	store := w.storage.Open(t)
	const n = 60
	for i := 1; i <= n; i++ {
		tx, err := store.Begin(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		m := rollcall.Message{Destination: "out", Key: "k", Body: fmt.Appendf(nil, "%d", i)}
		if err := store.Outbox().Enqueue(context.Background(), tx.User(), []rollcall.Message{m}); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			relay := rollcall.NewRelay[X](w.storage.Open(t), w.broker.Sender(), rollcall.RelayConfig{Batch: 7, Standby: time.Millisecond})
			if err := relay.Drain(ctx); err != nil {
				t.Errorf("relay: %v", err)
			}
		})
	}
	wait.Wait()
	stamps := make(map[rollcall.Stamp]string)
	bodies := make(map[string]rollcall.Stamp)
	for _, m := range w.broker.Messages("out") {
		if s, ok := bodies[string(m.Body)]; ok && s != m.Stamp {
			t.Fatalf("message %s was sent under two stamps", m.Body)
		}
		if b, ok := stamps[m.Stamp]; ok && b != string(m.Body) {
			t.Fatalf("messages %s and %s have one stamp", b, m.Body)
		}
		bodies[string(m.Body)], stamps[m.Stamp] = m.Stamp, string(m.Body)
	}
	if len(bodies) != n {
		t.Fatalf("%d messages, want %d", len(bodies), n)
	}
}
