package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// bench is a schema with a store, tables of the test's and an in-memory broker.
type bench struct {
	t      *testing.T
	store  *postgres.Store
	schema string
	broker *memory.Broker
	own    bool // the ids of its messages are the application's own
}

func newBench(t *testing.T, tables ...string) *bench {
	t.Helper()
	b := &bench{t: t, schema: schema(), broker: memory.New(memory.Config{Shape: memory.Replayable, Partitions: 1})}
	var err error
	b.store, err = postgres.Open(t.Context(), servers.Shared(t, servers.Postgres15).URL(), postgres.Config{Schema: b.schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	for _, text := range tables {
		exec(t, b.store, strings.ReplaceAll(text, "~", b.schema+"."))
	}
	return b
}

func (b *bench) send(n int, key func(int) string) {
	b.t.Helper()
	life := rollcall.NewLife()
	for i := range n {
		m := rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("m", i)), Key: key(i), Body: fmt.Append(nil, i),
			Stamp: rollcall.Stamp{Life: life, Sequence: uint64(i) + 1, Origin: rollcall.OriginOf("orders"), OwnID: b.own}}
		if r := b.broker.Sender().Publish(b.t.Context(), "orders", []rollcall.Message{m})[0]; r.Fate != rollcall.Stored {
			b.t.Fatal(r.Err)
		}
	}
}

func (b *bench) run(config rollcall.ConsumerConfig, h rollcall.Handler[pgx.Tx]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 60*time.Second)
	defer cancel()
	config.Retry = rollcall.RetryConfig{Attempts: 2, First: time.Millisecond, Most: 5 * time.Millisecond}
	if err := rollcall.NewConsumer("g", b.broker.Source("orders"), b.store, h, config).RunUntilEmpty(ctx); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) number(query string) (n int64) {
	b.t.Helper()
	if err := b.store.DB().QueryRow(b.t.Context(), strings.ReplaceAll(query, "~", b.schema+".")).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// TestHandlerCannotEnd: whatever way a handler tries to end the transaction, its
// message is dead, nothing of it is committed, and the others take effect.
func TestHandlerCannotEnd(t *testing.T) {
	ways := map[string]func(ctx context.Context, tx pgx.Tx) error{
		"Commit":                func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) },
		"Rollback":              func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) },
		"COMMIT":                func(ctx context.Context, tx pgx.Tx) error { return execText(ctx, tx, "COMMIT") },
		"in a comment's shadow": func(ctx context.Context, tx pgx.Tx) error { return execText(ctx, tx, "/* x */ SELECT 1; -- y\n END") },
		"ROLLBACK AND CHAIN":    func(ctx context.Context, tx pgx.Tx) error { return execText(ctx, tx, "ROLLBACK AND CHAIN") },
		"our savepoint": func(ctx context.Context, tx pgx.Tx) error {
			return execText(ctx, tx, "ROLLBACK TO SAVEPOINT rollcall_1")
		},
		"PREPARE": func(ctx context.Context, tx pgx.Tx) error { return execText(ctx, tx, "PREPARE TRANSACTION 'x'") },
		"in a batch": func(ctx context.Context, tx pgx.Tx) error {
			var b pgx.Batch
			b.Queue("SELECT 1")
			b.Queue("COMMIT")
			return tx.SendBatch(ctx, &b).Close()
		},
		"a batch that begins": func(ctx context.Context, tx pgx.Tx) error {
			var b pgx.Batch
			b.BeginTx(pgx.TxOptions{})
			b.Queue("SELECT 1")
			return tx.SendBatch(ctx, &b).Close()
		},
		"Query": func(ctx context.Context, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "COMMIT")
			if err == nil {
				rows.Close()
				err = rows.Err()
			}
			return err
		},
		"QueryRow":    func(ctx context.Context, tx pgx.Tx) error { return tx.QueryRow(ctx, "COMMIT").Scan() },
		"Conn":        func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Conn().Exec(ctx, "COMMIT"); return err },
		"a procedure": func(ctx context.Context, tx pgx.Tx) error { return execText(ctx, tx, "DO $$ BEGIN COMMIT; END $$") },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "CREATE TABLE ~ledger (n int)")
			b.send(5, func(int) string { return "k" })
			b.run(rollcall.ConsumerConfig{}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
				if _, err := tx.Exec(ctx, "INSERT INTO "+b.schema+".ledger VALUES ($1)", string(m.Body)); err != nil {
					return err
				}
				if string(m.Body) == "2" {
					return way(ctx, tx)
				}
				return nil
			})
			dead, err := b.store.Asides().List(t.Context(), "g", rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}})
			if err != nil || len(dead) != 1 || string(dead[0].Message.Body) != "2" {
				t.Fatalf("dead: %+v, %v; want message 2", dead, err)
			}
			t.Log(dead[0].Cause)
			if n := b.number("SELECT count(*) FROM ~ledger"); n != 4 {
				t.Fatalf("%d effects, want 4", n)
			}
			if n := b.number("SELECT count(*) FROM ~ledger WHERE n = 2"); n != 0 {
				t.Fatal("the effect of a message whose handler ended the transaction stayed")
			}
		})
	}
}

