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

// The kit tests Once in transactions of the store; here are those of the user.

func onceLine(ctx context.Context, s *sqlite.Store, tx *sql.Tx, line string) (string, error) {
	return rollcall.Once(ctx, s.Results(tx), rollcall.OnceKey{Scope: group, Key: "k"}, func(ctx context.Context) (string, error) {
		_, err := tx.ExecContext(ctx, "INSERT INTO ledger (line) VALUES (?)", line)
		return line, err
	})
}

func openLedger(t *testing.T) *sqlite.Store {
	s := openNew(t)
	run(t, s, "CREATE TABLE ledger (n INTEGER PRIMARY KEY, line TEXT NOT NULL)")
	return s
}

func beginUser(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// A deferred transaction that has read cannot write any more once another has
// written: SQLite says so at once, and Once says what to do. With Once first,
// and in every transaction of DB, it cannot happen.
func TestOnceInDeferredTransaction(t *testing.T) {
	s := openLedger(t)
	own, err := sql.Open("sqlite", "file:"+s.Path()+"?_pragma=busy_timeout(5000)") // deferred, the driver's default
	must(t, err)
	t.Cleanup(func() { _ = own.Close() })
	var n int
	tx := beginUser(t, own)
	must(t, tx.QueryRow("SELECT count(*) FROM ledger").Scan(&n))
	run(t, s, "INSERT INTO ledger (line) VALUES ('another')")
	_, err = onceLine(t.Context(), s, tx, "late")
	if err == nil || !strings.Contains(err.Error(), "BEGIN IMMEDIATE") || !strings.Contains(err.Error(), "nothing was recorded") {
		t.Fatalf("%v, want the next step", err)
	}
	must(t, tx.Commit())
	tx = beginUser(t, own)
	_, err = onceLine(t.Context(), s, tx, "first")
	must(t, err)
	must(t, tx.Commit())
	tx = beginUser(t, s.DB())
	must(t, tx.QueryRow("SELECT count(*) FROM ledger").Scan(&n))
	if line, err := onceLine(t.Context(), s, tx, "second"); err != nil || line != "first" {
		t.Fatal(line, err)
	}
	must(t, tx.Commit())
	if lines := strings.Join(ledger(t, s.DB()), " "); lines != "another first" {
		t.Fatal(lines)
	}
}

// A deferred transaction that begins with Once waits for the writer, and sees
// what that one committed.
func TestOnceWaitsInDeferredTransaction(t *testing.T) {
	s := openLedger(t)
	own, err := sql.Open("sqlite", "file:"+s.Path()+"?_pragma=busy_timeout(5000)")
	must(t, err)
	t.Cleanup(func() { _ = own.Close() })
	first := beginUser(t, s.DB())
	_, err = onceLine(t.Context(), s, first, "first")
	must(t, err)
	second := beginUser(t, own)
	time.AfterFunc(100*time.Millisecond, func() { _ = first.Commit() })
	if line, err := onceLine(t.Context(), s, second, "second"); err != nil || line != "first" {
		t.Fatal(line, err)
	}
}

// A transaction that SQLite rolled back by itself takes no statement more: else
// what fn does next would be durable at once, without the record.
func TestOnceAfterTransactionIsGone(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, tx *sql.Tx){
		"interrupted": func(ctx context.Context, tx *sql.Tx) {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			_, err := tx.ExecContext(ctx, `INSERT INTO ledger (line) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c`)
			if err == nil {
				t.Error("the endless statement ended well")
			}
		},
		"rolled back as text": func(ctx context.Context, tx *sql.Tx) { _, _ = tx.ExecContext(ctx, "ROLLBACK") },
	} {
		t.Run(name, func(t *testing.T) {
			s := openLedger(t)
			tx := beginUser(t, s.DB())
			_, err := rollcall.Once(t.Context(), s.Results(tx), rollcall.OnceKey{Scope: group, Key: "k"}, func(ctx context.Context) (string, error) {
				end(ctx, tx)
				_, _ = tx.ExecContext(ctx, "INSERT INTO ledger (line) VALUES ('stray')") // fn ignores errors
				return "paid", nil
			})
			if err == nil || !strings.Contains(err.Error(), "rolled") {
				t.Errorf("%v, want an error that says what became of it", err)
			}
			if err := tx.Commit(); err == nil {
				t.Error("the COMMIT of nothing is no error")
			}
			if lines := ledger(t, s.DB()); len(lines) != 0 {
				t.Errorf("%q stayed without its record", lines)
			}
			tx = beginUser(t, s.DB()) // the connection is as good as before
			_, err = onceLine(t.Context(), s, tx, "paid")
			must(t, err)
			must(t, tx.Commit())
		})
	}
}

