package rollcall_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	memorystore "github.com/rollcall-mq/rollcall/store/memory"
)

// unbound refuses the first calls: nothing is bound.
type unbound struct {
	*memory.Sender
	calls int
}

func (s *unbound) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	if destination != "orders" {
		return s.Sender.Publish(ctx, destination, messages)
	}
	if s.calls--; s.calls < 0 {
		return s.Sender.Publish(ctx, destination, messages)
	}
	results := make([]rollcall.PublishResult, len(messages))
	for i := range results {
		results[i] = rollcall.PublishResult{Fate: rollcall.Refused, Err: fmt.Errorf("no queue takes it: %w", rollcall.ErrNoDestination)}
	}
	return results
}

// TestRelayWaitsForDestination: a destination that is missing for a while throws no row
// out of the outbox.
func TestRelayWaitsForDestination(t *testing.T) {
	b, db := memory.New(memory.Config{}), memorystore.NewDatabase(memorystore.Config{})
	enqueue(t, db, 50)
	seen := new(events)
	relay := rollcall.NewRelay(memorystore.Open(db), &unbound{b.Sender(), 3}, rollcall.RelayConfig{Observer: seen})
	if err := relay.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Messages("orders")); n != 50 {
		t.Errorf("%d messages were sent, want 50", n)
	}
	paused := 0
	for _, e := range seen.all {
		if _, is := e.(rollcall.Paused); is {
			paused++
		}
	}
	if paused != 3 {
		t.Errorf("it was told %d times that the relay waits, want 3", paused)
	}
}
