package sqlite

import (
	"container/list"
	"context"
	"database/sql/driver"
)

const (
	// cachedStatements is how many prepared statements a connection keeps.
	cachedStatements = 128
	// cachedText is the longest text that is kept: longer ones are rare, and
	// they would be the memory.
	cachedText = 64 << 10
)

// cachedStmt is a prepared statement. busy while its rows are being read: a
// second use of the same text meanwhile prepares another one.
type cachedStmt struct {
	text  string
	stmt  driver.Stmt
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	elem  *list.Element // its place in the cache, nil if it has none
	busy  bool
}

// stmtCache keeps the statements used last, by their text. SQLite prepares
// them again by itself when the schema changes.
type stmtCache struct {
	max    int
	byText map[string]*cachedStmt
	used   *list.List // of *cachedStmt, the one used last in front
}

func newStmtCache(max int) *stmtCache {
	return &stmtCache{max: max, byText: map[string]*cachedStmt{}, used: list.New()}
}

// take returns the idle statement of that text, or nil.
func (c *stmtCache) take(text string) *cachedStmt {
	s := c.byText[text]
	if s == nil || s.busy {
		return nil
	}
	s.busy = true
	c.used.MoveToFront(s.elem)
	return s
}

// give takes a statement back, keeps it if there is none of its text, and
// closes the one unused for longest. Texts that end a transaction are not kept:
// they must pass the guard every time.
func (c *stmtCache) give(s *cachedStmt) {
	s.busy = false
	if s.elem != nil {
		return
	}
	if c.byText[s.text] != nil || len(s.text) > cachedText || endsTransaction(s.text) {
		_ = s.stmt.Close()
		return
	}
	c.byText[s.text] = s
	s.elem = c.used.PushFront(s)
	if c.used.Len() > c.max {
		c.evict()
	}
}

func (c *stmtCache) evict() {
	for e := c.used.Back(); e != nil; e = e.Prev() {
		if s := e.Value.(*cachedStmt); !s.busy {
			c.used.Remove(e)
			delete(c.byText, s.text)
			_ = s.stmt.Close()
			return
		}
	}
}

func (c *stmtCache) clear() {
	for _, s := range c.byText {
		_ = s.stmt.Close()
	}
	c.byText = map[string]*cachedStmt{}
	c.used.Init()
}

// columnRows is what the driver's rows can do.
type columnRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

// keptRows gives its statement back when it is closed.
type keptRows struct {
	columnRows
	conn *conn
	stmt *cachedStmt
}

// Next reads a row; an error may mean that SQLite rolled back.
func (r *keptRows) Next(dest []driver.Value) error {
	err := r.columnRows.Next(dest)
	r.conn.explain(err)
	return err
}

// Close ends the reading.
func (r *keptRows) Close() error {
	err := r.columnRows.Close()
	if r.stmt != nil {
		r.conn.cache.give(r.stmt)
		r.stmt = nil
	}
	return err
}

// userStmt is a statement that the user prepared. It obeys the same guard.
type userStmt struct {
	driver.Stmt
	cached *cachedStmt
	conn   *conn
}

// ExecContext runs it.
func (s *userStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.conn.admit(s.cached.text); err != nil {
		return nil, err
	}
	res, err := s.cached.exec.ExecContext(ctx, args)
	s.conn.explain(err)
	return res, err
}

// QueryContext runs it.
func (s *userStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.conn.admit(s.cached.text); err != nil {
		return nil, err
	}
	r, err := s.cached.query.QueryContext(ctx, args)
	s.conn.explain(err)
	return r, err
}
