package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

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
	}
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
