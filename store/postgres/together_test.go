package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// halfway stores the first messages of a batch, and then its answer is lost.
type halfway struct {
	rollcall.Sender
	first int
	end   context.CancelFunc
}

// Publish implements rollcall.Sender.
func (h *halfway) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	n := min(h.first, len(messages))
	results := h.Sender.Publish(ctx, destination, messages[:n])
	if h.first -= n; h.first == 0 {
		h.end()
	}
	for range messages[n:] {
		results = append(results, rollcall.PublishResult{Err: errors.New("the connection broke")})
	}
	return results
}

// TestEnqueuedTogether: messages that one transaction enqueues are sent all or
// none. Wherever the relay dies between them, the next one sends the rest: each
// has one number, and each destination has them in their order.
func TestEnqueuedTogether(t *testing.T) {
	const groups, each = 4, 5
	deaths := map[string]int{"relay-stamping": 0, "relay-stamped": 0, "relay-sent": 0}
	for first := 1; first < (groups-1)*each; first += 3 {
		deaths[fmt.Sprint(first, " of them are sent")] = first
	}
	for step, first := range deaths {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			want := make(map[string][]string)
			for g := range groups {
				commit := g != 1 // the second one fails and leaves nothing
				err := pgx.BeginFunc(t.Context(), b.store.DB(), func(tx pgx.Tx) error {
					var together []rollcall.Message
					for i := range each {
						m := rollcall.Message{Destination: fmt.Sprint("out", i%2), Key: "k", Body: fmt.Append(nil, g, "-", i)}
						if together = append(together, m); commit {
							want[m.Destination] = append(want[m.Destination], string(m.Body))
						}
					}
					err := b.store.Outbox().Enqueue(t.Context(), tx, together)
					if !commit {
						err = errors.Join(err, pgx.ErrTxCommitRollback)
					}
					return err
				})
				if err != nil && commit || err == nil && !commit {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			dying, die := context.WithCancel(ctx)
			var sender rollcall.Sender = b.broker.Sender()
			if first > 0 {
				sender = &halfway{sender, first, die}
			} else {
				dying = failpoint.With(dying, func(_ context.Context, at string, _ int) error {
					if at == step {
						die()
						return context.Canceled
					}
					return nil
				})
			}
			if err := rollcall.NewRelay(b.store, sender, rollcall.RelayConfig{Observer: new(pauses)}).Drain(dying); !errors.Is(err, context.Canceled) {
				t.Fatalf("the first relay did not die: %v", err)
			}
			if err := rollcall.NewRelay(b.store, b.broker.Sender(), rollcall.RelayConfig{Observer: new(pauses)}).Drain(ctx); err != nil {
				t.Fatal(err)
			}
			for destination, bodies := range want {
				var got []string
				seen := make(map[rollcall.Stamp]bool)
				for _, m := range b.broker.Messages(destination) {
					if !seen[m.Stamp] { // a repeat has its number, and is absorbed
						seen[m.Stamp] = true
						got = append(got, string(m.Body))
					}
				}
				if !slices.Equal(got, bodies) {
					t.Errorf("%s has %q, want %q", destination, got, bodies)
				}
			}
		})
	}
}
