package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// TestCanceledFirst: a handler whose first statement has a context that has
// ended, and that ignores it. BEGIN was not sent: nothing may run outside of the
// transaction. It catches note without "case t.begun && status == 'I'".
func TestCanceledFirst(t *testing.T) {
	for name, first := range map[string]func(ctx context.Context, tx pgx.Tx){
		"Exec":  func(ctx context.Context, tx pgx.Tx) { _, _ = tx.Exec(ctx, "SELECT $1::int", 1) },
		"Query": func(ctx context.Context, tx pgx.Tx) { _, _ = tx.Query(ctx, "SELECT $1::int", 1) },
		"Batch": func(ctx context.Context, tx pgx.Tx) {
			b := &pgx.Batch{}
			b.Queue("SELECT 1")
			_ = tx.SendBatch(ctx, b).Close()
		},
		"Copy": func(ctx context.Context, tx pgx.Tx) {
			_, _ = tx.CopyFrom(ctx, pgx.Identifier{"x"}, []string{"a"}, pgx.CopyFromRows(nil))
		},
		"Begin": func(ctx context.Context, tx pgx.Tx) { _, _ = tx.Begin(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "CREATE TABLE ~ledger (n int)")
			b.send(20, func(i int) string { return fmt.Sprint("k", i) })
			b.run(rollcall.ConsumerConfig{Batch: 5, Observer: new(quiet)}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
				odd := string(m.Body) == "5" || string(m.Body) == "12" || string(m.Body) == "0"
				if odd {
					cctx, cancel := context.WithCancel(ctx)
					cancel()
					first(cctx, tx)
				}
				_, _ = tx.Exec(ctx, "INSERT INTO "+b.schema+".ledger VALUES ($1)", string(m.Body))
				if odd {
					return errors.New("no")
				}
				return nil
			})
			dead := b.number("SELECT count(*) FROM ~asides WHERE state = 'dead'")
			n, d := b.number("SELECT count(*) FROM ~ledger"), b.number("SELECT count(DISTINCT n) FROM ~ledger")
			t.Log("effects", n, "distinct", d, "dead", dead)
			if n != 17 || d != 17 || dead != 3 {
				t.Errorf("%d effects, %d distinct, %d dead of 20", n, d, dead)
			}
		})
	}
}

// TestOptionsFirst: whatever a handler's first statement is, it runs as pgx has it.
func TestOptionsFirst(t *testing.T) {
	for name, first := range map[string]func(ctx context.Context, tx pgx.Tx) error{
		"QueryExecModeExec": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SELECT $1::int", pgx.QueryExecModeExec, 1)
			return err
		},
		"Simple": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SELECT $1::int; SELECT 2", pgx.QueryExecModeSimpleProtocol, 1)
			return err
		},
		"NamedArgs": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SELECT @a::int", pgx.NamedArgs{"a": 1})
			return err
		},
		"multi": func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, "SELECT 1; SELECT 2"); return err },
		"batch named": func(ctx context.Context, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue("SELECT @a::int", pgx.NamedArgs{"a": 1})
			return tx.SendBatch(ctx, b).Close()
		},
		"batch callbacks": func(ctx context.Context, tx pgx.Tx) error {
			b, n := &pgx.Batch{}, 0
			b.Queue("SELECT 7").QueryRow(func(r pgx.Row) error { return r.Scan(&n) })
			err := tx.SendBatch(ctx, b).Close()
			if err == nil && n != 7 {
				err = errors.New("wrong answer")
			}
			return err
		},
		"batch reused": func(ctx context.Context, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue("SELECT $1::int", 1)
			return errors.Join(tx.SendBatch(ctx, b).Close(), tx.SendBatch(ctx, b).Close())
		},
		"nil arg": func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, "SELECT $1::int", nil); return err },
	} {
		for i, shape := range []memory.Shape{memory.Replayable, memory.Shared} {
			t.Run(name+[]string{"", ", queue"}[i], func(t *testing.T) {
				t.Parallel()
				b := newBench(t, "CREATE TABLE ~ledger (id text)")
				b.broker = memory.New(memory.Config{Shape: shape, Partitions: 1})
				b.send(20, func(int) string { return "" })
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				var calls atomic.Int32
				q := new(quiet)
				go rollcall.NewConsumer("g", b.broker.Source("orders"), b.store, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
					calls.Add(1)
					if err := first(ctx, tx); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, strings.ReplaceAll("INSERT INTO ~ledger VALUES ($1)", "~", b.schema+"."), string(m.ID))
					return err
				}, rollcall.ConsumerConfig{Batch: 5, Observer: q, Drain: time.Second, Retry: rollcall.RetryConfig{Attempts: 1}}).Run(ctx)
				for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && b.number("SELECT count(*) FROM ~ledger") < 20; {
					time.Sleep(50 * time.Millisecond)
				}
				rows, _ := b.store.Asides().List(t.Context(), "g", rollcall.AsideFilter{})
				for _, r := range rows[:min(1, len(rows))] {
					t.Errorf("aside: %v %s cause %s", r.State, r.Message.ID, r.Cause)
				}
				if n := b.number("SELECT count(*) FROM ~ledger"); n != 20 || calls.Load() != 20 {
					t.Errorf("%d effects, %d calls of 20; last pause %s", n, calls.Load(), q.last)
				}
			})
		}
	}
}
