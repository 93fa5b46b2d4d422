package figures

import (
	"context"
	"database/sql"
	"path/filepath"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// The textbook, from memory and without a log in front of it, so that it is as
// fast as it can be: a transaction a message, with the driver that everybody
// uses and a disk that syncs as the store's does.

const processed = `CREATE TABLE processed (id TEXT PRIMARY KEY) WITHOUT ROWID`

// perMessage writes each order in a transaction of its own and does what the
// pattern asks for before and after.
func perMessage(before, after func(ctx context.Context, db *sql.DB, id string) error) func(Stage, []rollcall.Message) time.Duration {
	return func(b Stage, messages []rollcall.Message) time.Duration {
		db := openTextbook(b)
		orders := newOrders(len(messages))
		ctx := b.Context()
		return timed(func() {
			for _, o := range orders {
				must(b, before(ctx, db, o.ID))
				_, err := db.ExecContext(ctx, insertOrder, o.ID, o.Account, o.Amount, o.Status, o.Note)
				must(b, err)
				must(b, after(ctx, db, o.ID))
			}
		})
	}
}

func openTextbook(b Stage) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "textbook.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	must(b, err)
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	_, err = db.Exec(ordersTable + "; " + processed)
	must(b, err)
	return db
}

// checkWorkMark: look the id up, work, insert the id.
var checkWorkMark = perMessage(
	func(ctx context.Context, db *sql.DB, id string) error {
		var n int
		return db.QueryRowContext(ctx, "SELECT count(*) FROM processed WHERE id = ?", id).Scan(&n)
	},
	func(ctx context.Context, db *sql.DB, id string) error {
		_, err := db.ExecContext(ctx, "INSERT INTO processed VALUES (?)", id)
		return err
	})

// workThenAck: no record at all.
var workThenAck = perMessage(
	func(context.Context, *sql.DB, string) error { return nil },
	func(context.Context, *sql.DB, string) error { return nil })

// textbookRows are enough for a rate: they are slow.
const textbookRows = 2000

func textbook() []way {
	return []way{
		{"textbook: check, work, mark", 0, false, checkWorkMark},
		{"textbook: work, then ack", 0, false, workThenAck},
	}
}
