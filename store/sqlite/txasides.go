package sqlite

import (
	"context"
	"database/sql"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// txAsides changes the rows set aside.
type txAsides struct{ *Tx }

// anyQueue is asked first: nearly always no row of the group waits at all.
const anyQueue = "SELECT EXISTS (SELECT 1 FROM rollcall_asides WHERE grp = ? AND state = 'waiting' AND key <> x'')"

// Queues reads which of the Keys have rows waiting. The empty Key has no order
// and never any.
func (t txAsides) Queues(ctx context.Context, group string, keys []string) (map[string]rollcall.Queue, error) {
	out := map[string]rollcall.Queue{}
	waits := false
	err := each(ctx, t.tx, anyQueue, []any{group}, func(r *sql.Rows) error { return r.Scan(&waits) })
	if err != nil || !waits {
		return out, t.s.wrap("read which keys wait", err)
	}
	err = chunks(ordered(keys), func(part []string) error {
		args := keyArgs(group, part)
		query := `SELECT key, COALESCE(MIN(CASE early WHEN 0 THEN id END), 0), MAX(early) FROM rollcall_asides
			WHERE grp = ? AND state = 'waiting' AND key <> x'' AND key IN ` + dialect.List(len(part)) + ` GROUP BY key`
		return each(ctx, t.tx, query, args, func(r *sql.Rows) error {
			var key []byte
			var q rollcall.Queue
			if err := r.Scan(&key, &q.First, &q.Early); err != nil {
				return err
			}
			out[string(key)] = q
			return nil
		})
	})
	if err != nil {
		return nil, t.s.wrap("read which keys wait", err)
	}
	return out, nil
}

// ordered leaves out the empty Key.
func ordered(keys []string) []string {
	out := make([]string, 0, len(keys))
	for _, k := range keys {
		if k != "" {
			out = append(out, k)
		}
	}
	return out
}

func keyArgs(first any, keys []string) []any {
	args := make([]any, 0, len(keys)+1)
	args = append(args, first)
	for _, k := range keys {
		args = append(args, []byte(k))
	}
	return args
}

func identityArgs(first any, ids []rollcall.Identity) []any {
	args := make([]any, 0, len(ids)+1)
	args = append(args, first)
	for i := range ids {
		args = append(args, ids[i][:])
	}
	return args
}

// Put inserts rows; of a row that is an attempt the new one takes the place,
// with a new id: it came to wait only now, behind those of its Key that wait
// already. Any other row of the same identity stays and the new one is dropped.
func (t txAsides) Put(ctx context.Context, group string, aside []rollcall.Aside) (int, error) {
	put := 0
	for i := range aside {
		n, err := t.put(ctx, group, &aside[i])
		if err != nil {
			return 0, t.s.wrap("set messages aside", err)
		}
		put += n
	}
	return put, nil
}

func (t txAsides) put(ctx context.Context, group string, a *rollcall.Aside) (int, error) {
	r := rows.NewAside(group, a)
	m := &r.Aside.Message
	if _, err := t.exec(ctx, "DELETE FROM rollcall_asides WHERE grp = ? AND identity = ? AND state = 'attempt'", group, r.Identity); err != nil {
		return 0, err
	}
	n, err := t.exec(ctx, `INSERT INTO rollcall_asides (grp, identity, state, cause, attempts, early, owns_key, due, created, updated,
			dedup_key, life, position, destination, part, key, message_id, time, stamp, headers, body, crc_state, crc_fixed, crc_body)
		VALUES `+dialect.List(24)+` ON CONFLICT (grp, identity) DO NOTHING`,
		group, r.Identity, r.State, a.Cause, a.Attempts, a.Early, a.OwnsKey, r.Due, r.Created, r.Updated,
		r.DedupKey, r.Life(), r.Position, m.Destination, m.Partition, r.Key, r.ID, r.Time, r.Stamp, r.Headers, r.Body,
		r.StateSum, r.FixedSum, r.ContentsSum)
	return int(n), err
}

// Turn changes a row if its state is one of from, and reports whether it did.
// The write lock is held, so nothing comes between the compare and the set.
func (t txAsides) Turn(ctx context.Context, group string, id int64, from []rollcall.AsideState, to rollcall.AsideChange) (bool, error) {
	args := []any{string(to.State), to.Cause, to.Attempts, to.Early, to.OwnsKey, rows.Nanos(to.Due), rows.Nanos(to.Updated),
		rows.StateSum(to.State, to.Cause, to.Attempts, to.Early, to.OwnsKey)}
	set := "state = ?, cause = ?, attempts = ?, early = ?, owns_key = ?, due = ?, updated = ?, crc_state = ?"
	if rows.Over(to.State) {
		set += ", headers = NULL, body = NULL, crc_body = ?"
		args = append(args, rows.NoContents())
	}
	args = append(args, group, id)
	for _, s := range from {
		args = append(args, string(s))
	}
	n, err := t.exec(ctx, "UPDATE rollcall_asides SET "+set+" WHERE grp = ? AND id = ? AND state IN "+dialect.List(len(from)), args...)
	return n == 1, t.s.wrap("turn a row set aside", err)
}

// Wake makes the early rows of the Keys due at a time.
func (t txAsides) Wake(ctx context.Context, group string, keys []string, due time.Time) error {
	err := chunks(ordered(keys), func(part []string) error {
		args := append([]any{rows.Nanos(due)}, keyArgs(group, part)...)
		_, err := t.exec(ctx, `UPDATE rollcall_asides SET due = ? WHERE grp = ? AND state = 'waiting' AND key <> x'' AND early = 1
			AND key IN `+dialect.List(len(part)), args...)
		return err
	})
	return t.s.wrap("wake early rows", err)
}

// Known reads the rows of these identities, in whatever state.
func (t txAsides) Known(ctx context.Context, group string, ids []rollcall.Identity) (map[rollcall.Identity]rollcall.Aside, error) {
	out := map[rollcall.Identity]rollcall.Aside{}
	err := chunks(ids, func(part []rollcall.Identity) error {
		found, err := readAsides(ctx, t.tx, "a.grp = ? AND a.identity IN "+dialect.List(len(part)), identityArgs(group, part)...)
		for _, a := range found {
			out[a.Identity] = a
		}
		return err
	})
	if err != nil {
		return nil, t.s.wrap("look for rows set aside", err)
	}
	return out, nil
}

// DropAttempts deletes the rows of these identities that are attempts.
func (t txAsides) DropAttempts(ctx context.Context, group string, ids []rollcall.Identity) error {
	err := chunks(ids, func(part []rollcall.Identity) error {
		_, err := t.exec(ctx, "DELETE FROM rollcall_asides WHERE grp = ? AND state = 'attempt' AND identity IN "+dialect.List(len(part)),
			identityArgs(group, part)...)
		return err
	})
	return t.s.wrap("drop attempts", err)
}
