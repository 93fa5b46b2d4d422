package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

// TestKit is the acceptance test of store drivers on real files.
func TestKit(t *testing.T) { storetest.Run(t, kitHarness) }

func kitHarness(t testing.TB) storetest.Storage[*sql.Tx] {
	path := filepath.Join(t.TempDir(), "store.db")
	open := func(t testing.TB) *sqlite.Store {
		s, err := sqlite.Open(path, sqlite.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	first := open(t)
	if _, err := first.DB().Exec(`CREATE TABLE ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, line TEXT NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	return storetest.Storage[*sql.Tx]{
		Open: func(t testing.TB) rollcall.Store[*sql.Tx] { return open(t) },
		Record: func(ctx context.Context, tx *sql.Tx, line string) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO ledger (line) VALUES (?)`, line)
			return err
		},
		Ledger: func(t testing.TB) []string { return ledger(t, first.DB()) },
		Slow: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO ledger (line)
				WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0`)
			return err
		},
		Results: func(s rollcall.Store[*sql.Tx], tx *sql.Tx) rollcall.Results { return s.(*sqlite.Store).Results(tx) },
	}
}

// TestOnce and TestClaims are the same for what works without the consumer.
func TestOnce(t *testing.T) { storetest.RunOnce(t, kitHarness) }

func TestClaims(t *testing.T) {
	storetest.RunClaims(t, func(t testing.TB) storetest.ClaimStorage {
		path, c := filepath.Join(t.TempDir(), "store.db"), newClock()
		open := func(t testing.TB) *sqlite.Store { return openAt(t, path, sqlite.Config{Now: c.now}) }
		return storetest.ClaimStorage{
			Open: func(t testing.TB) rollcall.Claims { return open(t).Claims() },
			Pass: c.move,
			Sweep: func(t testing.TB, group string, window time.Duration) {
				_, err := open(t).Upkeep().Sweep(t.Context(), group, window)
				must(t, err)
			},
		}
	})
}

func ledger(t testing.TB, db *sql.DB) (lines []string) {
	rows, err := db.Query(`SELECT line FROM ledger ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}
