package specimen

import (
	"context"
	"database/sql"
	"errors"

	"github.com/rollcall-mq/rollcall/verify/fault"
)

// checkThenInsert asks a table in the database whether the id was processed,
// works, and inserts the id: "the table has a primary key, so a message cannot
// be processed twice". Work and insert are two transactions, as when the work
// is another service of the same program.
var checkThenInsert = Pattern{
	Name: "check-then-insert", Idea: "check and insert in two transactions",
	Why: "the table of processed ids has a primary key",
	handle: func(ctx context.Context, w *Worker, m Message) error {
		var one int
		err := w.DB.QueryRowContext(ctx, `SELECT 1 FROM processed WHERE id = ?`, m.ID).Scan(&one)
		if err == nil {
			return w.Queue.Ack(ctx, m) // a duplicate
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := w.work(ctx, m, nil); err != nil {
			return err
		}
		// A duplicate that raced us is no error: it is processed.
		if _, err := w.DB.ExecContext(ctx, `INSERT INTO processed (id) VALUES (?) ON CONFLICT DO NOTHING`, m.ID); err != nil {
			return err
		}
		if err := w.At(ctx, fault.AfterRecord, m); err != nil {
			return err
		}
		return w.ack(ctx, m)
	},
}

// Topic is the one topic of the run.
const Topic = "orders"

// offsetUnconditional keeps the offset in the transaction of the effect and
// starts from it: "exactly once, offset and effect are one commit". It writes
// the offset without a look at who else has written it.
var offsetUnconditional = Pattern{
	Name: "offset-unconditional", Idea: "offset in the effect's transaction, unconditional",
	Why:        "offset and effect are one commit, so they cannot disagree",
	OwnOffsets: true,
	Nearest:    map[fault.Moment]fault.Moment{fault.AfterRecord: fault.AfterEffect},
	handle: func(ctx context.Context, w *Worker, m Message) error {
		err := w.work(ctx, m, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO offsets (topic, next) VALUES (?, ?) ON CONFLICT (topic) DO UPDATE SET next = excluded.next`,
				Topic, m.Offset+1)
			return err
		})
		if err != nil {
			return err
		}
		return w.ack(ctx, m)
	},
}

// NextOffset is where offset-unconditional starts.
func NextOffset(ctx context.Context, db *sql.DB) (int64, error) {
	var next int64
	err := db.QueryRowContext(ctx, `SELECT next FROM offsets WHERE topic = ?`, Topic).Scan(&next)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return next, err
}
