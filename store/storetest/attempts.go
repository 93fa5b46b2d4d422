package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// attemptsOf is the power that every outbox must have.
func attemptsOf[X any](t *testing.T, s rollcall.Store[X]) rollcall.Attempts {
	t.Helper()
	a, ok := s.Outbox().(rollcall.Attempts)
	if !ok {
		t.Fatalf("%T does not implement rollcall.Attempts", s.Outbox())
	}
	return a
}

// relayHold takes the token of relays.
func relayHold[X any](t *testing.T, s rollcall.Store[X]) rollcall.Hold {
	t.Helper()
	holder := rollcall.Holder{Worker: "relay"}
	got, err := s.Acquire(ctxb, "rollcall/relay", []rollcall.Holder{holder})
	if err != nil {
		t.Fatal(err)
	}
	return rollcall.Hold{Group: "rollcall/relay", Holder: holder, Token: got[0].Token}
}

// outboxAttempt: an attempt is opened under the token and settled by itself; a
// parked row is found by its late answer, and by nothing else but an operator.
func outboxAttempt[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	enqueue(w, 5)
	s := w.storage.Open(t)
	a, old := attemptsOf(t, s), relayHold(t, s)
	rows := pendingOf(w, 5)
	w.must(a.Open(ctxb, old, rows[:4]))
	if a.Open(ctxb, old, rows[3:]) == nil {
		t.Error("an open attempt was opened again")
	}
	hold := relayHold(t, s)
	if err := a.Open(ctxb, old, rows[4:]); !errors.Is(err, rollcall.ErrFenced) {
		t.Errorf("an old relay opened an attempt: %v", err)
	}
	rows = pendingOf(w, 5)
	if rows[0].Attempt != old.Token || rows[3].Attempt != old.Token || rows[4].Attempt != 0 {
		t.Fatalf("%+v: want four attempts of token %d", rows, old.Token)
	}
	settle := func(row rollcall.OutboxRow, fate rollcall.Fate, want bool) {
		t.Helper()
		if noted, err := a.Settle(ctxb, row, fate); err != nil || noted != want {
			t.Errorf("row %d settled as %v: noted %v (%v), want %v", row.ID, fate, noted, err, want)
		}
	}
	settle(rows[4], rollcall.Stored, false) // nobody began it
	settle(rows[0], rollcall.Stored, true)
	settle(rows[0], rollcall.Stored, false)
	rows[1].Refusal = "no"
	settle(rows[1], rollcall.Refused, true)
	settle(rows[2], rollcall.Unknown, true) // surely not sent: waits again
	rows[3].Doubt = "no answer"
	settle(rows[3], rollcall.Unknown, true)
	if left := pendingOf(w, 5); len(left) != 2 || left[0].ID != rows[2].ID || left[0].Attempt != 0 || left[1].ID != rows[4].ID {
		t.Fatalf("%+v wait, want rows %d and %d", left, rows[2].ID, rows[4].ID)
	}
	kept, err := a.Kept(ctxb, 0, 10)
	w.must(err)
	if len(kept) != 2 || kept[0].Refusal != "no" || kept[1].Doubt != "no answer" || string(kept[1].Message.Body) != "3" {
		t.Fatalf("kept %+v", kept)
	}
	if next, err := a.Kept(ctxb, kept[0].ID, 1); err != nil || len(next) != 1 || next[0].ID != kept[1].ID {
		t.Fatalf("kept after %d: %+v (%v)", kept[0].ID, next, err)
	}
	parked := kept[1]
	parked.Doubt = ""
	settle(parked, rollcall.Stored, true) // its answer came after all
	w.must(a.Open(ctxb, hold, rows[4:]))
	again := pendingOf(w, 5)[1]
	again.Doubt = "no answer"
	settle(again, rollcall.Unknown, true)
	decide(t, a.Redrive, []int64{kept[0].ID, again.ID, rows[2].ID, 99}, 2)
	decide(t, a.Redrive, []int64{kept[0].ID, again.ID}, 0)
	settle(again, rollcall.Stored, false) // the operator was faster
	if left := pendingOf(w, 5); len(left) != 3 || left[0].Refusal != "" || left[2].Doubt != "" || left[2].Attempt != 0 {
		t.Fatalf("redriven rows: %+v", left)
	}
	w.must(a.Open(ctxb, hold, rows[4:]))
	again.Attempt = hold.Token
	settle(again, rollcall.Unknown, true)
	decide(t, a.Discard, []int64{again.ID, rows[2].ID}, 1)
	decide(t, a.Discard, []int64{again.ID, rows[2].ID}, 0)
}

func decide(t *testing.T, do func(context.Context, []int64) (int, error), ids []int64, want int) {
	t.Helper()
	if n, err := do(ctxb, ids); err != nil || n != want {
		t.Fatalf("%v: %d rows changed (%v), want %d", ids, n, err, want)
	}
}

func pendingOf[X any](w *world[X], most int) []rollcall.OutboxRow {
	w.t.Helper()
	rows, err := w.storage.Open(w.t).Outbox().Pending(ctxb, most)
	w.must(err)
	return rows
}

