package sqlstore

import (
	"context"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// Outbox is the send-side table, but for Enqueue, whose transaction is of the
// driver's type.
type Outbox struct{ *Core }

// Enqueue writes messages through q, in order.
func (o Outbox) Enqueue(ctx context.Context, q Querier, messages []rollcall.Message) error {
	for i := range messages {
		if messages[i].Destination == "" {
			return fmt.Errorf("%w: outbox: message %d of %d has no Destination: set it; nothing was written",
				rollcall.ErrConfig, i+1, len(messages))
		}
	}
	for len(messages) > 0 {
		part := o.together(messages)
		query, list := o.insert(part)
		if _, err := q.Exec(ctx, query, list...); err != nil {
			return o.Database.Wrap("enqueue", err)
		}
		messages = messages[len(part):]
	}
	return nil
}

// together are the first messages, as many as one statement bears: where lists
// are spelled out a server bounds its bytes (max_allowed_packet, 16 MiB and more).
func (o Outbox) together(messages []rollcall.Message) []rollcall.Message {
	const most = 2 << 20
	n, bytes := 0, 0
	for n < len(messages) && n < o.D.most() && (o.D.Arrays || n == 0 || bytes+messages[n].Size() <= most) {
		bytes += messages[n].Size()
		n++
	}
	return messages[:n]
}

func (o Outbox) insert(messages []rollcall.Message) (string, []any) {
	n := len(messages)
	destinations, parts := make([]string, n), make([]int32, n)
	var columns [6][][]byte
	for i := range columns {
		columns[i] = make([][]byte, n)
	}
	fixed, stamped := make([]int64, n), make([]int64, n)
	for i := range messages {
		r := rows.NewOutbox(&messages[i])
		destinations[i], parts[i] = messages[i].Destination, messages[i].Partition
		for c, v := range [][]byte{r.Key, r.ID, r.Time, r.Stamp, r.Headers, r.Body} {
			columns[c][i] = v
		}
		fixed[i], stamped[i] = r.FixedSum, r.StampSum
	}
	return o.D.insert("outbox", n, "", list("destination", "text", destinations), list("part", "int", parts),
		list("order_key", "bytea", columns[0]), list("message_id", "bytea", columns[1]), list("time", "bytea", columns[2]),
		list("stamp", "bytea", columns[3]), list("headers", "bytea", columns[4]), list("body", "bytea", columns[5]),
		list("crc_fixed", "bigint", fixed), list("crc_stamp", "bigint", stamped))
}

// Pending returns the oldest rows by id, whatever was committed in between: a
// row whose transaction was slow comes with the next call, never "greater than
// the last one seen".
func (o Outbox) Pending(ctx context.Context, max int) ([]rollcall.OutboxRow, error) {
	return o.read(ctx, "refusal IS NULL AND doubt IS NULL", 0, max)
}

// read reads rows that are so, with ids above after.
func (o Outbox) read(ctx context.Context, so string, after int64, max int) ([]rollcall.OutboxRow, error) {
	q, err := o.Database.Read()
	if err != nil {
		return nil, err
	}
	var out []rollcall.OutboxRow
	err = q.Query(ctx, `SELECT id, destination, part, order_key, message_id, time, stamp, headers, body, crc_fixed, crc_stamp, attempt, refusal, doubt
		FROM rollcall.outbox WHERE (`+so+`) AND id > ? ORDER BY id LIMIT ?`, args(after, most(max)), func(found Row) error {
		var r rows.Outbox
		var refusal, doubt []byte
		var attempt int64
		m := &r.Row.Message
		err := found.Scan(&r.Row.ID, &m.Destination, &m.Partition, &r.Key, &r.ID, &r.Time, &r.Stamp, &r.Headers, &r.Body, &r.FixedSum, &r.StampSum,
			&attempt, &refusal, &doubt)
		if err != nil {
			return err
		}
		r.Row.Attempt, r.Row.Refusal, r.Row.Doubt = rollcall.Token(attempt), string(refusal), string(doubt)
		out = append(out, r.Open())
		return nil
	})
	if err != nil {
		return nil, o.Database.Wrap("read the outbox", err)
	}
	return out, nil
}

// Stamp writes stamps, partitions and ids under the relay's token. A row that
// has another stamp already is an error and nothing is written: the message may
// have been sent with it.
func (o Outbox) Stamp(ctx context.Context, hold rollcall.Hold, rs []rollcall.OutboxRow) error {
	return o.Database.Write(ctx, "stamp the outbox", func(q Querier) error {
		if err := Fence(ctx, q, hold); err != nil {
			return err
		}
		if err := o.unstamped(ctx, q, rs); err != nil {
			return err
		}
		for i := range rs {
			r := rows.NewOutbox(&rs[i].Message)
			err := q.Later(ctx, "UPDATE rollcall.outbox SET stamp = ?, part = ?, message_id = ?, crc_stamp = ? WHERE id = ?",
				r.Stamp, rs[i].Message.Partition, r.ID, r.StampSum, rs[i].ID)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// unstamped locks the rows and sees that each has no stamp, or the one that it
// is to get.
func (o Outbox) unstamped(ctx context.Context, q Querier, rs []rollcall.OutboxRow) error {
	want := make(map[int64]string, len(rs))
	ids := make([]int64, len(rs))
	for i := range rs {
		ids[i] = rs[i].ID
		want[ids[i]] = string(rows.StampBytes(rs[i].Message.Stamp))
	}
	err := chunks(o.D, ids, func(part []int64) error {
		which, list := in(o.D, "id", part)
		return q.Query(ctx, "SELECT id, stamp FROM rollcall.outbox WHERE "+which+" ORDER BY id FOR UPDATE", list, func(r Row) error {
			var id int64
			var stamp []byte
			if err := r.Scan(&id, &stamp); err != nil {
				return err
			}
			if stamp == nil || string(stamp) == want[id] {
				delete(want, id)
			}
			return nil
		})
	})
	for id := range want {
		if err == nil {
			err = fmt.Errorf("row %d of the outbox has another stamp already, or is gone: read Pending again; nothing was written", id)
		}
	}
	return err
}

// Remove deletes rows that are Stored, under the relay's token, and keeps those
// with a Refusal. Rows that are gone already are no error.
func (o Outbox) Remove(ctx context.Context, hold rollcall.Hold, rs []rollcall.OutboxRow) error {
	return o.Database.Write(ctx, "clear the outbox", func(q Querier) error {
		if err := Fence(ctx, q, hold); err != nil {
			return err
		}
		var stored []int64
		for _, r := range rs {
			if r.Refusal == "" {
				stored = append(stored, r.ID)
				continue
			}
			if err := q.Later(ctx, "UPDATE rollcall.outbox SET refusal = ? WHERE id = ?", []byte(r.Refusal), r.ID); err != nil {
				return err
			}
		}
		return chunks(o.D, stored, func(part []int64) error {
			which, list := in(o.D, "id", part)
			return q.Later(ctx, "DELETE FROM rollcall.outbox WHERE "+which, list...)
		})
	})
}
