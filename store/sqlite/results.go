package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// results keeps first results in a transaction of the caller's.
type results struct {
	s     *Store
	tx    *sql.Tx
	taken int // keys taken and neither kept nor undone: fn may call Once itself
}

// Results keeps the first results of rollcall.Once in a transaction on this
// file: a handler's, or one of DB, which are BEGIN IMMEDIATE, so that two calls of
// one key queue at BEGIN:
//
//	tx, err := store.DB().BeginTx(ctx, nil)
//
// A handle of your own does as well; let it begin IMMEDIATE (_txlock=immediate
// in the name of modernc.org/sqlite). In a deferred transaction Once must come before
// the first read: after it SQLite refuses to let it write as soon as another has
// written. And when SQLite rolls it back by itself (an interrupted write, a full
// disk) fn must not go on: what it did next would stay without a record. A
// transaction of DB refuses that.
func (s *Store) Results(tx *sql.Tx) rollcall.Results { return &results{s: s, tx: tx} }

// mark is the savepoint of Take. One name is enough, they nest.
const mark = "rollcall_once"

// Take inserts first and reads then: the insert takes the write lock, which a
// transaction that has read before may be refused for ever.
func (r *results) Take(ctx context.Context, scope string, key rollcall.DedupKey, content rollcall.Fingerprint) (out rollcall.Recorded, err error) {
	if err := r.exec(ctx, nil, "SAVEPOINT "+mark); err != nil {
		return out, r.wrap("take a key", err)
	}
	r.taken++
	var n int64
	row := rows.Result{Scope: scope, Key: key[:], Content: content[:]}
	err = r.exec(ctx, &n, "INSERT INTO rollcall_results (grp, key, content, at, crc) VALUES "+dialect.List(5)+" ON CONFLICT DO NOTHING",
		scope, row.Key, row.Content, r.s.now(), row.Sum())
	if err == nil && n == 1 {
		return rollcall.Recorded{Fresh: true}, nil
	}
	if err == nil {
		out, err = r.read(ctx, scope, key)
	}
	if undo := r.Undo(ctx); err == nil {
		err = undo
	}
	return out, r.wrap("take a key", err)
}

func (r *results) read(ctx context.Context, scope string, key rollcall.DedupKey) (out rollcall.Recorded, err error) {
	err = each(ctx, r.tx, "SELECT content, done, result, crc FROM rollcall_results WHERE grp = ? AND key = ?", []any{scope, key[:]}, func(r *sql.Rows) error {
		row, crc := rows.Result{Scope: scope, Key: key[:]}, int64(0)
		if err := r.Scan(&row.Content, &row.Done, &row.Result, &crc); err != nil {
			return err
		}
		out, err = row.Open(crc)
		return err
	})
	return out, err
}

// Keep records the result. The row and the savepoint must still be there: else
// the transaction has ended since.
func (r *results) Keep(ctx context.Context, scope string, key rollcall.DedupKey, result []byte) error {
	row := rows.Result{Scope: scope, Key: key[:], Done: true, Result: result}
	err := each(ctx, r.tx, "SELECT content FROM rollcall_results WHERE grp = ? AND key = ? AND NOT done", []any{scope, row.Key},
		func(r *sql.Rows) error { return r.Scan(&row.Content) })
	var n int64
	if err == nil {
		err = r.exec(ctx, &n, "UPDATE rollcall_results SET done = 1, result = ?, at = ?, crc = ? WHERE grp = ? AND key = ? AND NOT done",
			row.Result, r.s.now(), row.Sum(), scope, row.Key)
	}
	if err == nil && n != 1 {
		err = errNotTaken
	}
	if err == nil {
		err = r.exec(ctx, nil, "RELEASE "+mark)
	}
	if err == nil {
		r.taken--
	}
	return r.wrap("keep a result", err)
}

// Undo undoes to the savepoint, whatever ctx says.
func (r *results) Undo(ctx context.Context) error {
	if r.taken == 0 {
		return r.wrap("undo", errNotTaken)
	}
	r.taken--
	ctx = context.WithoutCancel(ctx)
	err := r.exec(ctx, nil, "ROLLBACK TO "+mark)
	if err == nil {
		err = r.exec(ctx, nil, "RELEASE "+mark)
	}
	return r.wrap("undo", err)
}

var errNotTaken = errors.New("the key is not taken in this transaction any more: it was rolled back or has ended since; roll it back and begin anew")

func (r *results) exec(ctx context.Context, n *int64, query string, args ...any) error {
	ctx, err := short(ctx)
	if err != nil {
		return err
	}
	res, err := r.tx.ExecContext(ctx, query, args...)
	if err == nil && n != nil {
		*n, err = res.RowsAffected()
	}
	return err
}

// wrap says what to do about a transaction that is the caller's own.
func (r *results) wrap(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrTxDone):
		return fmt.Errorf("sqlite store %s: %s: the transaction has ended: call Once before Commit: %w", r.s.path, what, err)
	case code(err) == codeBusySnapshot:
		return fmt.Errorf("sqlite store %s: %s: the transaction has read before it wrote, and another has written since; nothing was recorded: "+
			"roll it back and do it again, with BEGIN IMMEDIATE (Store.DB does) or with Once first: %w", r.s.path, what, err)
	case code(err) == codeError && schemaMistake(err.Error()):
		return fmt.Errorf("sqlite store %s: %s: the transaction is of another file; begin it on this one, by Store.DB: %w", r.s.path, what, err)
	}
	return r.s.wrap(what, err)
}
