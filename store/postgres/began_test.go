package postgres_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
)

// TestBeganWith: what a batch begins with travels with its handler's first
// statement. When that waits, for a lock say, and the handler's deadline is over
// or its error ignored, no message is blamed: all take effect, none spends an
// attempt, and none is there twice.
func TestBeganWith(t *testing.T) {
	for name, ignores := range map[string]bool{"the handler says so": false, "the handler ignores it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "CREATE TABLE ~ledger (id text)")
			b.send(40, func(int) string { return "k" })
			var calls atomic.Int32
			insert := strings.ReplaceAll("INSERT INTO ~ledger VALUES ($1)", "~", b.schema+".")
			held := make(chan struct{})
			b.run(rollcall.ConsumerConfig{Batch: 10, HandlerTimeout: 500 * time.Millisecond}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
				if calls.Add(1) == 11 { // the second batch: the rolls are known by now
					go b.holdRolls(2*time.Second, held)
					<-held
				}
				_, err := tx.Exec(ctx, insert, string(m.ID))
				if ignores {
					return nil
				}
				return err
			})
			if n, ids := b.number("SELECT count(*) FROM ~ledger"), b.number("SELECT count(DISTINCT id) FROM ~ledger"); n != 40 || ids != 40 {
				t.Errorf("%d effects of %d messages, want 40 of 40", n, ids)
			}
			if n := b.number("SELECT count(*) FROM ~asides"); n != 0 {
				t.Errorf("%d messages were set aside, want none", n)
			}
			if calls.Load() <= 40 {
				t.Error("nothing was redone: the test shows nothing")
			}
		})
	}
}

// holdRolls locks all rolls for a time.
func (b *bench) holdRolls(d time.Duration, held chan<- struct{}) {
	ctx := context.Background()
	tx, err := b.store.DB().Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, strings.ReplaceAll("SELECT 1 FROM ~rolls FOR UPDATE", "~", b.schema+"."))
	}
	close(held)
	if err != nil {
		b.t.Error(err)
		return
	}
	time.Sleep(d)
	_ = tx.Rollback(ctx)
}
