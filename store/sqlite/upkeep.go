package sqlite

import (
	"context"
	"database/sql"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// upkeep is what the store needs beside batches.
type upkeep struct{ s *Store }

// Beat writes the sign of life of holders by the store's clock. Of a token that
// is no longer the current one it writes nothing.
func (u upkeep) Beat(ctx context.Context, holds []rollcall.Hold) error {
	return u.s.write(ctx, "write the sign of life", func(tx *sql.Tx) error {
		for _, h := range holds {
			args := append([]any{u.s.now()}, rows.HolderArgs(h.Group, h.Holder)...)
			_, err := tx.ExecContext(ctx, "UPDATE rollcall_tokens SET beat = ?"+whereHolder+" AND token = ?", append(args, int64(h.Token))...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Tally sums the counters and the states of the rows set aside, by destination.
func (u upkeep) Tally(ctx context.Context, group string) ([]rollcall.Tally, error) {
	if err := u.s.open(); err != nil {
		return nil, err
	}
	var out []rollcall.Tally
	err := each(ctx, u.s.reader, `SELECT destination, SUM(applied), SUM(repeated), SUM(stale), SUM(filtered), SUM(discarded), SUM(copies), SUM(void), SUM(lost),
			SUM(waiting), SUM(dead), SUM(parked) FROM (
		SELECT destination, applied, repeated, stale, filtered, discarded, copies, void, lost, 0 AS waiting, 0 AS dead, 0 AS parked
			FROM rollcall_counts WHERE grp = ?
		UNION ALL
		SELECT destination, 0, 0, 0, 0, 0, 0, 0, 0, state = 'waiting', state = 'dead', state = 'parked'
			FROM rollcall_asides WHERE grp = ? AND `+isOpen+`)
		GROUP BY destination ORDER BY destination`, []any{group, group}, func(r *sql.Rows) error {
		var t rollcall.Tally
		c := &t.Counts
		err := r.Scan(&t.Destination, &c.Applied, &c.Repeated, &c.Stale, &c.Filtered, &c.Discarded, &c.Copies, &c.Void, &c.Lost, &t.Waiting, &t.Dead, &t.Parked)
		out = append(out, t)
		return err
	})
	if err != nil {
		return nil, u.s.wrap("tally", err)
	}
	return out, nil
}

// Sweep removes what is older than the window, in small transactions, so that
// it never holds the write lock for long. Its order matters: first the tokens
// of silent holders are raised, so that a worker that wakes later cannot commit
// a message whose key was removed. After an error what was removed until then
// is removed, and the count says so.
func (u upkeep) Sweep(ctx context.Context, group string, window time.Duration) (rollcall.Swept, error) {
	var swept rollcall.Swept
	now := u.s.config.Now()
	old := rows.Nanos(now.Add(-window))
	w := sweep{s: u.s, group: group, old: old}
	for _, step := range []struct {
		what string
		into *int
		run  func(context.Context) (int, error)
	}{
		{"raise the tokens of silent holders", &swept.Fenced, func(ctx context.Context) (int, error) { return w.fence(ctx, rows.Nanos(now.Add(-window/2))) }},
		{"remove old keys", &swept.Keys, w.keys},
		{"remove rolls of silent senders", &swept.Rolls, w.rolls},
		{"remove finished rows set aside", &swept.Asides, w.asides},
		{"remove old results", &swept.Results, w.results},
		{"remove claims that are over", &swept.Claims, func(ctx context.Context) (int, error) { return w.claims(ctx, rows.Nanos(now)) }},
		{"remove tokens of gone workers", new(int), w.workers},
	} {
		n, err := step.run(ctx)
		*step.into = n
		if err != nil {
			return swept, u.s.wrap("sweep: "+step.what, err)
		}
	}
	return swept, nil
}

// sweep is one run of the sweeper.
type sweep struct {
	s     *Store
	group string
	old   int64 // what is older goes
}

// sweepChunk is how many rows one transaction of the sweeper removes.
const sweepChunk = 500

// fence raises the tokens of holders that were silent and did not give theirs
// back, once each.
func (w sweep) fence(ctx context.Context, silent int64) (int, error) {
	return w.delete(ctx, `UPDATE rollcall_tokens SET token = token + 1, fenced = 1
		WHERE grp = ? AND beat < ? AND released = 0 AND fenced = 0`, w.group, silent)
}

func (w sweep) delete(ctx context.Context, query string, args ...any) (int, error) {
	var n int64
	err := w.s.write(ctx, "sweep", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(n), nil
}

// page walks a table by its key: find reads, beside the writer, up to
// sweepChunk keys of old rows after the one given, remove deletes those that
// are still old. So the lock is held for the deleting only.
func (w sweep) page(ctx context.Context, find, remove string) (int, error) {
	total, after := 0, []byte{}
	for {
		var found []any
		err := each(ctx, w.s.reader, find, []any{w.group, w.old, after, sweepChunk}, func(r *sql.Rows) error {
			var key []byte
			err := r.Scan(&key)
			found, after = append(found, key), key
			return err
		})
		if err != nil || len(found) == 0 {
			return total, err
		}
		n, err := w.delete(ctx, remove+dialect.List(len(found)), append([]any{w.group, w.old}, found...)...)
		total += n
		if err != nil || len(found) < sweepChunk {
			return total, err
		}
	}
}

// keys removes DedupKeys, but for those of messages that wait, are dead or
// parked: a redrive must find them.
func (w sweep) keys(ctx context.Context) (int, error) {
	return w.page(ctx, "SELECT key FROM rollcall_keys WHERE grp = ? AND at < ? AND key > ? ORDER BY key LIMIT ?",
		`DELETE FROM rollcall_keys WHERE grp = ? AND at < ? AND NOT EXISTS (SELECT 1 FROM rollcall_asides a
			WHERE a.grp = rollcall_keys.grp AND a.dedup_key = rollcall_keys.key AND a.dedup_key IS NOT NULL AND a.`+isOpen+`) AND key IN `)
}

// rolls removes the rolls of senders (never of partitions: their offsets do not
// end with a window), but for those of a life with a message that waits, is
// dead or parked.
func (w sweep) rolls(ctx context.Context) (int, error) {
	return w.page(ctx, "SELECT scope FROM rollcall_rolls WHERE grp = ? AND at < ? AND scope > ? AND substr(scope, 1, 1) = x'01' ORDER BY scope LIMIT ?",
		`DELETE FROM rollcall_rolls WHERE grp = ? AND at < ? AND substr(scope, 1, 1) = x'01' AND NOT EXISTS (SELECT 1 FROM rollcall_asides a
			WHERE a.grp = rollcall_rolls.grp AND a.life = substr(rollcall_rolls.scope, 2, 16) AND a.life IS NOT NULL AND a.`+isOpen+`) AND scope IN `)
}

// results removes first results of Once.
func (w sweep) results(ctx context.Context) (int, error) {
	return w.repeat(ctx, "DELETE FROM rollcall_results WHERE rowid IN (SELECT rowid FROM rollcall_results WHERE grp = ? AND at < ? LIMIT ?)",
		w.group, w.old, sweepChunk)
}

// claims removes completed claims whose window is over. A lease that is over is
// kept for the window: its owner may still complete.
func (w sweep) claims(ctx context.Context, now int64) (int, error) {
	return w.repeat(ctx, `DELETE FROM rollcall_claims WHERE rowid IN (SELECT rowid FROM rollcall_claims
		WHERE grp = ? AND until < ? AND (done OR until < ?) LIMIT ?)`, w.group, now, w.old, sweepChunk)
}

// asides removes rows that are done or discarded, and attempts whose message
// never came again.
func (w sweep) asides(ctx context.Context) (int, error) {
	return w.repeat(ctx, `DELETE FROM rollcall_asides WHERE id IN (SELECT id FROM rollcall_asides
		WHERE grp = ? AND updated < ? AND state IN ('attempt', 'done', 'discarded') LIMIT ?)`, w.group, w.old, sweepChunk)
}

// repeat deletes chunk after chunk until one is not full.
func (w sweep) repeat(ctx context.Context, query string, args ...any) (int, error) {
	total := 0
	for {
		n, err := w.delete(ctx, query, args...)
		total += n
		if err != nil || n < sweepChunk {
			return total, err
		}
	}
}

// workers removes the tokens of workers that were silent for the window. Names
// that come again begin above every token removed.
func (w sweep) workers(ctx context.Context) (int, error) {
	var n int64
	const which = " FROM rollcall_tokens WHERE grp = ? AND worker <> '' AND beat < ?"
	err := w.s.write(ctx, "sweep", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE rollcall_schema SET token_base = max(token_base, COALESCE((SELECT max(token)"+which+"), 0))",
			w.group, w.old)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "DELETE"+which, w.group, w.old)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return int(n), err
}
