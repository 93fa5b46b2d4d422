package sqlstore

import (
	"context"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// sweep is one run of the sweeper. Rows are found and locked with SKIP LOCKED,
// in pieces: it waits for no batch, and no batch waits for it longer than for one
// piece.
type sweep struct {
	*Core
	group    string
	now, old int64 // what is older than old goes
}

// sweepChunk is how many rows one transaction of the sweeper removes.
const sweepChunk = 500

// isSilent is the condition that the holder of a row of tokens gave no sign of
// life since.
const isSilent = `EXISTS (SELECT 1 FROM rollcall.beats b WHERE b.grp = tokens.grp
	AND b.worker = tokens.worker AND b.destination = tokens.destination AND b.number = tokens.number AND b.beat < ?)`

// fence raises the tokens of holders that were silent and did not give theirs
// back, once each. It waits for a transaction that holds the token.
func (w sweep) fence(ctx context.Context, silent int64) (n int, err error) {
	const what, which = "UPDATE rollcall.tokens SET token = token + 1, fenced = true", "released = false AND fenced = false AND " + isSilent
	if !w.D.Arrays {
		found, err := w.holders(ctx, which, silent)
		for _, h := range found {
			err = w.Database.Write(ctx, "sweep", func(q Querier) error {
				changed, err := q.Exec(ctx, what+whereHolder+" AND "+which, append(rows.HolderArgs(w.group, h), silent)...)
				if err == nil {
					n += int(changed)
				}
				return err
			})
			if err != nil {
				return n, err
			}
		}
		return n, err
	}
	err = w.Database.Write(ctx, "sweep", func(q Querier) error {
		changed, err := q.Exec(ctx, what+" WHERE grp = ? AND "+which, w.group, silent)
		n = int(changed)
		return err
	})
	return n, err
}

// holders reads, without locks, which rows of tokens satisfy a condition. A
// statement that changes rows by the condition locks, on MySQL, every row that it
// looks at: it would wait for each batch in work, and workers for it.
func (w sweep) holders(ctx context.Context, which string, more ...any) (out []rollcall.Holder, err error) {
	q, err := w.Database.Read()
	if err != nil {
		return nil, err
	}
	err = q.Query(ctx, "SELECT worker, destination, number FROM rollcall.tokens WHERE grp = ? AND "+which, append(args(w.group), more...), func(r Row) error {
		var h rollcall.Holder
		err := r.Scan(&h.Worker, &h.Partition.Destination, &h.Partition.Number)
		out = append(out, h)
		return err
	})
	return out, err
}

// page walks a table by a binary column: find locks up to sweepChunk old rows
// after the one given, and remove deletes them.
func (w sweep) page(ctx context.Context, table, column, condition string, conditions ...any) (total int, err error) {
	after := []byte{}
	for {
		var found [][]byte
		err := w.Database.Write(ctx, "sweep", func(q Querier) error {
			found = nil
			query := "SELECT " + column + " FROM rollcall." + table + " WHERE grp = ? AND " + column + " > ? AND " + condition +
				" ORDER BY " + column + " LIMIT ? FOR UPDATE SKIP LOCKED"
			err := q.Query(ctx, query, append(append(args(w.group, after), conditions...), sweepChunk), func(r Row) error {
				var key []byte
				err := r.Scan(&key)
				found = append(found, key)
				return err
			})
			if err != nil || len(found) == 0 {
				return err
			}
			which, list := in(w.D, column, found)
			return q.Later(ctx, "DELETE FROM rollcall."+table+" WHERE grp = ? AND "+which, append(args(w.group), list...)...)
		})
		if err != nil {
			return total, err
		}
		total += len(found)
		if len(found) < sweepChunk {
			return total, nil
		}
		after = found[len(found)-1]
	}
}

// keys removes DedupKeys, but for those of messages that wait, are dead or
// parked: a redrive must find them.
func (w sweep) keys(ctx context.Context) (int, error) {
	return w.page(ctx, "inbox", "dedup_key", `at < ? AND NOT EXISTS (SELECT 1 FROM rollcall.asides a
		WHERE a.grp = inbox.grp AND a.dedup_key = inbox.dedup_key AND a.`+isOpen+`)`, w.old)
}

// rolls removes the rolls of senders (never of partitions: their offsets do not
// end with a window), but for those of a life with a message that waits, is
// dead or parked.
func (w sweep) rolls(ctx context.Context) (int, error) {
	return w.page(ctx, "rolls", "scope", `at < ? AND substr(scope, 1, 1) = ? AND NOT EXISTS (SELECT 1 FROM rollcall.asides a
		WHERE a.grp = rolls.grp AND a.life = substr(rolls.scope, 2, 16) AND a.`+isOpen+`)`, w.old, []byte{1})
}

// asides removes rows that are done or discarded, and attempts whose message
// never came again.
func (w sweep) asides(ctx context.Context) (int, error) {
	return w.page(ctx, "asides", "identity", "updated < ? AND state IN ('attempt', 'done', 'discarded')", w.old)
}

// results removes first results of Once.
func (w sweep) results(ctx context.Context) (int, error) {
	return w.page(ctx, "results", "dedup_key", "at < ?", w.old)
}

// claims removes completed claims whose window is over. A lease that is over is
// kept for the window: its owner may still complete.
func (w sweep) claims(ctx context.Context) (int, error) {
	return w.page(ctx, "claims", "dedup_key", "ends < ? AND (done = true OR ends < ?)", w.now, w.old)
}

// workers removes the tokens of workers that were silent for the window. Names
// that come again begin above every token removed.
func (w sweep) workers(ctx context.Context) (n int, err error) {
	const which = "worker <> '' AND " + isSilent
	var holders []rollcall.Holder
	if !w.D.Arrays {
		if holders, err = w.holders(ctx, which, w.old); err != nil || len(holders) == 0 {
			return 0, err
		}
	}
	err = w.Database.Write(ctx, "sweep", func(q Querier) error {
		var highest int64
		err := q.Query(ctx, "SELECT COALESCE(MAX(token), 0) FROM rollcall.tokens WHERE grp = ? AND "+which, args(w.group, w.old),
			func(r Row) error { return r.Scan(&highest) })
		if err != nil || highest == 0 {
			return err
		}
		err = q.Later(ctx, "UPDATE rollcall.schema_version SET token_base = CASE WHEN token_base < ? THEN ? ELSE token_base END", highest, highest)
		if err != nil {
			return err
		}
		if n, err = w.remove(ctx, q, holders, which, highest); err != nil {
			return err
		}
		return q.Later(ctx, `DELETE FROM rollcall.beats WHERE grp = ? AND worker <> '' AND beat < ? AND NOT EXISTS (SELECT 1 FROM rollcall.tokens t
			WHERE t.grp = beats.grp AND t.worker = beats.worker AND t.destination = beats.destination AND t.number = beats.number)`, w.group, w.old)
	})
	return n, err
}

// remove deletes rows of tokens: those of the holders, or all of the condition
// where a statement locks no others.
func (w sweep) remove(ctx context.Context, q Querier, holders []rollcall.Holder, which string, highest int64) (n int, err error) {
	if w.D.Arrays {
		deleted, err := q.Exec(ctx, "DELETE FROM rollcall.tokens WHERE grp = ? AND "+which+" AND token <= ?", w.group, w.old, highest)
		return int(deleted), err
	}
	for _, h := range holders {
		deleted, err := q.Exec(ctx, "DELETE FROM rollcall.tokens"+whereHolder+" AND "+which+" AND token <= ?", append(rows.HolderArgs(w.group, h), w.old, highest)...)
		if err != nil {
			return n, err
		}
		n += int(deleted)
	}
	return n, nil
}
