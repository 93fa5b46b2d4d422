package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strings"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// chunk is how many items go into one statement. The driver looks every bound
// value up in a list, so long statements cost the square of their length;
// between 50 and 100 values are fastest.
const chunk = 50

// chunks calls f for pieces of items.
func chunks[T any](items []T, f func([]T) error) error {
	for len(items) > 0 {
		n := min(chunk, len(items))
		if err := f(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// Claim inserts the keys that nobody has. Begin holds the write lock, so a
// concurrent claim has ended before.
func (t *Tx) Claim(ctx context.Context, group string, claims []rollcall.KeyClaim) ([]rollcall.KeyAnswer, error) {
	out := make([]rollcall.KeyAnswer, 0, len(claims))
	now := t.s.now()
	err := chunks(claims, func(part []rollcall.KeyClaim) error {
		answers, err := t.claim(ctx, group, part, now)
		out = append(out, answers...)
		return err
	})
	if err != nil {
		return nil, t.s.wrap("claim keys", err)
	}
	return out, nil
}

// claim inserts all keys: nearly always nobody has any of them, and then there
// is nothing to read. If a key is taken SQLite undoes the statement; then we
// look who has which, and insert the rest: between the two nobody can, we hold
// the write lock. (INSERT … ON CONFLICT … RETURNING does it in one statement,
// and takes half as long again.)
func (t *Tx) claim(ctx context.Context, group string, claims []rollcall.KeyClaim, now int64) ([]rollcall.KeyAnswer, error) {
	out := make([]rollcall.KeyAnswer, len(claims))
	for i := range out {
		out[i].Fresh = true
	}
	err := t.insertKeys(ctx, group, claims, out, now)
	if err == nil || !dialect.SQLite().Conflict(err) {
		return out, err
	}
	if err := t.losers(ctx, group, claims, out); err != nil {
		return nil, err
	}
	return out, t.insertKeys(ctx, group, claims, out, now)
}

// insertKeys inserts the keys that are fresh, all or none.
func (t *Tx) insertKeys(ctx context.Context, group string, claims []rollcall.KeyClaim, out []rollcall.KeyAnswer, now int64) error {
	args := make([]any, 0, 2*len(claims)+2)
	args = append(args, group, now)
	for i := range claims {
		if out[i].Fresh {
			args = append(args, claims[i].Key[:], claims[i].Owner[:])
		}
	}
	fresh := (len(args) - 2) / 2
	if fresh == 0 {
		return nil
	}
	n, err := t.exec(ctx, "INSERT INTO rollcall_keys (grp, at, key, owner) SELECT ?, ?, column1, column2 FROM (VALUES "+
		dialect.Rows(fresh, 2)+")", args...)
	if err == nil && n != int64(fresh) {
		err = fmt.Errorf("%d of %d keys were inserted", n, fresh)
	}
	return err
}

// losers fills in who has the keys that are not free.
func (t *Tx) losers(ctx context.Context, group string, claims []rollcall.KeyClaim, out []rollcall.KeyAnswer) error {
	args := make([]any, 0, len(claims)+1)
	args = append(args, group)
	for i := range claims {
		args = append(args, claims[i].Key[:])
	}
	query := `SELECT k.key, k.owner, EXISTS (SELECT 1 FROM rollcall_asides a WHERE a.grp = k.grp AND a.dedup_key = k.key
			AND a.owns_key = 1 AND a.state IN ('dead', 'parked') AND a.dedup_key IS NOT NULL AND a.state IN ('waiting', 'dead', 'parked'))
		FROM rollcall_keys k WHERE k.grp = ? AND k.key IN ` + dialect.List(len(claims))
	return each(ctx, t.tx, query, args, func(r *sql.Rows) error {
		var key, owner sql.RawBytes
		var held bool
		if err := r.Scan(&key, &owner, &held); err != nil {
			return err
		}
		if len(key) != len(rollcall.DedupKey{}) || len(owner) != len(rollcall.Identity{}) {
			return damaged(t.s.path, "claim keys", fmt.Errorf("the row of key %x has an owner of %d bytes", []byte(key), len(owner)))
		}
		for i := range claims { // a linear look: losers are few
			if claims[i].Key == rollcall.DedupKey(key) {
				out[i] = rollcall.KeyAnswer{Owner: rollcall.Identity(owner), Held: held}
			}
		}
		return nil
	})
}

// Free deletes keys.
func (t *Tx) Free(ctx context.Context, group string, keys []rollcall.DedupKey) error {
	err := chunks(keys, func(part []rollcall.DedupKey) error {
		args := []any{group}
		for i := range part {
			args = append(args, part[i][:])
		}
		_, err := t.exec(ctx, "DELETE FROM rollcall_keys WHERE grp = ? AND key IN "+dialect.List(len(part)), args...)
		return err
	})
	return t.s.wrap("free keys", err)
}

// Lock creates the rows that are missing and reads all, in the order given.
func (t *Tx) Lock(ctx context.Context, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	now := t.s.now()
	err := chunks(scopes, func(part []rollcall.Scope) error {
		args := []any{group, now}
		for _, s := range part {
			b := s.Bytes()
			args = append(args, b, rows.RollSum(group, b, nil))
		}
		_, err := t.exec(ctx, "INSERT INTO rollcall_rolls (grp, at, scope, crc) SELECT ?, ?, column1, column2 FROM (VALUES "+
			dialect.Rows(len(part), 2)+") WHERE true ON CONFLICT DO NOTHING", args...)
		return err
	})
	if err != nil {
		return nil, t.s.wrap("create rolls", err)
	}
	rolls, err := readRolls(ctx, t.tx, group, scopes)
	return rolls, t.s.wrap("lock rolls", err)
}

// Write replaces the data of rolls and their age.
func (t *Tx) Write(ctx context.Context, group string, rolls []rollcall.RollRow) error {
	now := t.s.now()
	for _, r := range rolls {
		b := r.Scope.Bytes()
		_, err := t.exec(ctx, `INSERT INTO rollcall_rolls (grp, scope, data, at, crc) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET data = excluded.data, at = excluded.at, crc = excluded.crc`,
			group, b, r.Data, now, rows.RollSum(group, b, r.Data))
		if err != nil {
			return t.s.wrap("write rolls", err)
		}
	}
	return nil
}

// readRolls reads rolls in the order asked and checks their sums: a damaged
// roll would let messages pass as done that were not.
func readRolls(ctx context.Context, q querier, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	out := make([]rollcall.RollRow, len(scopes))
	at := make(map[string][]int, len(scopes))
	for i, s := range scopes {
		out[i].Scope = s
		at[string(s.Bytes())] = append(at[string(s.Bytes())], i)
	}
	err := chunks(scopes, func(part []rollcall.Scope) error {
		args := []any{group}
		for _, s := range part {
			args = append(args, s.Bytes())
		}
		query := "SELECT scope, data, crc FROM rollcall_rolls WHERE grp = ? AND scope IN " + dialect.List(len(part))
		return each(ctx, q, query, args, func(r *sql.Rows) error {
			var scope, data []byte
			var sum int64
			if err := r.Scan(&scope, &data, &sum); err != nil {
				return err
			}
			if sum != rows.RollSum(group, scope, data) {
				return fmt.Errorf("%w: roll %x of group %q does not match its sum: restore the store from a backup; nothing was skipped",
					rollcall.ErrDamaged, scope, group)
			}
			for _, i := range at[string(scope)] {
				out[i].Data = bytes.Clone(data)
			}
			return nil
		})
	})
	return out, err
}

// Count adds to the counters of a destination.
func (t *Tx) Count(ctx context.Context, group, destination string, slot int32, add rollcall.Counts) error {
	names := []string{"applied", "repeated", "stale", "filtered", "discarded", "copies", "void", "lost"}
	sets := make([]string, len(names))
	for i, n := range names {
		sets[i] = n + " = " + n + " + excluded." + n
	}
	_, err := t.exec(ctx, "INSERT INTO rollcall_counts (grp, destination, slot, "+strings.Join(names, ", ")+") VALUES "+
		dialect.List(11)+" ON CONFLICT DO UPDATE SET "+strings.Join(sets, ", "),
		group, destination, slot, add.Applied, add.Repeated, add.Stale, add.Filtered, add.Discarded, add.Copies, add.Void, add.Lost)
	return t.s.wrap("count", err)
}