// fn that commits by itself has done it, without a result: that is in doubt, not
// done and not run again.
func TestOnceCommittedInside(t *testing.T) {
	s := openLedger(t)
	tx := beginUser(t, s.DB())
	_, err := rollcall.Once(t.Context(), s.Results(tx), rollcall.OnceKey{Scope: group, Key: "k"}, func(context.Context) (string, error) {
		return "paid", tx.Commit()
	})
	if !errors.Is(err, sql.ErrTxDone) || !strings.Contains(err.Error(), "before Commit") {
		t.Errorf("%v, want ErrTxDone", err)
	}
	if _, err = onceLine(t.Context(), s, beginUser(t, s.DB()), "again"); !errors.Is(err, rollcall.ErrInDoubt) {
		t.Errorf("%v, want ErrInDoubt", err)
	}
}

func TestOnceInAnotherFile(t *testing.T) {
	s := openLedger(t)
	other, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "other.db"))
	must(t, err)
	t.Cleanup(func() { _ = other.Close() })
	if _, err = onceLine(t.Context(), s, beginUser(t, other), "x"); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Fatal(err)
	}
}

func TestDamagedResult(t *testing.T) {
	s := openLedger(t)
	tx := beginUser(t, s.DB())
	_, err := onceLine(t.Context(), s, tx, "paid")
	must(t, err)
	must(t, tx.Commit())
	run(t, s, "UPDATE rollcall_results SET result = '\"stolen\"'")
	if _, err := onceLine(t.Context(), s, beginUser(t, s.DB()), "again"); !errors.Is(err, rollcall.ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

func TestDamagedClaim(t *testing.T) {
	s := openNew(t)
	_, err := s.Claims().Claim(t.Context(), group, dedupKey(1), time.Hour)
	must(t, err)
	run(t, s, "UPDATE rollcall_claims SET done = 1")
	if _, err := s.Claims().Claim(t.Context(), group, dedupKey(1), time.Hour); !errors.Is(err, rollcall.ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

// A file of the version before Once is brought up to date and keeps what it has.
func TestOlderSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	s := openAt(t, path, sqlite.Config{})
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		_, err := tx.Records().Claim(ctx, group, []rollcall.KeyClaim{{Key: dedupKey(1), Owner: identity(1)}})
		must(t, err)
	})
	run(t, s, `DROP TABLE rollcall_results; DROP TABLE rollcall_claims; DROP TABLE rollcall_log; ALTER TABLE rollcall_schema DROP COLUMN claim_token;
		DROP INDEX rollcall_outbox_kept; DROP INDEX rollcall_outbox_pending; ALTER TABLE rollcall_outbox DROP COLUMN attempt;
		ALTER TABLE rollcall_outbox DROP COLUMN doubt; ALTER TABLE rollcall_counts DROP COLUMN void;
		ALTER TABLE rollcall_counts DROP COLUMN lost; CREATE INDEX rollcall_outbox_pending ON rollcall_outbox (id) WHERE refusal IS NULL;
		UPDATE rollcall_schema SET version = 1; CREATE TABLE ledger (n INTEGER PRIMARY KEY, line TEXT NOT NULL)`)
	must(t, s.Close())
	for range 2 { // and again, when it is new
		s = openAt(t, path, sqlite.Config{})
		if n := number(t, s, "SELECT version FROM rollcall_schema"); n != 5 {
			t.Fatalf("version %d", n)
		}
		inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
			got, err := tx.Records().Claim(ctx, group, []rollcall.KeyClaim{{Key: dedupKey(1), Owner: identity(2)}})
			must(t, err)
			if got[0].Fresh || got[0].Owner != identity(1) {
				t.Errorf("%+v: the older file's key is gone", got)
			}
			line, err := onceLine(ctx, s, tx.User(), "paid")
			must(t, err)
			if line != "paid" {
				t.Error(line)
			}
		})
		_, err := s.Claims().Claim(t.Context(), group, dedupKey(2), time.Hour)
		must(t, err)
		must(t, s.Close())
	}
}
