package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/saves"
)

// Tx is one transaction of the store. One goroutine at a time uses it.
type Tx struct {
	s    *Store
	conn *sql.Conn // the physical connection, ours until finish
	tx   *sql.Tx   // what handlers get
	done bool

	saves saves.Saves
}

// Begin waits for its turn and for the write lock, and begins. The handler's
// *sql.Tx (User) is an ordinary one, but nobody can end it from outside:
// tx.Commit rolls back and is an error, COMMIT, ROLLBACK and BEGIN as text are
// refused, and once the transaction is gone, whoever ended it, every further
// statement and the store's Commit fail. A statement whose context ends while
// it writes rolls the whole transaction back, that is SQLite's rule.
//
// Errors: of ctx; ClassEnvironment when another process holds the lock for
// longer than Config.Busy. After an error nothing is open.
func (s *Store) Begin(ctx context.Context) (rollcall.Tx[*sql.Tx], error) {
	t, err := s.begin(ctx)
	if err != nil {
		return nil, s.wrap("begin", err)
	}
	return t, nil
}

func (s *Store) begin(ctx context.Context) (*Tx, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the turn to write: %w", ctx.Err())
	case <-s.closed:
		return nil, s.open()
	}
	t, err := s.beginTurn(ctx)
	if err != nil {
		<-s.turn
		return nil, err
	}
	return t, nil
}

// beginTurn begins with the turn in hand. SQLite's own waiting for the lock
// cannot be interrupted, so it is done in short pieces.
func (s *Store) beginTurn(ctx context.Context) (*Tx, error) {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return nil, err
	}
	// database/sql rolls back behind our back when the context that it began
	// with ends. The store decides when a transaction ends, so it gets one that
	// does not; the contexts of the single statements are honoured.
	lasting := context.WithoutCancel(ctx)
	defer s.line.stand(ctx)()
	for start := time.Now(); ; {
		if err = ctx.Err(); err != nil {
			break
		}
		var tx *sql.Tx
		if tx, err = conn.BeginTx(lasting, nil); err == nil {
			t := &Tx{s: s, conn: conn, tx: tx}
			t.guard(true)
			return t, nil
		}
		if c := code(err) & 0xff; c != codeBusy && c != codeLocked || time.Since(start) > s.config.Busy {
			break
		}
	}
	_ = conn.Close()
	return nil, err
}

// raw calls f with the connection itself; false when it is gone.
func (t *Tx) raw(f func(*conn)) bool {
	return t.conn.Raw(func(c any) error { f(c.(*conn)); return nil }) == nil
}

func (t *Tx) guard(on bool) { t.raw(func(c *conn) { c.guard(on) }) }

// finish gives connection and turn back.
func (t *Tx) finish() {
	t.done = true
	t.guard(false)
	_ = t.conn.Close()
	<-t.s.turn
}

// User is the transaction for the handler.
func (t *Tx) User() *sql.Tx { return t.tx }

// Records are keys, rolls and counters.
func (t *Tx) Records() rollcall.TxRecords { return t }

// Asides are the rows set aside.
func (t *Tx) Asides() rollcall.TxAsides { return txAsides{t} }

// Fence compares the token. Begin has locked the whole file already, so a plain
// read is a locking one here. A holder that is unknown (the sweeper removed it)
// is fenced as well.
func (t *Tx) Fence(ctx context.Context, hold rollcall.Hold) error {
	return t.s.wrap("check the token", fence(ctx, t.tx, hold))
}

func (t *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, err := short(ctx)
	if err != nil {
		return 0, err
	}
	res, err := t.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Savepoint marks the present. The function undoes what was done since, the
// savepoints taken since included; undoing twice, or after an earlier one was
// undone, is an error and changes nothing. Savepoints that are not undone need
// no end.
func (t *Tx) Savepoint(ctx context.Context) (func(context.Context) error, error) {
	n := t.saves.New()
	if _, err := t.exec(ctx, "SAVEPOINT "+saves.Name(n)); err != nil {
		return nil, t.s.wrap("savepoint", err)
	}
	t.saves.Taken(n)
	return func(ctx context.Context) error { return t.s.wrap("undo to a savepoint", t.undo(ctx, n)) }, nil
}

func (t *Tx) undo(ctx context.Context, n int) error {
	at, err := t.saves.Find(n)
	if err != nil {
		return err
	}
	// A handler's deadline must not keep its work from being undone.
	ctx = context.WithoutCancel(ctx)
	if _, err := t.exec(ctx, "ROLLBACK TO "+saves.Name(n)); err != nil {
		return err
	}
	if _, err := t.exec(ctx, "RELEASE "+saves.Name(n)); err != nil {
		return err
	}
	t.saves.Undone(at)
	return nil
}

// Usable is nil, or what ended the transaction: SQLite rolls back on its own
// when the disk is full or a writing statement is interrupted.
func (t *Tx) Usable() error {
	var lost error
	if !t.raw(func(c *conn) { lost = c.lost }) {
		lost = sql.ErrConnDone
	}
	return lost
}

// Commit makes it durable; when it returns nil, it survives a power cut.
// rollcall.ErrInDoubt when it may have happened (see inDoubt); with any other
// error it has not. A context that has ended before COMMIT is sent is such an
// error; afterwards the context is not looked at, COMMIT is never interrupted.
func (t *Tx) Commit(ctx context.Context) error {
	if t.done {
		return fmt.Errorf("sqlite store %s: commit: the transaction has ended already: %w", t.s.path, sql.ErrTxDone)
	}
	if err := ctx.Err(); err != nil {
		_ = t.Rollback()
		return fmt.Errorf("sqlite store %s: commit: not sent, rolled back: %w", t.s.path, err)
	}
	defer t.finish()
	var lost error
	alive := t.raw(func(c *conn) {
		c.ending = true
		lost = c.lost
	})
	if !alive {
		lost = sql.ErrConnDone
	}
	if lost != nil {
		_ = t.tx.Rollback()
		return fmt.Errorf("sqlite store %s: commit: %w", t.s.path, lost)
	}
	err := t.s.committed(t.tx.Commit())
	if errors.Is(err, rollcall.ErrInDoubt) {
		// The connection may hold pages that never reached the disk.
		t.raw(func(c *conn) { c.broken = true })
	}
	return err
}

// committed says whether a COMMIT that SQLite answered with err happened.
func (s *Store) committed(err error) error {
	switch {
	case err == nil:
		return nil
	case inDoubt(err):
		return fmt.Errorf("%w: sqlite store %s: commit: %w; the batch is redone and finds out", rollcall.ErrInDoubt, s.path, err)
	}
	return s.wrap("commit (rolled back)", err)
}

// Rollback undoes everything. After Commit or Rollback it does nothing.
func (t *Tx) Rollback() error {
	if t.done {
		return nil
	}
	defer t.finish()
	gone := false
	t.raw(func(c *conn) {
		c.ending = true
		gone = c.lost != nil
	})
	err := t.tx.Rollback()
	if err == nil || gone || errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	t.raw(func(c *conn) { c.broken = true })
	return t.s.wrap("roll back", err)
}

// write runs f in a transaction of its own.
func (s *Store) write(ctx context.Context, what string, f func(*sql.Tx) error) error {
	t, err := s.begin(ctx)
	if err != nil {
		return s.wrap(what, err)
	}
	if err := f(t.tx); err != nil {
		_ = t.Rollback()
		return s.wrap(what, err)
	}
	if err := t.Commit(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
