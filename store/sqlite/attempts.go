package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// Open notes that rows are about to be sent.
func (o outbox) Open(ctx context.Context, hold rollcall.Hold, rows []rollcall.OutboxRow) error {
	return o.s.write(ctx, "open attempts in the outbox", func(tx *sql.Tx) error {
		if err := fence(ctx, tx, hold); err != nil {
			return err
		}
		for _, r := range rows {
			n, err := affected(tx.ExecContext(ctx, `UPDATE rollcall_outbox SET attempt = ?
				WHERE id = ? AND attempt = 0 AND refusal IS NULL AND doubt IS NULL`, hold.Token, r.ID))
			if err != nil {
				return err
			}
			if n != 1 {
				return fmt.Errorf("row %d of the outbox does not wait to be sent: read Pending again; nothing was written", r.ID)
			}
		}
		return nil
	})
}

// Settle writes what became of an attempt, wherever that attempt is still the
// last word.
func (o outbox) Settle(ctx context.Context, row rollcall.OutboxRow, fate rollcall.Fate) (noted bool, err error) {
	if row.Attempt == 0 {
		return false, nil
	}
	query, args := "DELETE FROM rollcall_outbox", []any(nil)
	if fate != rollcall.Stored {
		query, args = "UPDATE rollcall_outbox SET refusal = ?, doubt = ?, attempt = ?", []any{textOrNull(row.Refusal), textOrNull(row.Doubt), 0}
		if row.Doubt != "" {
			args[2] = row.Attempt // a late answer of this very attempt may still come
		}
	}
	err = o.s.write(ctx, "settle an attempt of the outbox", func(tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, query+" WHERE id = ? AND attempt = ? AND refusal IS NULL", append(args, row.ID, row.Attempt)...))
		noted = n == 1
		return err
	})
	return noted && err == nil, err
}

// Kept returns rows that are refused or parked.
func (o outbox) Kept(ctx context.Context, after int64, max int) ([]rollcall.OutboxRow, error) {
	return o.rows(ctx, "refusal IS NOT NULL OR doubt IS NOT NULL", after, max)
}

// Redrive lets rows that are refused or parked be sent again.
func (o outbox) Redrive(ctx context.Context, ids []int64) (int, error) {
	return o.decide(ctx, "redrive rows of the outbox", "UPDATE rollcall_outbox SET refusal = NULL, doubt = NULL, attempt = 0", ids)
}

// Discard deletes rows that are refused or parked.
func (o outbox) Discard(ctx context.Context, ids []int64) (int, error) {
	return o.decide(ctx, "discard rows of the outbox", "DELETE FROM rollcall_outbox", ids)
}

func (o outbox) decide(ctx context.Context, what, query string, ids []int64) (total int, err error) {
	err = o.s.write(ctx, what, func(tx *sql.Tx) error {
		total = 0
		for _, id := range ids {
			n, err := affected(tx.ExecContext(ctx, query+" WHERE id = ? AND (refusal IS NOT NULL OR doubt IS NOT NULL)", id))
			if err != nil {
				return err
			}
			total += n
		}
		return nil
	})
	return total, err
}

func affected(res sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
