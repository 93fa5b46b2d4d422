package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

func TestCommitAndRollback(t *testing.T) {
	s := openNew(t)
	run(t, s, "CREATE TABLE e (n INTEGER)")
	insert := func(tx rollcall.Tx[*sql.Tx], n int) {
		_, err := tx.User().ExecContext(t.Context(), "INSERT INTO e VALUES (?)", n)
		must(t, err)
	}
	tx := begin(t, s)
	insert(tx, 1)
	must(t, tx.Rollback())
	must(t, tx.Rollback())
	if err := tx.Commit(t.Context()); !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("commit after rollback: %v", err)
	}
	tx = begin(t, s)
	insert(tx, 2)
	must(t, tx.Commit(t.Context()))
	must(t, tx.Rollback())
	if n := number(t, s, "SELECT group_concat(n) FROM e"); n != 2 {
		t.Errorf("rows: %d", n)
	}
}

// Whatever a handler does to end the transaction, nothing of it is durable and
// the store's Commit is an error.
func TestHandlerEndsTheTransaction(t *testing.T) {
	text := func(query string) func(*sql.Tx) error {
		return func(tx *sql.Tx) error { _, err := tx.ExecContext(context.Background(), query); return err }
	}
	for name, c := range map[string]struct {
		end       func(*sql.Tx) error
		goesOn    bool // refused before it ran: the transaction is whole
		errorFree bool
	}{
		"Commit":              {end: (*sql.Tx).Commit},
		"Rollback":            {end: (*sql.Tx).Rollback, errorFree: true},
		"COMMIT":              {end: text("COMMIT"), goesOn: true},
		"end":                 {end: text(" -- x\n ; /* y */ end transaction"), goesOn: true},
		"BEGIN":               {end: text("BEGIN"), goesOn: true},
		"ROLLBACK":            {end: text("rollback transaction"), goesOn: true},
		"hidden COMMIT":       {end: text("INSERT INTO e VALUES (2); COMMIT; INSERT INTO e VALUES (3)")},
		"hidden ROLLBACK":     {end: text("INSERT INTO e VALUES (2); ROLLBACK; INSERT INTO e VALUES (3)")},
		"commit and begin":    {end: text("SELECT 1; COMMIT; BEGIN; INSERT INTO e VALUES (3)")},
		"rollback and begin":  {end: text("SELECT 1; ROLLBACK; BEGIN; INSERT INTO e VALUES (3)"), errorFree: true},
		"rollback on failure": {end: text("INSERT OR ROLLBACK INTO e VALUES (1)")},
		"prepared": {goesOn: true, end: func(tx *sql.Tx) error {
			st, err := tx.Prepare("COMMIT")
			if err != nil {
				return err
			}
			_, err = st.Exec()
			return err
		}},
		"queried": {goesOn: true, end: func(tx *sql.Tx) error {
			r, err := tx.Query("COMMIT")
			if err != nil {
				return err
			}
			defer r.Close()
			r.Next()
			return r.Err()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			run(t, s, "CREATE TABLE e (n INTEGER PRIMARY KEY)")
			for range 2 { // a second time, with every statement in the cache
				tx := begin(t, s)
				_, err := tx.User().Exec("INSERT INTO e VALUES (1)")
				must(t, err)
				if err := c.end(tx.User()); (err == nil) != c.errorFree {
					t.Errorf("the handler saw %v", err)
				}
				_, after := tx.User().Exec("INSERT INTO e VALUES (4)")
				err = tx.Commit(t.Context())
				want := int64(0)
				if c.goesOn {
					must(t, after)
					must(t, err)
					want = 2
				} else if err == nil || errors.Is(err, rollcall.ErrInDoubt) {
					t.Errorf("commit: %v", err)
				} else if after == nil {
					t.Error("a statement ran after the transaction was gone")
				}
				if n := number(t, s, "SELECT count(*) FROM e"); n != want {
					t.Errorf("%d rows are durable, want %d", n, want)
				}
				run(t, s, "DELETE FROM e")
			}
			// The store goes on.
			inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
				_, err := tx.User().Exec("INSERT INTO e VALUES (9)")
				must(t, err)
			})
		})
	}
}

