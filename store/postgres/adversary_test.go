package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
)

// oddOne runs a handler that writes its number and then, for message 2, does
// something odd: that message alone is dead and leaves nothing, the others take
// effect once.
func oddOne(t *testing.T, config rollcall.ConsumerConfig, odd func(ctx context.Context, b *bench, tx pgx.Tx) error) string {
	t.Helper()
	b := newBench(t, "CREATE TABLE ~ledger (n int)", "CREATE TABLE ~later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)", "INSERT INTO ~later VALUES (0)",
		"CREATE TABLE ~odd (n int CHECK (n >= 0), short varchar(3), t text, j jsonb, must text NOT NULL DEFAULT '', mail text UNIQUE, id int PRIMARY KEY DEFAULT 1, "+
			"parent int REFERENCES ~odd (id))", "INSERT INTO ~odd (mail, id) VALUES ('taken', 0)")
	b.send(5, func(i int) string { return fmt.Sprint("k", i) })
	b.run(config, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		if _, err := tx.Exec(ctx, "INSERT INTO "+b.schema+".ledger VALUES ($1)", string(m.Body)); err != nil {
			return err
		}
		if string(m.Body) == "2" {
			return odd(ctx, b, tx)
		}
		return nil
	})
	dead, err := b.store.Asides().List(t.Context(), "g", rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}})
	if err != nil || len(dead) != 1 || string(dead[0].Message.Body) != "2" {
		t.Fatalf("dead: %+v, %v; want message 2", dead, err)
	}
	var lines []string
	rows, err := b.store.DB().Query(t.Context(), "SELECT n::text FROM "+b.schema+".ledger ORDER BY n")
	if err == nil {
		lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil || !slices.Equal(lines, []string{"0", "1", "3", "4"}) {
		t.Fatalf("effects %v, %v; want 0 1 3 4", lines, err)
	}
	t.Log(dead[0].Cause)
	return dead[0].Cause
}

// TestOddHandler: a handler that misuses its transaction spoils its own message
// and no other.
func TestOddHandler(t *testing.T) {
	text := func(texts ...string) func(ctx context.Context, b *bench, tx pgx.Tx) error {
		return func(ctx context.Context, b *bench, tx pgx.Tx) error {
			for _, text := range texts {
				if _, err := tx.Exec(ctx, strings.ReplaceAll(text, "~", b.schema+".")); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, odd := range map[string]func(ctx context.Context, b *bench, tx pgx.Tx) error{
		"a savepoint of our name":        text("SAVEPOINT rollcall_1"),
		"a setting that outlives":        text("SET synchronous_commit = off"),
		"a commit that confirms nothing": text("SET LOCAL synchronous_commit = off"),
		"read only":                      text("SET TRANSACTION READ ONLY"),
		"a role":                         text("SET ROLE pg_monitor"),
		"forgotten statements":           text("DEALLOCATE ALL"),
		"a constraint at COMMIT":         text("INSERT INTO ~later VALUES (0)"),
		"a COMMIT behind a quote":        text(`SELECT E'a''\''; COMMIT; --'`),
		"an ignored error": func(ctx context.Context, b *bench, tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, "SELECT 1/0")
			return nil
		},
		"a nested transaction left open, and an error": func(ctx context.Context, b *bench, tx pgx.Tx) error {
			_, err := tx.Begin(ctx)
			return errors.Join(err, errors.New("no"))
		},
		"a panic": func(context.Context, *bench, pgx.Tx) error { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) { oddOne(t, rollcall.ConsumerConfig{}, odd) })
		if !strings.Contains(name, "nested") {
			t.Run(name+", gathered", func(t *testing.T) { oddOne(t, rollcall.ConsumerConfig{Gather: true}, odd) })
		}
	}
}

// TestOnceInHandler: Once works in a handler's transaction, and what fn did is
// undone with its error.
func TestOnceInHandler(t *testing.T) {
	b := newBench(t, "CREATE TABLE ~ledger (n int)")
	b.send(6, func(i int) string { return fmt.Sprint("k", i) })
	b.run(rollcall.ConsumerConfig{}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		fail := errors.New("refused")
		_, err := rollcall.Once(ctx, b.store.Results(tx), rollcall.OnceKey{Scope: "s", Key: string(m.Body[0] & 1)}, func(ctx context.Context) (int, error) {
			if err := execText(ctx, tx, "INSERT INTO "+b.schema+".ledger VALUES (1)"); err != nil {
				return 0, err
			}
			if string(m.Body) == "0" {
				return 0, fail
			}
			return 1, nil
		})
		if errors.Is(err, fail) {
			return nil
		}
		return err
	})
	if n := b.number("SELECT count(*) FROM ~ledger"); n != 2 {
		t.Fatalf("%d effects of two keys, want 2", n)
	}
}

