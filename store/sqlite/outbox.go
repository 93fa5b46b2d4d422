package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// outbox is the send-side table; attempts.go has what it remembers of sending.
type outbox struct{ s *Store }

// outboxRow is a row of rollcall_outbox as it lies there.
type outboxRow struct {
	row                                 rollcall.OutboxRow
	key, id, time, stamp, headers, body []byte
	fixedSum, stampSum                  int64
}

func (r *outboxRow) fill(m *rollcall.Message) {
	r.row.Message = *m
	r.key, r.id = blob(m.Key), blob(string(m.ID))
	r.time, r.stamp = timeBytes(m.Time), stampBytes(m.Stamp)
	r.headers, r.body = headerBytes(m.Headers), m.Body
	r.fixedSum, r.stampSum = r.fixed(), r.stamped()
}

// fixed is the sum over what is written once, stamped over what Stamp writes.
func (r *outboxRow) fixed() int64 {
	return sum(r.row.Message.Destination, r.key, r.time, r.headers, r.body)
}

func (r *outboxRow) stamped() int64 { return sum(r.id, r.stamp, r.row.Message.Partition) }

func (r *outboxRow) open() error {
	m := &r.row.Message
	if r.fixedSum != r.fixed() || r.stampSum != r.stamped() {
		return fmt.Errorf("the message does not match its sum")
	}
	m.Key, m.ID, m.Body = string(r.key), rollcall.MessageID(r.id), r.body
	var err error
	if m.Headers, err = parseHeaders(r.headers); err != nil {
		return err
	}
	if m.Time, err = parseTime(r.time); err != nil {
		return err
	}
	m.Stamp, err = parseStamp(r.stamp)
	return err
}

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
		var r outboxRow
		r.fill(m)
		_, err := tx.ExecContext(ctx, `INSERT INTO rollcall_outbox (destination, part, key, message_id, time, stamp, headers, body, crc_fixed, crc_stamp)
			VALUES `+dialect.List(10), m.Destination, m.Partition, r.key, r.id, r.time, r.stamp, r.headers, r.body, r.fixedSum, r.stampSum)
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
		[]any{after, most(max)}, func(rows *sql.Rows) error {
			var r outboxRow
			m := &r.row.Message
			err := rows.Scan(&r.row.ID, &m.Destination, &m.Partition, &r.key, &r.id, &r.time, &r.stamp, &r.headers, &r.body, &r.fixedSum, &r.stampSum,
				&r.row.Attempt, &r.row.Refusal, &r.row.Doubt)
			if err != nil {
				return err
			}
			if err := r.open(); err != nil {
				return fmt.Errorf("%w: row %d of rollcall_outbox: %w: restore the store from a backup; nothing was skipped",
					rollcall.ErrDamaged, r.row.ID, err)
			}
			out = append(out, r.row)
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
	var r outboxRow
	r.fill(&row.Message)
	res, err := tx.ExecContext(ctx, `UPDATE rollcall_outbox SET stamp = ?, part = ?, message_id = ?, crc_stamp = ?
		WHERE id = ? AND (stamp IS NULL OR stamp = ?)`, r.stamp, row.Message.Partition, r.id, r.stampSum, row.ID, r.stamp)
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
