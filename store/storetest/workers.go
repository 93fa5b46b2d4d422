package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

func workerCases[X any]() []Case[X] {
	return []Case[X]{
		{"one-sender-many-workers", oneSenderManyWorkers[X]},
		{"many-senders-one-worker", manySendersOneWorker[X]},
		{"outbox", outboxRelayed[X]},
		{"outbox-bridge", outboxBridge[X]},
		{"two-relays", twoRelays[X]},
		{"outbox-attempt", outboxAttempt[X]},
		{"outbox-unrepeatable", outboxUnrepeatable[X]},
		{"outbox-late-answer", outboxLateAnswer[X]},
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
	if distinct, stored := stampsOf(w), len(w.broker.Messages("out")); distinct != 35 || stored == distinct {
		t.Fatalf("%d distinct messages of %d stored, want 35 distinct and some sent again", distinct, stored)
	}
}

// outboxBridge: what was stamped by its sender goes on with that stamp and id, to a
// partition of the destination, also when a relay dies after sending.
func outboxBridge[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	store := w.storage.Open(t)
	w.start(options[X]{handler: func(ctx context.Context, tx X, m rollcall.Message) error {
		out := m
		out.Destination, out.Partition = "out", rollcall.Unpicked
		if err := store.Outbox().Enqueue(ctx, tx, []rollcall.Message{out}); err != nil {
			return err
		}
		return w.record(ctx, tx, m)
	}})
	sent := make(map[rollcall.MessageID]rollcall.Stamp)
	for i := 1; i <= 20; i++ {
		m := w.stamped(i, fmt.Sprint("k", i%5))
		sent[m.ID] = m.Stamp
		w.send(m)
	}
	w.waitLines(20)
	for _, step := range []string{"relay-sent", ""} {
		relayUntil(w, step)
	}
	if n := stampsOf(w); n != 20 {
		t.Fatalf("%d messages came out, want 20", n)
	}
	for _, m := range w.broker.Messages("out") {
		if m.Stamp != sent[m.ID] {
			t.Fatalf("message %q came with stamp %+v, was sent with %+v", m.ID, m.Stamp, sent[m.ID])
		}
	}
}

// relayUntil runs a relay that is killed at a step, or drains.
func relayUntil[X any](w *world[X], step string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	store := newFaultyStore(w.storage.Open(w.t), w.storage.Kill)
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

// twoRelays: one relay has read rows and is about to write their stamps when
// another one takes over and sends them. Each message goes out under one stamp.
func twoRelays[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	const n = 20
	enqueue(w, n)
	reading := w.gate()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := rollcall.RelayConfig{Batch: 7, Standby: time.Millisecond}
	slow := make(chan error, 1)
	go func() {
		relay := rollcall.NewRelay[X](w.storage.Open(t), w.broker.Sender(), config)
		slow <- relay.Drain(failpoint.With(ctx, func(_ context.Context, step string, _ int) error {
			if step == "relay-stamping" {
				reading.pass()
			}
			return nil
		}))
	}()
	reading.wait(t, "the first relay to have read rows")
	if err := rollcall.NewRelay[X](w.storage.Open(t), w.broker.Sender(), config).Drain(ctx); err != nil {
		t.Fatal(err)
	}
	reading.release()
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	if distinct := stampsOf(w); distinct != n {
		t.Fatalf("%d messages were sent, want %d", distinct, n)
	}
}

// enqueue writes n messages into the outbox, in a transaction each.
func enqueue[X any](w *world[X], n int) {
	w.t.Helper()
	store := w.storage.Open(w.t)
	for i := range n {
		tx, err := store.Begin(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		m := rollcall.Message{Destination: "out", Key: "k", Body: fmt.Appendf(nil, "%d", i)}
		if err := store.Outbox().Enqueue(context.Background(), tx.User(), []rollcall.Message{m}); err != nil {
			w.t.Fatal(err)
		}
		if err := tx.Commit(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// stampsOf reads what was sent and demands one stamp for each message and one
// message for each stamp. It returns how many messages there are.
func stampsOf[X any](w *world[X]) int {
	w.t.Helper()
	stamps := make(map[rollcall.Stamp]string)
	bodies := make(map[string]rollcall.Stamp)
	for _, m := range w.broker.Messages("out") {
		body := string(m.Body)
		if m.Stamp.IsZero() {
			w.t.Fatalf("message %s was sent without a stamp", body)
		}
		if before, ok := bodies[body]; ok && before != m.Stamp {
			w.t.Fatalf("message %s was sent under two stamps", body)
		}
		if before, ok := stamps[m.Stamp]; ok && before != body {
			w.t.Fatalf("messages %s and %s have one stamp", before, body)
		}
		bodies[body], stamps[m.Stamp] = m.Stamp, body
	}
	return len(bodies)
}
