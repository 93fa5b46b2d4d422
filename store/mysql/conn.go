package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall/internal/sqltext"
)

// inner is what the driver's connection can do and we rely on.
type inner interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
}

// conn is one connection.
//
// While a transaction of the store is open (guarded), nobody but the store can
// end it. After an error with which the server ended it, in any transaction
// (begun), every further statement is refused: the server would run it in a
// transaction of its own, durable without the record that it was done.
type conn struct {
	inner
	from *connector
	id   string // the server's number of it
	used time.Time
	// several: the server takes texts of several statements. A handler's text
	// that may be one of those is not sent as it is.
	several bool

	mu      sync.Mutex
	guarded bool  // a transaction of the store is open
	begun   bool  // a transaction is open
	ending  bool  // the store itself is ending it
	stained bool  // a handler may have changed the session
	lost    error // why the transaction is gone although nobody ended it
}

// ownKey marks statements of the store's own: they may use our savepoints.
type ownKey struct{}

func own(ctx context.Context) context.Context { return context.WithValue(ctx, ownKey{}, true) }

// lostError is why a transaction cannot go on.
type lostError struct{ cause error }

func (e *lostError) Error() string {
	return fmt.Sprintf("mysql store: the transaction is gone, nothing of it was committed, redo it: %v", e.cause)
}
func (e *lostError) Unwrap() error { return e.cause }

func (c *conn) lose(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil && c.begun {
		c.lost = why
	}
}

// guard begins (true) or ends (false) the protection of a transaction.
func (c *conn) guard(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guarded, c.ending, c.lost = on, false, nil
}

// end says that the store ends its transaction.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
}

// stain keeps the connection from being used again.
func (c *conn) stain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stained = true
}

// usable is nil or why the transaction is gone.
func (c *conn) usable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil && !c.inner.IsValid() {
		c.lost = &lostError{errors.New("the connection was closed")}
	}
	return c.lost
}

// call is one statement on its way.
type call struct {
	ctx       context.Context
	start     time.Time
	guarded   bool
	procedure bool
	stained   bool // before it
}

// admit says whether a statement may run.
func (c *conn) admit(ctx context.Context, query string) (call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := call{ctx: ctx, start: time.Now(), guarded: c.guarded, stained: c.stained}
	if c.lost != nil {
		return l, c.lost
	}
	if !c.guarded || ctx.Value(ownKey{}) != nil {
		return l, nil
	}
	if word := ends(query); word != "" {
		return l, fmt.Errorf("%w (%s); it was not run", errUserEnded, word)
	}
	verb := append(sqltext.First(query, sqltext.MySQL), "")[0]
	l.procedure = verb == "CALL"
	c.stained = c.stained || !slices.Contains(harmless, verb)
	return l, nil
}

// prepares reports whether a text must be prepared, so that the server looks
// whether it is one statement. database/sql does that after driver.ErrSkip.
func (c *conn) prepares(l call, query string, args []driver.NamedValue) bool {
	if !c.several || l.ctx.Value(ownKey{}) != nil {
		return false
	}
	said := c.from.texts.Of(query, examine)
	// A handler may have changed the session's character set.
	return !said.Sure || l.stained && (!said.plain || len(args) > 0)
}

// harmless are statements that leave the session as it is; others may be run
// too, but the connection is not used again.
var (
	harmless = []string{"", "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "TABLE", "SAVEPOINT", "ROLLBACK", "RELEASE", "DO",
		"EXPLAIN", "DESCRIBE", "DESC", "SHOW"}
	others = []string{"CALL", "SET", "USE", "LOAD", "CREATE", "DROP", "SIGNAL", "GET", "HANDLER"}
)

// ends is what a handler must not say. What is not known is refused: servers
// learn new statements, and those of MariaDB may be programs (REPEAT COMMIT; …).
func ends(query string) string {
	if word := sqltext.Ends(query, sqltext.MySQL); word != "" {
		return word
	}
	words := append(sqltext.First(query, sqltext.MySQL), "", "")
	said := strings.TrimSpace(strings.Join(words, " "))
	switch verb := words[0]; {
	case verb == "SAVEPOINT" && strings.HasPrefix(words[1], "ROLLCALL"),
		verb == "SET" && (words[1] == "STATEMENT" || strings.Contains(strings.ToUpper(query), "AUTOCOMMIT")),
		verb == "LOAD" && words[1] != "DATA" && words[1] != "XML",
		!slices.Contains(harmless, verb) && !slices.Contains(others, verb):
		return said
	}
	return ""
}

// before a procedure a savepoint is set; if it is gone afterwards, the procedure
// has ended the transaction.
func (c *conn) before(l call) error {
	if !l.procedure {
		return nil
	}
	_, err := c.inner.ExecContext(l.ctx, "SAVEPOINT rollcall_call", nil)
	return c.after(l, err)
}