func execText(ctx context.Context, tx pgx.Tx, text string) error {
	_, err := tx.Exec(ctx, text)
	return err
}

// sumInGo is a handler whose arithmetic is in Go: it locks one row that all
// messages share, and writes the sum.
func sumInGo(b *bench) rollcall.Handler[pgx.Tx] {
	return func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		var sum int
		if err := tx.QueryRow(ctx, "SELECT sum FROM "+b.schema+".total FOR UPDATE").Scan(&sum); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE "+b.schema+".total SET sum = $1", sum+1)
		return err
	}
}

// TestSumInGo: one after the other, the default, is right for a handler that
// reads a shared row and writes a sum made in Go. Gathered it is wrong, as the
// documentation of Gather warns: inside one transaction row locks do not keep
// two handlers apart.
func TestSumInGo(t *testing.T) {
	const n = 60
	for _, gather := range []bool{false, true} {
		b := newBench(t, "CREATE TABLE ~total (sum int)", "INSERT INTO ~total VALUES (0)")
		b.send(n, func(i int) string { return fmt.Sprint("k", i) })
		b.run(rollcall.ConsumerConfig{Gather: gather, Batch: n}, sumInGo(b))
		sum := b.number("SELECT sum FROM ~total")
		t.Logf("gathered %v: sum %d of %d", gather, sum, n)
		if right := sum == n; right == gather {
			t.Errorf("gathered %v: the sum is %d of %d: the documentation says otherwise", gather, sum, n)
		}
	}
}

// TestGatheredSQL: the same sum made in SQL, and rows of the own key, are right
// gathered; the answers of all kinds of calls arrive.
func TestGatheredSQL(t *testing.T) {
	const n = 300
	b := newBench(t, "CREATE TABLE ~total (sum int)", "INSERT INTO ~total VALUES (0)", "CREATE TABLE ~account (key text PRIMARY KEY, balance int)")
	b.send(n, func(i int) string { return fmt.Sprint("k", i%37) })
	b.run(rollcall.ConsumerConfig{Gather: true, Batch: 100}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		var balance int
		err := tx.QueryRow(ctx, "SELECT balance FROM "+b.schema+".account WHERE key = $1", m.Key).Scan(&balance)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT x, 'text' FROM generate_series(1, 3) x")
		if err != nil {
			return err
		}
		type pair struct {
			X int
			T string
		}
		if pairs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pair]); err != nil || len(pairs) != 3 || pairs[2] != (pair{3, "text"}) {
			return fmt.Errorf("%v %w", pairs, err)
		}
		var batch pgx.Batch
		batch.Queue("INSERT INTO "+b.schema+".account VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET balance = $2", m.Key, balance+1)
		batch.Queue("UPDATE " + b.schema + ".total SET sum = sum + 1")
		return tx.SendBatch(ctx, &batch).Close()
	})
	if sum, own := b.number("SELECT sum FROM ~total"), b.number("SELECT sum(balance) FROM ~account"); sum != n || own != n {
		t.Fatalf("sums %d and %d, want %d", sum, own, n)
	}
}

// TestUngathered: what cannot travel with others is refused by name.
func TestUngathered(t *testing.T) {
	b := newBench(t)
	b.send(2, func(i int) string { return fmt.Sprint("k", i) })
	var mu sync.Mutex
	refused := make(map[string]int)
	b.run(rollcall.ConsumerConfig{Gather: true}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		_, copied := tx.CopyFrom(ctx, pgx.Identifier{"x"}, []string{"a"}, pgx.CopyFromRows(nil))
		_, prepared := tx.Prepare(ctx, "p", "SELECT 1")
		mu.Lock()
		defer mu.Unlock()
		for name, err := range map[string]error{"CopyFrom": copied, "Prepare": prepared} {
			if err != nil && strings.Contains(err.Error(), name+": ") && strings.Contains(err.Error(), "cannot be gathered") {
				refused[name]++
			}
		}
		return nil
	})
	if refused["CopyFrom"] != 2 || refused["Prepare"] != 2 {
		t.Fatalf("refused by name: %v, want each twice", refused)
	}
}
