package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"strings"

	driversqlite "modernc.org/sqlite"
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
	hooked
}

// hooked calls back when a transaction ends.
type hooked interface {
	RegisterCommitHook(driversqlite.CommitHookFn)
	RegisterRollbackHook(driversqlite.RollbackHookFn)
}

// connector opens connections that keep their prepared statements and guard
// the transactions of the store.
type connector struct {
	driver.Connector
}

// Connect opens one connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	in, ok := raw.(inner)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("sqlite store: the driver's connection %T lacks what this version of rollcall needs", raw)
	}
	n := &conn{inner: in, cache: newStmtCache(cachedStatements)}
	in.RegisterCommitHook(n.onCommit)
	in.RegisterRollbackHook(n.onRollback)
	return n, nil
}

// conn is one connection. database/sql lets one goroutine at a time use it.
//
// While a transaction of the store is open (guarded), nobody but the store can
// end it: COMMIT in whatever disguise is turned into a rollback by SQLite's own
// commit hook, and after any rollback that the store did not ask for every
// further statement is refused. Without that, a statement after an automatic
// rollback would run in a transaction of its own and be durable without the
// record that it was done. The same goes for a transaction of the user's own, in
// which Once records; but that one its owner may end.
type conn struct {
	inner
	cache   *stmtCache
	guarded bool  // a transaction of the store is open
	begun   bool  // a transaction is open that database/sql began, the store's or the user's
	ending  bool  // the store itself is ending it
	lost    error // why it is gone although the store did not end it
	broken  bool  // the connection must not be used again
}

func (c *conn) onCommit() int32 {
	if c.guarded && !c.ending {
		c.lose(errUserEnded)
		return 1 // SQLite rolls back instead
	}
	return 0
}

func (c *conn) onRollback() {
	switch {
	case c.guarded && !c.ending:
		c.lose(errUserEnded)
	case c.begun && !c.guarded: // see driverTx: a rollback that its owner asks for ends begun first
		c.lose(errRolledBack)
	}
}

func (c *conn) lose(why error) {
	if c.lost == nil {
		c.lost = why
	}
}

// guard begins (true) or ends (false) the protection of a transaction.
func (c *conn) guard(on bool) {
	c.guarded, c.ending, c.lost = on, false, nil
}

// explain puts the statement's own error in the place of the hook's general
// one: SQLite rolls back by itself on a full disk, an I/O error, an interrupt.
func (c *conn) explain(err error) {
	if (c.lost == errUserEnded || c.lost == errRolledBack) && err != nil && err != io.EOF && code(err) != codeCommitHook {
		c.lost = &lostError{cause: err}
	}
}

func (c *conn) admit(query string) error {
	if !c.guarded {
		return nil
	}
	if c.lost != nil {
		return c.lost
	}
	if endsTransaction(query) {
		return fmt.Errorf("%w: %q was refused, the transaction goes on", errUserEnded, firstWords(query))
	}
	return nil
}

// ExecContext runs a statement, prepared once for its text.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.lost != nil {
		return nil, c.lost
	}
	s := c.cache.take(query)
	if s == nil {
		if err := c.admit(query); err != nil {
			return nil, err
		}
		var err error
		if s, err = c.prepare(ctx, query); err != nil {
			return nil, err
		}
	}
	res, err := s.exec.ExecContext(ctx, args)
	c.cache.give(s)
	if err != nil {
		c.explain(err)
	}
	return res, err
}

// QueryContext runs a query, prepared once for its text.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c.lost != nil {
		return nil, c.lost
	}
	s := c.cache.take(query)
	if s == nil {
		if err := c.admit(query); err != nil {
			return nil, err
		}
		var err error
		if s, err = c.prepare(ctx, query); err != nil {
			return nil, err
		}
	}
	r, err := s.query.QueryContext(ctx, args)
	if err != nil {
		c.cache.give(s)
		c.explain(err)
		return nil, err
	}
	full, ok := r.(columnRows)
	if !ok {
		_ = r.Close()
		c.cache.give(s)
		return nil, fmt.Errorf("sqlite store: the driver's rows %T lack what this version of rollcall needs", r)
	}
	return &keptRows{columnRows: full, conn: c, stmt: s}, nil
}