// after looks what an error means for the transaction.
func (c *conn) after(l call, err error) error {
	switch {
	case err == driver.ErrSkip, err == nil && !l.guarded: //nolint: database/sql compares so; rows that are open make a connection invalid, too
		return err
	case !c.inner.IsValid():
		cause := err
		if cause == nil {
			cause = errors.New("the connection was closed")
		}
		c.lose(&lostError{cause})
		if l.ctx.Err() != nil || c.from.reads > 0 && time.Since(l.start) >= c.from.reads {
			c.from.kill(c.id)
		}
		var wire net.Error
		if l.guarded && errors.As(err, &wire) { // so that it is told from a handler's own calls
			return &lostError{err}
		}
	case err != nil && rolledBack(err):
		c.lose(&lostError{err})
	}
	if text := hint(err); text != "" && l.guarded && l.ctx.Value(ownKey{}) == nil { // the store's own errors say it themselves
		return fmt.Errorf("%s%w", text, err)
	}
	return err
}

// left looks, after a procedure, whether the transaction is still there.
func (c *conn) left(l call, err error) error {
	if !l.procedure || !c.inner.IsValid() || err != nil && rolledBack(err) {
		return err
	}
	if _, gone := c.inner.ExecContext(context.WithoutCancel(l.ctx), "RELEASE SAVEPOINT rollcall_call", nil); gone != nil {
		c.lose(fmt.Errorf("%w: a procedure has ended the transaction, what it did until then may be committed", errUserEnded))
		return errors.Join(err, c.usable())
	}
	return err
}

// ExecContext runs a statement.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	l, err := c.admit(ctx, query)
	if err == nil && c.prepares(l, query, args) {
		err = driver.ErrSkip
	}
	if err != nil {
		return nil, err
	}
	if err := c.before(l); err != nil {
		return nil, err
	}
	res, err := c.inner.ExecContext(ctx, query, args)
	return res, c.left(l, c.after(l, err))
}

// QueryContext runs a query. Inside a transaction of the store the whole answer
// is read: others may use the transaction before the rows are.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	l, err := c.admit(ctx, query)
	if err == nil && c.prepares(l, query, args) {
		err = driver.ErrSkip
	}
	if err != nil {
		return nil, err
	}
	if err := c.before(l); err != nil {
		return nil, err
	}
	rows, err := c.inner.QueryContext(ctx, query, args)
	return c.read(l, rows, err)
}

// read ends a query.
func (c *conn) read(l call, rows driver.Rows, err error) (driver.Rows, error) {
	if err == nil && l.guarded {
		rows, err = buffer(rows)
	}
	if err = c.left(l, c.after(l, err)); err != nil {
		return nil, err
	}
	return rows, nil
}

// PrepareContext prepares a statement that the caller keeps.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	l, err := c.admit(ctx, query)
	if err != nil {
		return nil, err
	}
	s, err := c.inner.PrepareContext(ctx, query)
	if err = c.after(l, err); err != nil {
		return nil, err
	}
	return &stmt{Stmt: s, conn: c, text: query}, nil
}

// Prepare is PrepareContext for old callers.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// BeginTx begins a transaction.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	t, err := c.inner.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun, c.lost = true, nil
	return &driverTx{Tx: t, conn: c}, nil
}

// Begin is BeginTx for old callers.
func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

// ResetSession drops a connection that must not be used again, and one that the
// server is about to end.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.stained || time.Since(c.used) > c.from.idle/2 || c.from.gathers.Load() && !c.several {
		return driver.ErrBadConn
	}
	return c.inner.ResetSession(ctx)
}

// IsValid is asked when the connection goes back to its pool.
func (c *conn) IsValid() bool {
	c.used = time.Now()
	return !c.stained && c.inner.IsValid()
}

// Ping asks the server.
func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.inner.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// driverTx is the transaction as database/sql ends it.
type driverTx struct {
	driver.Tx
	conn *conn
}

// finish says why the transaction must not be committed, nil if it may.
func (t *driverTx) finish() error {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guarded && !c.ending && c.lost == nil {
		c.lost = errUserEnded
	}
	lost := c.lost
	c.begun = false
	if !c.guarded {
		c.lost = nil
	}
	return lost
}

// Commit commits if the store asked for it. A handler's own tx.Commit() rolls
// back and is an error: its effect must not be durable without the record.
func (t *driverTx) Commit() error {
	if lost := t.finish(); lost != nil {
		_ = t.Tx.Rollback()
		return lost
	}
	if !t.conn.inner.IsValid() {
		return &lostError{errors.New("the connection was closed before COMMIT was sent")}
	}
	return t.Tx.Commit()
}

// Rollback rolls back. Of a transaction that is gone already it says nothing.
func (t *driverTx) Rollback() error {
	lost := t.finish()
	if err := t.Tx.Rollback(); lost == nil {
		return err
	}
	return nil
}