// TestGatheredSavepoint: a savepoint of a gathered handler would take the work
// of others with it, so it is refused.
func TestGatheredSavepoint(t *testing.T) {
	const n = 20
	b := newBench(t, "CREATE TABLE ~ledger (n int)")
	b.send(n, func(i int) string { return fmt.Sprint("k", i) })
	refused := make(chan error, 10*n)
	b.run(rollcall.ConsumerConfig{Gather: true, Batch: n}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		if string(m.Body) != "3" {
			time.Sleep(3 * time.Millisecond)
			return execText(ctx, tx, "INSERT INTO "+b.schema+".ledger VALUES (1)")
		}
		err := execText(ctx, tx, "SAVEPOINT mine")
		if err != nil {
			refused <- err
			return nil
		}
		time.Sleep(30 * time.Millisecond)
		return execText(ctx, tx, "ROLLBACK TO SAVEPOINT mine")
	})
	if got := b.number("SELECT count(*) FROM ~ledger"); got != n-1 {
		t.Errorf("%d effects, want %d: messages are lost", got, n-1)
	}
	if len(refused) == 0 {
		t.Error("the savepoint was not refused")
	}
}

// TestUnreadAnswer: an answer that a handler leaves unread stops nobody. Its
// message takes effect, or is dead without one when its context cut the answer.
func TestUnreadAnswer(t *testing.T) {
	for name, leave := range map[string]func(ctx context.Context, tx pgx.Tx){
		"Query":     func(ctx context.Context, tx pgx.Tx) { _, _ = tx.Query(ctx, "SELECT * FROM generate_series(1, 100000)") },
		"QueryRow":  func(ctx context.Context, tx pgx.Tx) { tx.QueryRow(ctx, "SELECT 1") },
		"SendBatch": func(ctx context.Context, tx pgx.Tx) { b := new(pgx.Batch); b.Queue("SELECT 1"); tx.SendBatch(ctx, b) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "CREATE TABLE ~ledger (n int)")
			b.send(5, func(i int) string { return fmt.Sprint("k", i) })
			b.run(rollcall.ConsumerConfig{}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
				_, err := tx.Exec(ctx, "INSERT INTO "+b.schema+".ledger VALUES ($1)", string(m.Body))
				if err == nil && string(m.Body) == "2" {
					leave(ctx, tx)
				}
				return err
			})
			dead, err := b.store.Asides().List(t.Context(), "g", rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}})
			others, odd := b.number("SELECT count(*) FROM ~ledger WHERE n <> 2"), b.number("SELECT count(*) FROM ~ledger WHERE n = 2")
			if err != nil || others != 4 || int(odd)+len(dead) != 1 || len(dead) == 1 && string(dead[0].Message.Body) != "2" {
				t.Fatalf("%d effects of the others, %d of the odd one, dead: %+v %v", others, odd, dead, err)
			}
		})
	}
}

// TestLateLane: a gathered handler that has returned cannot write any more.
func TestLateLane(t *testing.T) {
	b := newBench(t, "CREATE TABLE ~ledger (n int)")
	b.send(2, func(i int) string { return fmt.Sprint("k", i) })
	late := make(chan error, 10)
	b.run(rollcall.ConsumerConfig{Gather: true}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		if string(m.Body) == "0" {
			go func() {
				time.Sleep(20 * time.Millisecond)
				late <- execText(context.WithoutCancel(ctx), tx, "INSERT INTO "+b.schema+".ledger VALUES (0)")
			}()
			return nil
		}
		time.Sleep(60 * time.Millisecond)
		return execText(ctx, tx, "INSERT INTO "+b.schema+".ledger VALUES (1)")
	})
	if err := <-late; err == nil || !strings.Contains(err.Error(), "has returned") {
		t.Errorf("a statement of a handler that has returned: %v", err)
	}
	if n := b.number("SELECT count(*) FROM ~ledger"); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

// TestGuards: an old relay stamps nothing, a stamp is never changed, and the
// token is locked to the end of the transaction that checked it.
func TestGuards(t *testing.T) {
	b := newBench(t)
	holder := rollcall.Holder{Worker: "w"}
	got, err := b.store.Acquire(t.Context(), "g", []rollcall.Holder{holder})
	if err != nil {
		t.Fatal(err)
	}
	hold := rollcall.Hold{Group: "g", Holder: holder, Token: got[0].Token}
	tx, err := b.store.DB().Begin(t.Context())
	if err == nil {
		err = b.store.Outbox().Enqueue(t.Context(), tx, []rollcall.Message{{ID: "a", Destination: "orders"}})
	}
	if err = errors.Join(err, tx.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	rows, err := b.store.Outbox().Pending(t.Context(), 10)
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	stamp := func(h rollcall.Hold) error {
		rows[0].Message.Stamp = rollcall.Stamp{Life: rollcall.NewLife(), Sequence: 1, Origin: rollcall.OriginOf("orders")}
		return b.store.Outbox().Stamp(t.Context(), h, rows)
	}
	old := hold
	old.Token--
	if err := stamp(old); !errors.Is(err, rollcall.ErrFenced) {
		t.Errorf("an old relay's stamp: %v, want ErrFenced", err)
	}
	if err := stamp(hold); err != nil {
		t.Error(err)
	}
	if err := stamp(hold); err == nil {
		t.Error("a stamp was changed")
	}
	work, err := b.store.Begin(t.Context())
	if err == nil {
		err = work.Fence(t.Context(), hold)
	}
	if err == nil { // the lock travels with the next statement
		_, err = work.Asides().Queues(t.Context(), "g", []string{"k"})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := b.store.Acquire(ctx, "g", []rollcall.Holder{holder}); err == nil {
		t.Error("the token was raised under a transaction that had checked it")
	}
	if err := work.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}
