package sqlstore

import (
	"context"
	"errors"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// Results keeps the first results of rollcall.Once in a transaction of the
// caller's, through Q.
type Results struct {
	*Core
	Q     Querier
	taken int // keys taken and neither kept nor undone: fn may call Once itself
}

// mark is the savepoint of Take; the depth makes its name.
func (r *Results) mark() string { return fmt.Sprintf("rollcall_once_%d", r.taken) }

var errNotTaken = errors.New("the key is not taken in this transaction any more: it was rolled back or has ended since; roll it back and begin anew")

// Take inserts the key, or reads what is recorded. The insert waits for another
// transaction that has the key to end.
func (r *Results) Take(ctx context.Context, scope string, key rollcall.DedupKey, content rollcall.Fingerprint) (out rollcall.Recorded, err error) {
	for {
		fresh, err := r.take(ctx, scope, key, content)
		if err != nil || fresh {
			return rollcall.Recorded{Fresh: fresh}, r.Database.Wrap("take a key", err)
		}
		found := false
		err = r.Q.Query(ctx, "SELECT content, done, result, crc FROM rollcall.results WHERE grp = ? AND dedup_key = ?", args(scope, key[:]), func(q Row) error {
			row, crc := rows.Result{Scope: scope, Key: key[:]}, int64(0)
			if err := q.Scan(&row.Content, &row.Done, &row.Result, &crc); err != nil {
				return err
			}
			found = true
			out, err = row.Open(crc)
			return err
		})
		if err != nil || found { // else it was swept since: take it again
			return out, r.Database.Wrap("take a key", err)
		}
	}
}

func (r *Results) take(ctx context.Context, scope string, key rollcall.DedupKey, content rollcall.Fingerprint) (fresh bool, err error) {
	r.taken++
	if _, err := r.Q.Exec(ctx, "SAVEPOINT "+r.mark()); err != nil {
		r.taken--
		return false, err
	}
	row := rows.Result{Scope: scope, Key: key[:], Content: content[:]}
	query, list := r.D.insert("results", 1, r.D.nothing("grp, dedup_key"), value("grp", "text", scope), list("dedup_key", "bytea", [][]byte{row.Key}),
		value("content", "bytea", row.Content), value("done", "boolean", false), expr("at", "(SELECT {nanos})"), value("crc", "bigint", row.Sum()))
	n, err := r.Q.Exec(ctx, query, list...)
	if err == nil && n == 1 {
		return true, nil
	}
	return false, errors.Join(err, r.undo(ctx))
}

// Keep records the result. The row and the savepoint must still be there: else
// the transaction has ended since.
func (r *Results) Keep(ctx context.Context, scope string, key rollcall.DedupKey, result []byte) error {
	if r.taken == 0 {
		return r.Database.Wrap("keep a result", errNotTaken)
	}
	row, found := rows.Result{Scope: scope, Key: key[:], Done: true, Result: result}, false
	err := r.Q.Query(ctx, "SELECT content FROM rollcall.results WHERE grp = ? AND dedup_key = ? AND done = false", args(scope, row.Key),
		func(q Row) error { found = true; return q.Scan(&row.Content) })
	if err == nil && !found {
		err = errNotTaken
	}
	if err == nil {
		_, err = r.Q.Exec(ctx, "UPDATE rollcall.results SET done = true, result = ?, at = {nanos}, crc = ? WHERE grp = ? AND dedup_key = ?",
			row.Result, row.Sum(), scope, row.Key)
	}
	if err == nil {
		_, err = r.Q.Exec(ctx, "RELEASE SAVEPOINT "+r.mark())
	}
	if err == nil {
		r.taken--
	}
	return r.Database.Wrap("keep a result", err)
}

// Undo undoes to the savepoint, whatever ctx says.
func (r *Results) Undo(ctx context.Context) error { return r.Database.Wrap("undo", r.undo(ctx)) }

func (r *Results) undo(ctx context.Context) error {
	if r.taken == 0 {
		return errNotTaken
	}
	mark := r.mark()
	r.taken--
	ctx = context.WithoutCancel(ctx)
	if _, err := r.Q.Exec(ctx, "ROLLBACK TO SAVEPOINT "+mark); err != nil {
		return err
	}
	_, err := r.Q.Exec(ctx, "RELEASE SAVEPOINT "+mark)
	return err
}

var _ rollcall.Results = (*Results)(nil)
