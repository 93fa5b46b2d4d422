package embedded_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
)

// TestEmptyTriesEarly: RunUntilEmpty ends beside a message that can only wait,
// but not before it was tried on its own: what it waits for may have taken
// effect beside the batch that set it aside.
func TestEmptyTriesEarly(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	db, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p := db.Publisher(rollcall.PublisherConfig{})
	defer p.Close(ctx)
	if r := p.Publish(ctx, "states", rollcall.Message{Key: "a", Body: []byte("2")}); r[0].Fate != rollcall.Stored {
		t.Fatal(r[0].Err)
	}
	calls := 0
	c := rollcall.NewConsumer("g", db.Source("states"), db.Store(), func(context.Context, *sql.Tx, rollcall.Message) error {
		calls++
		return rollcall.Early
	}, rollcall.ConsumerConfig{Retry: rollcall.RetryConfig{First: 700 * time.Millisecond, Most: 700 * time.Millisecond}})
	if err := c.RunUntilEmpty(ctx); err != nil {
		t.Fatal(err)
	}
	if calls < 2 {
		t.Fatalf("ended after %d calls, want 2", calls)
	}
}