// counter is a receiver that does not absorb a second copy: it counts.
type counter struct {
	rollcall.Sender
	answer func(body string) rollcall.PublishResult

	mu   sync.Mutex
	took map[string]int
}

func newCounter(s rollcall.Sender, answer func(string) rollcall.PublishResult) *counter {
	return &counter{Sender: s, answer: answer, took: make(map[string]int)}
}

func (c *counter) Unrepeatable(string) bool { return true }

func (c *counter) Publish(_ context.Context, _ string, messages []rollcall.Message) []rollcall.PublishResult {
	var out []rollcall.PublishResult
	for i := range messages {
		result := c.answer(string(messages[i].Body))
		if !errors.Is(result.Err, rollcall.ErrTryAgain) {
			c.mu.Lock()
			c.took[string(messages[i].Body)]++
			c.mu.Unlock()
		}
		out = append(out, result)
	}
	return out
}

// outboxUnrepeatable: whatever the receiver answers and wherever the relay is
// killed, no message is sent twice; what is in doubt lies parked, what was surely
// not sent is sent later.
func outboxUnrepeatable[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	enqueue(w, 10)
	busy := true
	receiver := newCounter(w.broker.Sender(), func(body string) rollcall.PublishResult {
		switch {
		case body == "3":
			return rollcall.PublishResult{Fate: rollcall.Refused, Err: errors.New("422")}
		case body == "5":
			return rollcall.PublishResult{Err: errors.New("timeout")}
		case body == "7" && busy:
			busy = false
			return rollcall.PublishResult{Err: fmt.Errorf("429: %w", rollcall.ErrTryAgain)}
		}
		return rollcall.PublishResult{Fate: rollcall.Stored}
	})
	for _, step := range []string{"relay-stamped", "relay-opened", "relay-answered", ""} {
		relayTo(w, receiver, step)
	}
	kept, err := attemptsOf(t, w.storage.Open(t)).Kept(ctxb, 0, 20)
	w.must(err)
	why := make(map[string]rollcall.OutboxRow)
	for _, row := range kept {
		why[string(row.Message.Body)] = row
	}
	// 0 was never sent and 1 was, and nobody can tell.
	if len(kept) != 4 || why["0"].Doubt == "" || why["1"].Doubt == "" || why["3"].Refusal != "422" || why["5"].Doubt != "timeout" {
		t.Fatalf("kept %+v", kept)
	}
	for i := range 10 {
		want := 1
		if i == 0 {
			want = 0
		}
		if n := receiver.took[fmt.Sprint(i)]; n != want {
			t.Errorf("message %d was taken %d times, want %d", i, n, want)
		}
	}
	if left := pendingOf(w, 20); len(left) != 0 {
		t.Fatalf("%d rows wait still", len(left))
	}
	decide(t, attemptsOf(t, w.storage.Open(t)).Redrive, []int64{why["0"].ID}, 1)
	relayTo(w, receiver, "")
	if n := receiver.took["0"]; n != 1 {
		t.Fatalf("message 0 was taken %d times after its redrive", n)
	}
}

// relayTo runs a relay with a sender until it is killed at a step, or drains.
func relayTo[X any](w *world[X], sender rollcall.Sender, step string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	store := newFaultyStore(w.storage.Open(w.t), w.storage.Kill)
	relay := rollcall.NewRelay[X](store, sender, rollcall.RelayConfig{Batch: 10})
	err := relay.Drain(hookStep(ctx, step, func() {
		store.Kill()
		cancel()
	}))
	if (step == "") != (err == nil) {
		w.t.Fatalf("relay until %q: %v", step, err)
	}
}

// outboxLateAnswer: a relay waits for an answer while another one takes over. The
// row is parked, and the answer, when it comes, is the truth.
func outboxLateAnswer[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	enqueue(w, 2)
	answer := w.gate()
	stored := func(string) rollcall.PublishResult { return rollcall.PublishResult{Fate: rollcall.Stored} }
	receiver := newCounter(w.broker.Sender(), stored)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := rollcall.RelayConfig{Standby: time.Millisecond}
	slow := make(chan error, 1)
	go func() {
		relay := rollcall.NewRelay[X](w.storage.Open(t), receiver, config)
		slow <- relay.Drain(failpoint.With(ctx, func(_ context.Context, step string, _ int) error {
			if step == "relay-answered" {
				answer.pass()
			}
			return nil
		}))
	}()
	answer.wait(t, "the first relay to have sent")
	w.must(rollcall.NewRelay[X](w.storage.Open(t), receiver, config).Drain(ctx))
	a := attemptsOf(t, w.storage.Open(t))
	kept, err := a.Kept(ctxb, 0, 10)
	if err != nil || len(kept) != 1 || kept[0].Doubt == "" {
		t.Fatalf("kept %+v (%v), want the first message parked", kept, err)
	}
	answer.release()
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	if kept, err = a.Kept(ctxb, 0, 10); err != nil || len(kept) != 0 {
		t.Fatalf("kept %+v (%v) although the answer came", kept, err)
	}
	if receiver.took["0"] != 1 || receiver.took["1"] != 1 {
		t.Fatalf("taken %v, want each once", receiver.took)
	}
}