func TestHandlerEndedIsTheHandlersFault(t *testing.T) {
	s := openNew(t)
	tx := begin(t, s)
	err := tx.User().Commit()
	if s.Classify(err) != rollcall.ClassData || !strings.Contains(err.Error(), "must not") {
		t.Errorf("%v", err)
	}
	if err = tx.Commit(t.Context()); s.Classify(err) != rollcall.ClassData || !strings.Contains(err.Error(), "must not") {
		t.Errorf("%v", err)
	}
}

func TestUsersSavepointsAreFine(t *testing.T) {
	s := openNew(t)
	run(t, s, "CREATE TABLE e (n INTEGER)")
	inTx(t, s, func(_ context.Context, tx rollcall.Tx[*sql.Tx]) {
		for _, q := range []string{"SAVEPOINT a", "INSERT INTO e VALUES (1)", "ROLLBACK TO a", "ROLLBACK TRANSACTION TO SAVEPOINT a", "RELEASE a", "INSERT INTO e VALUES (2)"} {
			_, err := tx.User().Exec(q)
			must(t, err)
		}
	})
	if n := number(t, s, "SELECT group_concat(n) FROM e"); n != 2 {
		t.Error(n)
	}
}

func TestSavepoints(t *testing.T) {
	s := openNew(t)
	run(t, s, "CREATE TABLE e (n INTEGER)")
	ctx := t.Context()
	tx := begin(t, s)
	insert := func(n int) {
		_, err := tx.User().Exec("INSERT INTO e VALUES (?)", n)
		must(t, err)
	}
	save := func() func(context.Context) error { u, err := tx.Savepoint(ctx); must(t, err); return u }
	insert(1)
	one := save()
	insert(2)
	two := save()
	insert(3)
	_, err := tx.Records().Claim(ctx, group, []rollcall.KeyClaim{{Key: dedupKey(1)}})
	must(t, err)
	must(t, two(ctx))
	if two(ctx) == nil {
		t.Error("undone twice")
	}
	insert(4)
	three := save()
	insert(5)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	must(t, one(ended)) // the handler's deadline does not keep its work
	if three(ctx) == nil {
		t.Error("undone after an earlier one was")
	}
	insert(6)
	must(t, tx.Commit(ctx))
	if n := number(t, s, "SELECT CAST(group_concat(n, '') AS INTEGER) FROM e"); n != 16 {
		t.Errorf("left: %d", n)
	}
	if n := number(t, s, "SELECT count(*) FROM rollcall_keys"); n != 0 {
		t.Error("the engine's own work was not undone")
	}
}

func TestContextEndsBetweenStatements(t *testing.T) {
	s := openNew(t)
	run(t, s, "CREATE TABLE e (n INTEGER)")
	ctx, cancel := context.WithCancel(t.Context())
	tx, err := s.Begin(ctx)
	must(t, err)
	_, err = tx.User().ExecContext(ctx, "INSERT INTO e VALUES (1)")
	must(t, err)
	cancel()
	time.Sleep(20 * time.Millisecond) // database/sql would have rolled back by now
	if _, err = tx.User().ExecContext(ctx, "INSERT INTO e VALUES (2)"); !errors.Is(err, context.Canceled) {
		t.Errorf("a statement under an ended context: %v", err)
	}
	must(t, tx.Commit(t.Context()))
	if n := number(t, s, "SELECT group_concat(n) FROM e"); n != 1 {
		t.Error(n)
	}
}

func TestCommitUnderAnEndedContextIsNotSent(t *testing.T) {
	s := openNew(t)
	run(t, s, "CREATE TABLE e (n INTEGER)")
	tx := begin(t, s)
	_, err := tx.User().Exec("INSERT INTO e VALUES (1)")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = tx.Commit(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, rollcall.ErrInDoubt) || s.Classify(err) != rollcall.ClassEnvironment {
		t.Errorf("%v", err)
	}
	if n := number(t, s, "SELECT count(*) FROM e"); n != 0 {
		t.Error("committed all the same")
	}
	inTx(t, s, func(context.Context, rollcall.Tx[*sql.Tx]) {})
}