func (c *conn) prepare(ctx context.Context, query string) (*cachedStmt, error) {
	st, err := c.inner.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	exec, ok1 := st.(driver.StmtExecContext)
	q, ok2 := st.(driver.StmtQueryContext)
	if !ok1 || !ok2 {
		_ = st.Close()
		return nil, fmt.Errorf("sqlite store: the driver's statement %T lacks what this version of rollcall needs", st)
	}
	return &cachedStmt{text: query, stmt: st, exec: exec, query: q}, nil
}

// PrepareContext prepares a statement that the caller keeps.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.admit(query); err != nil {
		return nil, err
	}
	s, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return &userStmt{Stmt: s.stmt, cached: s, conn: c}, nil
}

// Prepare is PrepareContext for old callers.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// CheckNamedValue spares the values that SQLite takes as they are the general
// conversion.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	switch v.Value.(type) {
	case int64, string, []byte, float64, bool, nil:
		return nil
	}
	return driver.ErrSkip
}

// BeginTx begins a transaction whose end is guarded if the store began it.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	t, err := c.inner.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.begun = true
	return &driverTx{Tx: t, conn: c}, nil
}

// ResetSession drops a connection that failed.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.broken {
		return driver.ErrBadConn
	}
	return c.inner.ResetSession(ctx)
}

// IsValid drops a connection that failed.
func (c *conn) IsValid() bool { return !c.broken && c.inner.IsValid() }

// Close finalizes the statements and gives the file back.
func (c *conn) Close() error {
	c.cache.clear()
	c.inner.RegisterCommitHook(nil)
	c.inner.RegisterRollbackHook(nil)
	return c.inner.Close()
}

// driverTx is the transaction as database/sql ends it.
type driverTx struct {
	driver.Tx
	conn *conn
}

// Commit commits if the store asked for it. A handler's own tx.Commit() rolls
// back and is an error: its effect must not be durable without the record.
func (t *driverTx) Commit() error {
	c := t.conn
	if c.guarded && !c.ending {
		_ = t.Tx.Rollback()
		c.lose(errUserEnded)
		return fmt.Errorf("%w: tx.Commit was turned into a rollback", errUserEnded)
	}
	c.begun = false
	if lost := c.lost; lost != nil {
		if !c.guarded {
			_ = t.Tx.Rollback()
			c.lost = nil
		}
		return lost
	}
	return t.Tx.Commit()
}

// Rollback rolls back. Of a transaction that is gone already it says nothing.
func (t *driverTx) Rollback() error {
	gone := t.conn.lost != nil
	if t.conn.guarded && !t.conn.ending {
		t.conn.lose(errUserEnded)
	}
	t.conn.begun = false
	err := t.Tx.Rollback()
	if !t.conn.guarded {
		t.conn.lost = nil
	}
	if gone {
		return nil
	}
	return err
}

// endsTransaction tells texts that begin or end a transaction by their first
// word; what hides behind another statement the commit hook catches.
func endsTransaction(query string) bool {
	word, rest := cutWord(query)
	switch strings.ToUpper(word) {
	case "COMMIT", "END", "BEGIN":
		return true
	case "ROLLBACK":
		next, more := cutWord(rest)
		if strings.EqualFold(next, "TRANSACTION") {
			next, _ = cutWord(more)
		}
		return !strings.EqualFold(next, "TO")
	}
	return false
}

// cutWord returns the first word after spaces, semicolons and comments.
func cutWord(s string) (word, rest string) {
	for {
		s = strings.TrimLeft(s, " \t\r\n\f;")
		switch {
		case strings.HasPrefix(s, "--"):
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "/*"):
			_, s, _ = strings.Cut(s[2:], "*/")
		default:
			i := 0
			for i < len(s) && (s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z' || s[i] == '_') {
				i++
			}
			return s[:i], s[i:]
		}
	}
}

func firstWords(query string) string {
	query = strings.Join(strings.Fields(query), " ")
	if len(query) > 40 {
		query = strings.ToValidUTF8(query[:40], "") + "…"
	}
	return query
}
