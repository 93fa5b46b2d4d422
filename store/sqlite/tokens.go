package sqlite

import (
	"context"
	"database/sql"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// whereHolder is the primary key of a holder's row.
const whereHolder = " WHERE grp = ? AND worker = ? AND destination = ? AND number = ?"

// Acquire raises the token of each holder by one, all in one transaction. A
// holder without a row begins above every token that was ever deleted. It waits
// for a transaction of the previous owner as Begin does.
func (s *Store) Acquire(ctx context.Context, group string, holders []rollcall.Holder) ([]rollcall.Acquired, error) {
	out := make([]rollcall.Acquired, len(holders))
	err := s.write(ctx, "acquire tokens", func(tx *sql.Tx) error {
		for i, h := range holders {
			a, err := acquire(ctx, tx, group, h, s.now())
			if err != nil {
				return err
			}
			out[i] = a
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func acquire(ctx context.Context, tx *sql.Tx, group string, h rollcall.Holder, now int64) (rollcall.Acquired, error) {
	var token int64
	a, found := rollcall.Acquired{Clean: true}, false
	err := each(ctx, tx, "SELECT token, released FROM rollcall_tokens"+whereHolder, rows.HolderArgs(group, h), func(r *sql.Rows) error {
		found = true
		return r.Scan(&token, &a.Clean)
	})
	if err == nil && !found {
		err = each(ctx, tx, "SELECT token_base FROM rollcall_schema", nil, func(r *sql.Rows) error { return r.Scan(&token) })
	}
	if err != nil {
		return a, err
	}
	a.Token = rollcall.Token(token + 1)
	_, err = tx.ExecContext(ctx, `INSERT INTO rollcall_tokens (grp, worker, destination, number, token, released, beat) VALUES (?, ?, ?, ?, ?, 0, ?)
		ON CONFLICT DO UPDATE SET token = excluded.token, released = 0, fenced = 0, beat = excluded.beat`,
		append(rows.HolderArgs(group, h), token+1, now)...)
	return a, err
}

// Release marks tokens as cleanly given back; an older one is ignored.
func (s *Store) Release(ctx context.Context, holds []rollcall.Hold) error {
	return s.write(ctx, "release tokens", func(tx *sql.Tx) error {
		for _, h := range holds {
			_, err := tx.ExecContext(ctx, "UPDATE rollcall_tokens SET released = 1"+whereHolder+" AND token = ?",
				append(rows.HolderArgs(h.Group, h.Holder), int64(h.Token))...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// fence compares a token with the current one.
func fence(ctx context.Context, q querier, hold rollcall.Hold) error {
	current, found := int64(0), false
	err := each(ctx, q, "SELECT token FROM rollcall_tokens"+whereHolder, rows.HolderArgs(hold.Group, hold.Holder), func(r *sql.Rows) error {
		found = true
		return r.Scan(&current)
	})
	if err != nil {
		return err
	}
	return rows.Fence(hold, current, found)
}

// now is the store's clock as it is kept: nanoseconds since 1970.
func (s *Store) now() int64 { return s.config.Now().UnixNano() }
