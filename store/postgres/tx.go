package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/saves"
	"github.com/rollcall-mq/rollcall/store/internal/sqlstore"
)

// Tx is one transaction of the store. One goroutine at a time uses it.
//
// Statements whose answer nobody needs wait in queue and travel with the next
// one, BEGIN and the records before COMMIT among them: over a network each turn
// costs more than what it asks for.
type Tx struct {
	s     *Store
	conn  *pgxpool.Conn
	queue []statement
	begun bool  // BEGIN was sent
	lost  error // why the transaction is gone although the store did not end it
	done  bool
	left  func() // closes the answer that a handler may not have read

	saves saves.Saves
}

type statement struct {
	text string
	args []any
	// hear reads an answer that somebody needs. Default: nobody does.
	hear func(pgx.BatchResults) error
}

// Begin takes a connection. BEGIN travels with the first statement. ctx bounds
// the beginning only.
func (s *Store) Begin(ctx context.Context) (rollcall.Tx[pgx.Tx], error) {
	t, err := s.begin(ctx)
	if err != nil {
		return nil, database{s}.Wrap("begin", err)
	}
	return t, nil
}

func (s *Store) begin(ctx context.Context) (*Tx, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	// Said in full: the defaults of a role or a database do not count.
	return &Tx{s: s, conn: conn, queue: []statement{{text: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"}}}, nil
}

// User is the transaction for the handler.
func (t *Tx) User() pgx.Tx { return &userTx{t: t} }

// Records are keys, rolls and counters.
func (t *Tx) Records() rollcall.TxRecords { return sqlstore.Records{Core: t.s.Core, Q: t} }

// Asides are the rows set aside.
func (t *Tx) Asides() rollcall.TxAsides {
	return sqlstore.TxAsides{Records: sqlstore.Records{Core: t.s.Core, Q: t}}
}

// Fence share-locks the token's row and compares.
func (t *Tx) Fence(ctx context.Context, hold rollcall.Hold) error {
	return t.s.Database.Wrap("check the token", sqlstore.Fence(ctx, t, hold))
}

// Later implements sqlstore.Querier.
func (t *Tx) Later(_ context.Context, query string, args ...any) error {
	if err := t.Usable(); err != nil {
		return err
	}
	t.queue = append(t.queue, statement{text: t.s.D.SQL(query), args: args})
	return nil
}

// Expect implements sqlstore.Expecter.
func (t *Tx) Expect(_ context.Context, query string, args []any, begin sqlstore.Answer) error {
	if err := t.Usable(); err != nil {
		return err
	}
	t.queue = append(t.queue, statement{t.s.D.SQL(query), args, func(r pgx.BatchResults) error {
		each, verdict := begin()
		rows, err := r.Query()
		if err := scan(rows, err, each); err != nil {
			return err
		}
		if err := verdict(); err != nil {
			t.lost = t.s.Database.Wrap("check what the batch began with", err)
		}
		return t.lost
	}})
	return nil
}

// Assume implements rollcall.Assumer.
func (t *Tx) Assume(ctx context.Context, group string, keys []string, rolls []rollcall.RollRow) error {
	return sqlstore.TxAsides{Records: sqlstore.Records{Core: t.s.Core, Q: t}}.Assume(ctx, group, keys, rolls)
}

// Confirm implements rollcall.Assumer.
func (t *Tx) Confirm(ctx context.Context) error {
	return t.s.Database.Wrap("begin with what the batch needs", t.flush(ctx))
}

// Exec implements sqlstore.Querier.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = t.send(ctx, &statement{text: t.s.D.SQL(query), args: args}, func(r pgx.BatchResults) error {
		tag, err := r.Exec()
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// Query implements sqlstore.Querier.
func (t *Tx) Query(ctx context.Context, query string, args []any, each func(sqlstore.Row) error) error {
	return t.send(ctx, &statement{text: t.s.D.SQL(query), args: args}, func(r pgx.BatchResults) error {
		rows, err := r.Query()
		return scan(rows, err, each)
	})
}

// flush sends what waits.
func (t *Tx) flush(ctx context.Context) error {
	if len(t.queue) == 0 {
		return t.usable() // an answer half read is the same handler's
	}
	return t.send(ctx, nil, nil)
}

// send sends what waits and last, in one turn, and reads the answer of last.
func (t *Tx) send(ctx context.Context, last *statement, read func(pgx.BatchResults) error) error {
	if err := t.Usable(); err != nil {
		return err
	}
	begun := t.begun
	var b pgx.Batch
	queued := t.unload(&b)
	if last != nil {
		b.Queue(last.text, last.args...)
	}
	results := t.conn.SendBatch(ctx, &b)
	unheard := hear(results, queued)
	err := unheard
	if err == nil && read != nil {
		err = read(results)
	}
	if closing := results.Close(); err == nil {
		err = closing
	}
	if unheard != nil {
		t.notBegun(unheard, begun, queued)
	}
	t.note(err)
	return err
}

// notBegun follows a failure before all of what waited was heard. Nobody may go on
// as if it had been: it waits again, if nothing was sent, or it is over.
func (t *Tx) notBegun(err error, begun bool, queued []statement) {
	switch needed := slices.ContainsFunc(queued, func(q statement) bool { return q.hear != nil }); {
	case !t.conn.Conn().IsClosed() && pgconn.SafeToRetry(err):
		t.queue, t.begun = queued, begun
	case t.lost != nil: // fenced or outdated
	case needed:
		// Not the handler's fault, whose deadline bounded it and who only hears of it.
		t.lost = fmt.Errorf("%w: %w", rollcall.ErrOutdated, t.s.Database.Wrap("begin with what the batch needs", err))
	case !begun && t.idle():
		t.lost = t.s.Database.Wrap("begin", err) // it could not be prepared: BEGIN was not run
	}
}

// idle reports whether the connection lives and is in no transaction.
func (t *Tx) idle() bool {
	conn := t.conn.Conn()
	return !conn.IsClosed() && conn.PgConn().TxStatus() == 'I'
}

// unload puts what waits into a batch.
func (t *Tx) unload(b *pgx.Batch) []statement {
	queued := t.queue
	for _, q := range queued {
		b.Queue(q.text, q.args...)
	}
	t.queue, t.begun = nil, true
	return queued
}

// hear reads the answers to what waited.
func hear(results pgx.BatchResults, queued []statement) (err error) {
	for _, q := range queued {
		if q.hear == nil {
			_, err = results.Exec()
		} else {
			err = q.hear(results)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unheard reports whether an answer that somebody needs is still to come.
func (t *Tx) unheard() bool {
	return slices.ContainsFunc(t.queue, func(q statement) bool { return q.hear != nil })
}

// along sends a handler's batch together with what waits, if that is all that
// the transaction has sent so far: nothing of it can be undone to a savepoint.
// results are those of the batch alone.
func (t *Tx) along(ctx context.Context, b *pgx.Batch) (results pgx.BatchResults, err error) {
	if t.begun {
		if err := t.flush(ctx); err != nil {
			return nil, err
		}
		return t.conn.SendBatch(ctx, b), nil
	}
	if err := t.Usable(); err != nil {
		return nil, err
	}
	all := new(pgx.Batch)
	queued := t.unload(all)
	all.QueuedQueries = append(all.QueuedQueries, b.QueuedQueries...)
	results = t.conn.SendBatch(ctx, all)
	if err = hear(results, queued); err == nil {
		return results, nil
	}
	_ = results.Close()
	if t.lost != nil || t.answered(err) || pgconn.SafeToRetry(err) {
		t.notBegun(err, false, queued)
		t.note(err)
		return nil, err
	}
	// A statement of the batch could not be prepared, or a value not be sent. What
	// waits goes first, and the batch finds its error.
	if !t.idle() {
		if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
			t.notBegun(err, false, queued)
			t.note(err)
			return nil, err
		}
	}
	t.queue, t.begun = queued, false
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	return t.conn.SendBatch(ctx, b), nil
}

// answered reports whether an error is the server's word on something that was
// run, or the end of the connection.
func (t *Tx) answered(err error) bool {
	var answer *pgconn.PgError
	return t.conn.Conn().IsClosed() || errors.As(err, &answer) && !t.idle()
}

// note keeps what an error says of the connection.
func (t *Tx) note(err error) {
	switch status := t.conn.Conn().PgConn().TxStatus(); {
	case t.lost != nil:
	case t.conn.Conn().IsClosed():
		t.lost = fmt.Errorf("postgres store %s: the connection is gone, nothing of the transaction was committed, redo it: %w",
			t.s.name, errors.Join(err, reason(err)))
	case t.begun && status == 'I':
		t.lost = fmt.Errorf("postgres store %s: the transaction has ended by itself; %w", t.s.name, errors.Join(errUserEnded, err))
	}
}

// reason gives one where the connection has none.
func reason(err error) error {
	if err == nil {
		return errors.New("closed")
	}
	return nil
}

// errAborted is a transaction in which nothing works until it is undone.
var errAborted = errors.New("postgres store: a statement failed and its error was ignored: nothing works in this transaction any more (25P02)")

// Usable is nil, or what ended the transaction. An answer that a handler left
// unread is over now: else nothing could be sent any more.
func (t *Tx) Usable() error {
	if t.left != nil && !t.done {
		t.left()
		t.left = nil
	}
	return t.usable()
}

func (t *Tx) usable() error {
	switch {
	case t.done:
		return fmt.Errorf("postgres store %s: %w", t.s.name, pgx.ErrTxClosed)
	case t.lost != nil:
		return t.lost
	case t.begun && t.conn.Conn().PgConn().TxStatus() == 'E':
		return errAborted
	}
	return nil
}

// Savepoint marks the present; it travels with the next statement. Undoing also
// revives a transaction in which a statement failed.
func (t *Tx) Savepoint(ctx context.Context) (func(context.Context) error, error) {
	n := t.saves.New()
	if err := t.Later(ctx, "SAVEPOINT "+saves.Name(n)); err != nil {
		return nil, t.s.Database.Wrap("savepoint", err)
	}
	t.saves.Taken(n)
	return func(ctx context.Context) error { return t.s.Database.Wrap("undo to a savepoint", t.undo(ctx, n)) }, nil
}

func (t *Tx) undo(ctx context.Context, n int) error {
	at, err := t.saves.Find(n)
	if err != nil {
		return err
	}
	// A handler's deadline must not keep its work from being undone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.s.config.Statement)
	defer cancel()
	if err := t.Usable(); errors.Is(err, errAborted) {
		if _, err := t.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT "+saves.Name(n)); err != nil {
			t.note(err)
			return err
		}
	} else if _, err := t.Exec(ctx, "ROLLBACK TO SAVEPOINT "+saves.Name(n)); err != nil {
		return err
	}
	t.saves.Undone(at)
	return t.Later(ctx, "RELEASE SAVEPOINT "+saves.Name(n))
}

// Commit sends what waits and COMMIT, in one turn. rollcall.ErrInDoubt when
// there is no answer: it may have happened. With any other error it has not.
func (t *Tx) Commit(ctx context.Context) error {
	if t.done {
		return fmt.Errorf("postgres store %s: commit: the transaction has ended already: %w", t.s.name, pgx.ErrTxClosed)
	}
	if err := errors.Join(ctx.Err(), t.Usable()); err != nil {
		_ = t.Rollback()
		return fmt.Errorf("postgres store %s: commit: not sent, rolled back: %w", t.s.name, err)
	}
	if t.unheard() { // COMMIT is not sent before the answers are known
		if err := t.flush(ctx); err != nil {
			_ = t.Rollback()
			return fmt.Errorf("postgres store %s: commit: not sent, rolled back: %w", t.s.name, err)
		}
	}
	defer t.finish()
	var tag pgconn.CommandTag
	err := t.send(ctx, &statement{text: "COMMIT"}, func(r pgx.BatchResults) (err error) {
		tag, err = r.Exec()
		return err
	})
	switch {
	case err == nil && tag.String() == "COMMIT":
		return nil
	case err == nil:
		return fmt.Errorf("postgres store %s: commit: the server answered %s: nothing was committed, redo it", t.s.name, tag)
	case undone(err):
		t.s.defers.Store(t.s.defers.Load() || t.s.Classify(err) == rollcall.ClassData)
		return t.s.Database.Wrap("commit (rolled back)", err)
	}
	return fmt.Errorf("%w: postgres store %s: commit: %w; the batch is redone and finds out", rollcall.ErrInDoubt, t.s.name, err)
}

// undone reports whether a COMMIT that failed with err surely did not happen: it
// was not sent, or the server answered with an error and goes on. After a FATAL
// one the session ends, before or after the commit.
func undone(err error) bool {
	if pgconn.SafeToRetry(err) {
		return true
	}
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.SeverityUnlocalized == "ERROR"
}

// Rollback undoes everything. After Commit or Rollback it does nothing.
func (t *Tx) Rollback() error {
	if t.done {
		return nil
	}
	defer t.finish()
	if !t.begun || t.conn.Conn().IsClosed() || t.conn.Conn().PgConn().TxStatus() == 'I' {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		_ = t.conn.Conn().Close(ctx) // the server rolls back when the connection ends
		return t.s.Database.Wrap("roll back", err)
	}
	return nil
}

// finish gives the connection back; the pool closes one that is not idle.
func (t *Tx) finish() {
	t.done = true
	t.conn.Release()
}
