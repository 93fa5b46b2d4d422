package embedded_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
)

// emptyPoll is how often RunUntilEmpty looks.
const emptyPoll = 50 * time.Millisecond

// untilEmpty publishes states of one Key in this order and works them off.
func untilEmpty(t *testing.T, states []string, handle func(state string) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	db, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p := db.Publisher(rollcall.PublisherConfig{})
	defer p.Close(ctx)
	var messages []rollcall.Message
	for _, s := range states {
		messages = append(messages, rollcall.Message{Key: "a", Body: []byte(s)})
	}
	for _, r := range p.Publish(ctx, "states", messages...) {
		if r.Fate != rollcall.Stored {
			t.Fatal(r.Err)
		}
	}
	c := rollcall.NewConsumer("g", db.Source("states"), db.Store(), func(_ context.Context, _ *sql.Tx, m rollcall.Message) error {
		return handle(string(m.Body))
	}, rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{First: 700 * time.Millisecond, Most: 700 * time.Millisecond}})
	if err := c.RunUntilEmpty(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestEmptyTriesEarly: RunUntilEmpty ends beside a message that can only wait,
// but not before it was tried on its own: what it waits for may have taken
// effect beside the batch that set it aside.
func TestEmptyTriesEarly(t *testing.T) {
	t.Parallel()
	calls := 0
	untilEmpty(t, []string{"2"}, func(string) error { calls++; return rollcall.Early })
	if calls < 2 {
		t.Fatalf("ended after %d calls, want 2", calls)
	}
}

// TestEmptyWaitsForEarlyInWork: what came too early and is in work may make
// others due.
func TestEmptyWaitsForEarlyInWork(t *testing.T) {
	t.Parallel()
	state, calls := "1", 0
	untilEmpty(t, []string{"3", "2"}, func(s string) error {
		switch {
		case s == "2":
			if calls++; calls == 1 {
				return rollcall.Early
			}
			time.Sleep(10 * emptyPoll)
		case state != "2":
			return rollcall.Early
		}
		state = s
		return nil
	})
	if state != "3" {
		t.Fatalf("ended in state %s, want 3", state)
	}
}
