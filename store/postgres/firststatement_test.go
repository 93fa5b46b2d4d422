package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// What travels with a handler's first statement, and what must not be confused
// with it.

// runsTo runs a consumer until so many rows are in the ledger and so many aside.
func (b *bench) runsTo(t *testing.T, c *rollcall.Consumer[pgx.Tx], effects, aside int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	b.t = t
	at := func() (int64, int64) {
		return b.number("SELECT count(*) FROM ~ledger"), b.number("SELECT count(*) FROM ~asides WHERE state = 'dead'")
	}
	for {
		e, a := at()
		if e == effects && a == aside {
			break
		}
		if ctx.Err() != nil {
			t.Errorf("%d effects and %d dead after 20s, want %d and %d", e, a, effects, aside)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	<-ended
}

// TestUnencodableFirst: a handler whose first statement has an argument that pgx cannot encode (an
// int4 column and a larger number): its message is dead, the others take effect.
func TestUnencodableFirst(t *testing.T) {
	for name, c := range map[string]struct {
		shape  memory.Shape
		config rollcall.ConsumerConfig
	}{
		"queue":                  {memory.Shared, rollcall.ConsumerConfig{}},
		"queue, gathered":        {memory.Shared, rollcall.ConsumerConfig{Gather: true}},
		"exclusive":              {memory.Exclusive, rollcall.ConsumerConfig{}},
		"replayable":             {memory.Replayable, rollcall.ConsumerConfig{}},
		"replayable, parallel 4": {memory.Replayable, rollcall.ConsumerConfig{Parallel: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "CREATE TABLE ~ledger (n int4)")
			b.broker = memory.New(memory.Config{Shape: c.shape, Partitions: 1})
			b.send(5, func(int) string { return "" })
			config := c.config
			config.Observer = new(quiet)
			config.Retry = rollcall.RetryConfig{Attempts: 2, First: time.Millisecond, Most: 5 * time.Millisecond}
			b.runsTo(t, rollcall.NewConsumer("g", b.broker.Source("orders"), b.store, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
				n := int64(1)
				if string(m.Body) == "0" {
					n = 1 << 40
				}
				_, err := tx.Exec(ctx, strings.ReplaceAll("INSERT INTO ~ledger VALUES ($1)", "~", b.schema+"."), n)
				return err
			}, config), 4, 1)
		})
	}
}

// TestLimitsOfAStatement: a value that the server refuses with a code of class 54 is
// its message's fault: the message is dead, the others take effect.
func TestLimitsOfAStatement(t *testing.T) {
	long := make([]byte, 4000)
	_, _ = rand.Read(long)
	for name, c := range map[string]struct{ text, arg string }{
		"a value too long for its index (54000)": {"INSERT INTO ~ledger VALUES ($1)", hex.EncodeToString(long)},
		"JSON nested too deep (54001)":           {"INSERT INTO ~docs VALUES ($1::text::jsonb)", strings.Repeat("[", 50000) + strings.Repeat("]", 50000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "CREATE TABLE ~ledger (n text PRIMARY KEY)", "CREATE TABLE ~docs (d jsonb)")
			b.broker = memory.New(memory.Config{Shape: memory.Replayable, Partitions: 1})
			b.send(5, func(int) string { return "" })
			config := rollcall.ConsumerConfig{Observer: new(quiet)}
			config.Retry = rollcall.RetryConfig{Attempts: 2, First: time.Millisecond, Most: 5 * time.Millisecond}
			b.runsTo(t, rollcall.NewConsumer("g", b.broker.Source("orders"), b.store, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
				text, arg := "INSERT INTO ~ledger VALUES ($1)", string(m.Body)
				if arg == "2" {
					text, arg = c.text, c.arg
				}
				_, err := tx.Exec(ctx, strings.ReplaceAll(text, "~", b.schema+"."), arg)
				return err
			}, config), 4, 1)
		})
	}
}

// TestBlamedDead: a healthy message whose handler begins with a Query while its rolls are
// locked by another session for a moment, must not be dead. Attempts: 1.
func TestBlamedDead(t *testing.T) {
	for name, c := range map[string]struct {
		statement, handler time.Duration
		first              func(ctx context.Context, tx pgx.Tx, b *bench) error
	}{
		"handler's deadline, QueryRow": {0, 500 * time.Millisecond, func(ctx context.Context, tx pgx.Tx, b *bench) error {
			var n int
			return tx.QueryRow(ctx, "SELECT $1::int", 1).Scan(&n)
		}},
		"statement_timeout, QueryRow": {500 * time.Millisecond, time.Minute, func(ctx context.Context, tx pgx.Tx, b *bench) error {
			var n int
			return tx.QueryRow(ctx, "SELECT $1::int", 1).Scan(&n)
		}},
		"statement_timeout, Exec(args) (control)": {500 * time.Millisecond, time.Minute, func(ctx context.Context, tx pgx.Tx, b *bench) error {
			_, err := tx.Exec(ctx, "SELECT $1::int", 1)
			return err
		}},
		"statement_timeout, Begin": {500 * time.Millisecond, time.Minute, func(ctx context.Context, tx pgx.Tx, b *bench) error { _, err := tx.Begin(ctx); return err }},
		"statement_timeout, Enqueue": {500 * time.Millisecond, time.Minute, func(ctx context.Context, tx pgx.Tx, b *bench) error {
			return b.store.Outbox().Enqueue(ctx, tx, []rollcall.Message{{ID: "a", Destination: "orders2"}})
		}},
		"statement_timeout, Once": {500 * time.Millisecond, time.Minute, func(ctx context.Context, tx pgx.Tx, b *bench) error {
			_, err := rollcall.Once(ctx, b.store.Results(tx), rollcall.OnceKey{Scope: "s", Key: "k"}, func(context.Context) (int, error) { return 1, nil })
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "CREATE TABLE ~ledger (id text)")
			st, err := postgres.Open(t.Context(), servers.Shared(t, servers.Postgres15).URL(), postgres.Config{Schema: b.schema, Statement: c.statement})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			b.send(20, func(int) string { return "" })
			var calls atomic.Int32
			held := make(chan struct{})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			config := rollcall.ConsumerConfig{Batch: 10, HandlerTimeout: c.handler, Retry: rollcall.RetryConfig{Attempts: 1}, Observer: new(quiet)}
			err = rollcall.NewConsumer("g", b.broker.Source("orders"), st, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
				if calls.Add(1) == 11 {
					go b.holdRolls(3*time.Second, held)
					<-held
				}
				if err := c.first(ctx, tx, b); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, strings.ReplaceAll("INSERT INTO ~ledger VALUES ($1)", "~", b.schema+"."), string(m.ID))
				return err
			}, config).RunUntilEmpty(ctx)
			if err != nil {
				t.Error(err)
			}
			rows, _ := b.store.Asides().List(t.Context(), "g", rollcall.AsideFilter{})
			for _, r := range rows {
				t.Errorf("aside: %v %s attempts %d cause %s", r.State, r.Message.ID, r.Attempts, r.Cause)
			}
			if n := b.number("SELECT count(*) FROM ~ledger"); n != 20 {
				t.Errorf("%d effects of 20", n)
			}
		})
	}
}
