package sqlstore

import (
	"context"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

var _ rollcall.Attempts = Outbox{}

// Open notes that rows are about to be sent. They are locked, and their state
// read, before anything is written.
func (o Outbox) Open(ctx context.Context, hold rollcall.Hold, rs []rollcall.OutboxRow) error {
	return o.Database.Write(ctx, "open attempts in the outbox", func(q Querier) error {
		if err := Fence(ctx, q, hold); err != nil {
			return err
		}
		ids, waits := make([]int64, len(rs)), make(map[int64]bool, len(rs))
		for i := range rs {
			ids[i] = rs[i].ID
		}
		return chunks(o.D, ids, func(part []int64) error {
			which, list := in(o.D, "id", part)
			err := q.Query(ctx, "SELECT id FROM rollcall.outbox WHERE attempt = 0 AND refusal IS NULL AND doubt IS NULL AND "+which+" ORDER BY id FOR UPDATE",
				list, func(r Row) error {
					var id int64
					err := r.Scan(&id)
					waits[id] = true
					return err
				})
			if err != nil {
				return err
			}
			for _, id := range part {
				if !waits[id] {
					return fmt.Errorf("row %d of the outbox does not wait to be sent: read Pending again; nothing was written", id)
				}
			}
			return q.Later(ctx, "UPDATE rollcall.outbox SET attempt = ? WHERE "+which, append(args(int64(hold.Token)), list...)...)
		})
	})
}

// Settle writes what became of an attempt, wherever that attempt is still the
// last word.
func (o Outbox) Settle(ctx context.Context, row rollcall.OutboxRow, fate rollcall.Fate) (noted bool, err error) {
	if row.Attempt == 0 {
		return false, nil
	}
	err = o.Database.Write(ctx, "settle an attempt of the outbox", func(q Querier) error {
		noted = false
		err := q.Query(ctx, "SELECT id FROM rollcall.outbox WHERE id = ? AND attempt = ? AND refusal IS NULL FOR UPDATE", args(row.ID, int64(row.Attempt)),
			func(r Row) error { noted = true; return r.Scan(new(int64)) })
		if err != nil || !noted {
			return err
		}
		if fate == rollcall.Stored {
			return q.Later(ctx, "DELETE FROM rollcall.outbox WHERE id = ?", row.ID)
		}
		attempt := int64(0)
		if row.Doubt != "" {
			attempt = int64(row.Attempt) // a late answer of this very attempt may still come
		}
		return q.Later(ctx, "UPDATE rollcall.outbox SET refusal = ?, doubt = ?, attempt = ? WHERE id = ?",
			bytesOrNull(row.Refusal), bytesOrNull(row.Doubt), attempt, row.ID)
	})
	return noted && err == nil, err
}

func bytesOrNull(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}

// Kept returns rows that are refused or parked.
func (o Outbox) Kept(ctx context.Context, after int64, max int) ([]rollcall.OutboxRow, error) {
	return o.read(ctx, isKept, after, max)
}

const isKept = "refusal IS NOT NULL OR doubt IS NOT NULL"

// Redrive lets rows that are refused or parked be sent again.
func (o Outbox) Redrive(ctx context.Context, ids []int64) (int, error) {
	return o.decide(ctx, "redrive rows of the outbox", "UPDATE rollcall.outbox SET refusal = NULL, doubt = NULL, attempt = 0 WHERE ", ids)
}

// Discard deletes rows that are refused or parked.
func (o Outbox) Discard(ctx context.Context, ids []int64) (int, error) {
	return o.decide(ctx, "discard rows of the outbox", "DELETE FROM rollcall.outbox WHERE ", ids)
}

func (o Outbox) decide(ctx context.Context, what, query string, ids []int64) (total int, err error) {
	err = o.Database.Write(ctx, what, func(q Querier) error {
		total = 0
		return chunks(o.D, ids, func(part []int64) error {
			which, list := in(o.D, "id", part)
			n, err := q.Exec(ctx, query+which+" AND ("+isKept+")", list...)
			total += int(n)
			return err
		})
	})
	return total, err
}
