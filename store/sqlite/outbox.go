package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// outbox is the send-side table; attempts.go has what it remembers of sending.
type outbox struct{ s *Store }

// Enqueue writes messages in the user's transaction, in order; they are sent if
// and only if it commits. It may be a handler's transaction or any other on the
// same file.
func (o outbox) Enqueue(ctx context.Context, tx *sql.Tx, messages []rollcall.Message) error {
	for i := range messages {
		m := &messages[i]
		if m.Destination == "" {
			return fmt.Errorf("%w: outbox: message %d of %d has no Destination: set it; the messages before it are in the transaction, roll it back",
				rollcall.ErrConfig, i+1, len(messages))
		}
		r := rows.NewOutbox(m)
		_, err := tx.ExecContext(ctx, `INSERT INTO rollcall_outbox (destination, part, key, message_id, time, stamp, headers, body, crc_fixed, crc_stamp)
			VALUES `+dialect.List(10), m.Destination, m.Partition, r.Key, r.ID, r.Time, r.Stamp, r.Headers, r.Body, r.FixedSum, r.StampSum)
		if err != nil {
			return o.s.wrap("enqueue", err)
		}
	}
	return nil
}

// Pending returns the oldest rows that wait. Ids are given out and become
// visible in one order here, because writers are serial.
func (o outbox) Pending(ctx context.Context, max int) ([]rollcall.OutboxRow, error) {
	return o.rows(ctx, "refusal IS NULL AND doubt IS NULL", 0, max)
}

// rows reads rows that are so, with ids above after.
func (o outbox) rows(ctx context.Context, so string, after int64, max int) ([]rollcall.OutboxRow, error) {
	if err := o.s.open(); err != nil {
		return nil, err
	}
	var out []rollcall.OutboxRow
	err := each(ctx, o.s.reader, `SELECT id, destination, part, key, message_id, time, stamp, headers, body, crc_fixed, crc_stamp,
		attempt, COALESCE(refusal, ''), COALESCE(doubt, '') FROM rollcall_outbox WHERE (`+so+`) AND id > ? ORDER BY id LIMIT ?`,
		[]any{after, most(max)}, func(found *sql.Rows) error {
			var r rows.Outbox
			m := &r.Row.Message
			err := found.Scan(&r.Row.ID, &m.Destination, &m.Partition, &r.Key, &r.ID, &r.Time, &r.Stamp, &r.Headers, &r.Body, &r.FixedSum, &r.StampSum,
				&r.Row.Attempt, &r.Row.Refusal, &r.Row.Doubt)
			if err != nil {
				return err
			}
			out = append(out, r.Open())
			return nil
		})
	if err != nil {
		return nil, o.s.wrap("read the outbox", err)
	}
	return out, nil
}

// Stamp writes stamps, partitions and ids under the relay's token. A row that
// has another stamp already is an error and nothing is written: the message may
// have been sent with it.
func (o outbox) Stamp(ctx context.Context, hold rollcall.Hold, rows []rollcall.OutboxRow) error {
	return o.s.write(ctx, "stamp the outbox", func(tx *sql.Tx) error {
		if err := fence(ctx, tx, hold); err != nil {
			return err
		}
		for i := range rows {
			if err := o.stamp(ctx, tx, &rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (o outbox) stamp(ctx context.Context, tx *sql.Tx, row *rollcall.OutboxRow) error {
	r := rows.NewOutbox(&row.Message)
	res, err := tx.ExecContext(ctx, `UPDATE rollcall_outbox SET stamp = ?, part = ?, message_id = ?, crc_stamp = ?
		WHERE id = ? AND (stamp IS NULL OR stamp = ?)`, r.Stamp, row.Message.Partition, r.ID, r.StampSum, row.ID, r.Stamp)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fmt.Errorf("row %d of the outbox has another stamp already, or is gone: read Pending again; nothing was written", row.ID)
}

// Remove deletes rows that are Stored, under the relay's token, and keeps those
// with a Refusal. Rows that are gone already are no error.
func (o outbox) Remove(ctx context.Context, hold rollcall.Hold, rows []rollcall.OutboxRow) error {
	return o.s.write(ctx, "clear the outbox", func(tx *sql.Tx) error {
		if err := fence(ctx, tx, hold); err != nil {
			return err
		}
		for _, r := range rows {
			query, args := "DELETE FROM rollcall_outbox WHERE id = ?", []any{r.ID}
			if r.Refusal != "" {
				query, args = "UPDATE rollcall_outbox SET refusal = ? WHERE id = ?", []any{r.Refusal, r.ID}
			}
			if _, err := tx.ExecContext(ctx, query, args...); err != nil {
				return err
			}
		}
		return nil
	})
}
