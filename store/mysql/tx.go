package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/saves"
	"github.com/rollcall-mq/rollcall/store/internal/sqlstore"
)

// Tx is one transaction of the store. One goroutine at a time uses it.
type Tx struct {
	direct
	s    *Store
	held *sql.Conn // the connection, ours until finish
	conn *conn     // what it is
	tx   *sql.Tx   // what handlers get
	done bool

	saves saves.Saves
}

// Begin takes a connection and begins. ctx bounds the beginning only.
func (s *Store) Begin(ctx context.Context) (rollcall.Tx[*sql.Tx], error) {
	t, err := s.begin(ctx)
	if err != nil {
		return nil, database{s}.Wrap("begin", err)
	}
	return t, nil
}

// begin tries again when the connection turns out to be dead: the server may
// have ended it while it was idle.
func (s *Store) begin(ctx context.Context) (t *Tx, err error) {
	for range 3 {
		if err := s.open(); err != nil {
			return nil, err
		}
		if t, err = s.beginOnce(ctx); err == nil || !gone(err) || ctx.Err() != nil {
			return t, err
		}
	}
	return nil, err
}

func (s *Store) beginOnce(ctx context.Context) (*Tx, error) {
	held, err := s.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	t := &Tx{s: s, held: held}
	err = held.Raw(func(c any) error { t.conn = c.(*conn); return nil })
	if err == nil {
		// database/sql rolls back behind our back when the context that it began
		// with ends; the contexts of the single statements are honoured.
		t.tx, err = held.BeginTx(context.WithoutCancel(ctx), nil)
	}
	if err != nil {
		_ = held.Close()
		return nil, err
	}
	t.direct = direct{t.tx, s.D}
	t.conn.guard(true)
	return t, nil
}

// User is the transaction for the handler.
func (t *Tx) User() *sql.Tx { return t.tx }

// Records are keys, rolls and counters.
func (t *Tx) Records() rollcall.TxRecords { return sqlstore.Records{Core: t.s.Core, Q: t.direct} }

// Asides are the rows set aside.
func (t *Tx) Asides() rollcall.TxAsides {
	return sqlstore.TxAsides{Records: sqlstore.Records{Core: t.s.Core, Q: t.direct}}
}

// Fence share-locks the token's row and compares.
func (t *Tx) Fence(ctx context.Context, hold rollcall.Hold) error {
	return t.s.Database.Wrap("check the token", sqlstore.Fence(ctx, t.direct, hold))
}

// Usable is nil, or what ended the transaction.
func (t *Tx) Usable() error {
	if t.done {
		return fmt.Errorf("mysql store %s: %w", t.s.name, sql.ErrTxDone)
	}
	return t.conn.usable()
}

// Savepoint marks the present.
func (t *Tx) Savepoint(ctx context.Context) (func(context.Context) error, error) {
	n := t.saves.New()
	if _, err := t.Exec(ctx, "SAVEPOINT "+saves.Name(n)); err != nil {
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
	_, err = t.Exec(ctx, "ROLLBACK TO SAVEPOINT "+saves.Name(n))
	if err == nil {
		_, err = t.Exec(ctx, "RELEASE SAVEPOINT "+saves.Name(n))
	}
	if err != nil { // what is half undone must not be committed
		t.conn.lose(&lostError{err})
		return err
	}
	t.saves.Undone(at)
	return nil
}

// Commit makes it durable. rollcall.ErrInDoubt when there is no answer: it may
// have happened. With any other error it has not.
func (t *Tx) Commit(ctx context.Context) error {
	if t.done {
		return fmt.Errorf("mysql store %s: commit: the transaction has ended already: %w", t.s.name, sql.ErrTxDone)
	}
	if err := errors.Join(ctx.Err(), t.Usable()); err != nil {
		_ = t.Rollback()
		return fmt.Errorf("mysql store %s: commit: not sent, rolled back: %w", t.s.name, err)
	}
	defer t.finish()
	t.conn.end()
	switch err := t.tx.Commit(); {
	case err == nil:
		return nil
	case undone(err):
		return t.s.Database.Wrap("commit (rolled back)", err)
	default:
		return fmt.Errorf("%w: mysql store %s: commit: %w; the batch is redone and finds out", rollcall.ErrInDoubt, t.s.name, err)
	}
}

// undone reports whether a COMMIT that failed with err surely did not happen: it
// was not sent, or the server answered with an error and goes on.
func undone(err error) bool {
	var lost *lostError
	if errors.As(err, &lost) || errors.Is(err, errUserEnded) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrTxDone) {
		return true
	}
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && !cutShort(answer.Number)
}

// Rollback undoes everything. After Commit or Rollback it does nothing.
func (t *Tx) Rollback() error {
	if t.done {
		return nil
	}
	defer t.finish()
	t.conn.end()
	err := t.tx.Rollback()
	if err == nil || errors.Is(err, sql.ErrTxDone) || gone(err) { // the server rolls back when the connection ends
		return nil
	}
	t.conn.stain()
	return t.s.Database.Wrap("roll back", err)
}

// finish gives the connection back.
func (t *Tx) finish() {
	t.done = true
	t.conn.guard(false)
	_ = t.held.Close()
}