// A write that is interrupted rolls the whole transaction back: SQLite's rule.
// What runs afterwards must not be durable on its own.
func TestInterruptedWriteEndsTheTransaction(t *testing.T) {
	s := openNew(t)
	run(t, s, "CREATE TABLE e (n INTEGER)")
	tx := begin(t, s)
	_, err := tx.User().Exec("INSERT INTO e VALUES (1)")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = tx.User().ExecContext(ctx, "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000000) INSERT INTO e SELECT n FROM c")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("not interrupted: %v", err)
	}
	if _, err = tx.User().Exec("INSERT INTO e VALUES (2)"); err == nil {
		t.Error("a statement ran after the rollback")
	}
	if _, err = tx.Savepoint(t.Context()); err == nil {
		t.Error("a savepoint began a transaction of its own")
	}
	if err = tx.Commit(t.Context()); err == nil || errors.Is(err, rollcall.ErrInDoubt) {
		t.Errorf("commit: %v", err)
	}
	if n := number(t, s, "SELECT count(*) FROM e"); n != 0 {
		t.Errorf("%d rows are durable", n)
	}
}

func TestDeferredForeignKeyFailsTheCommit(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "f.db"), sqlite.Config{ForeignKeys: true})
	run(t, s, "CREATE TABLE p (id INTEGER PRIMARY KEY)")
	run(t, s, "CREATE TABLE c (p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
	tx := begin(t, s)
	_, err := tx.User().Exec("INSERT INTO c VALUES (7)")
	must(t, err)
	err = tx.Commit(t.Context())
	if err == nil || errors.Is(err, rollcall.ErrInDoubt) || s.Classify(err) != rollcall.ClassData {
		t.Errorf("%v", err)
	}
	if n := number(t, s, "SELECT count(*) FROM c"); n != 0 {
		t.Error("committed all the same")
	}
	inTx(t, s, func(context.Context, rollcall.Tx[*sql.Tx]) {})
}

func TestFence(t *testing.T) {
	s := openNew(t)
	first := acquire(t, s, partition(3))
	if !first.Clean || first.Token != 1 {
		t.Errorf("first: %+v", first)
	}
	second := acquire(t, s, partition(3))
	if second.Clean || second.Token != first.Token+1 {
		t.Errorf("not released: %+v", second)
	}
	tx := begin(t, s)
	must(t, tx.Fence(t.Context(), hold(partition(3), second)))
	for _, token := range []rollcall.Token{0, first.Token, second.Token + 1} {
		err := tx.Fence(t.Context(), rollcall.Hold{Group: group, Holder: partition(3), Token: token})
		if !errors.Is(err, rollcall.ErrFenced) || !strings.Contains(err.Error(), `partition 3 of "orders"`) {
			t.Errorf("token %d: %v", token, err)
		}
	}
	for _, h := range []rollcall.Hold{
		{Group: "other", Holder: partition(3), Token: second.Token},
		{Group: group, Holder: partition(4), Token: second.Token},
		{Group: group, Holder: worker("orders"), Token: second.Token},
	} {
		if err := tx.Fence(t.Context(), h); !errors.Is(err, rollcall.ErrFenced) {
			t.Errorf("%+v: %v", h, err)
		}
	}
	must(t, tx.Rollback())
	must(t, s.Release(t.Context(), []rollcall.Hold{hold(partition(3), first)}))
	if a := acquire(t, s, partition(3)); a.Clean || a.Token != 3 {
		t.Errorf("the release of an old token counted: %+v", a)
	}
	must(t, s.Release(t.Context(), []rollcall.Hold{{Group: group, Holder: partition(3), Token: 3}}))
	if a := acquire(t, s, partition(3)); !a.Clean || a.Token != 4 {
		t.Errorf("released: %+v", a)
	}
	if a := acquire(t, s, partition(3)); a.Clean {
		t.Errorf("the release counted twice: %+v", a)
	}
	got, err := s.Acquire(t.Context(), group, []rollcall.Holder{partition(8), worker("w"), partition(3)})
	must(t, err)
	if len(got) != 3 || got[0].Token != 1 || got[1].Token != 1 || got[2].Token != 6 {
		t.Errorf("in order: %+v", got)
	}
}
