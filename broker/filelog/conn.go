package filelog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"net/url"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// conn is one connection with its prepared statements, used by one goroutine
// at a time. Statements run to their end: they are short, and an interrupted
// write would only be less certain.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt
	view  view
}

// dataSource is the connection string. The pragmas come in this order: waiting
// for locks first, as switching to WAL needs one.
func dataSource(path string) string {
	u := url.URL{Scheme: "file", Path: path}
	pragmas := url.Values{"_pragma": {
		"busy_timeout(5000)", "journal_mode(wal)", "synchronous(full)", "foreign_keys(off)",
		"cell_size_check(on)", "wal_autocheckpoint(2000)", "cache_size(-4000)",
	}}
	// A log is opened, never made, by SQLite: Open makes the file, with its mode.
	return u.String() + "?mode=rw&" + pragmas.Encode()
}

func openDB(path string) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(dataSource(path))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(4)
	return db, nil
}

func (l *Log) connect() (*conn, error) {
	c, err := l.db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: make(map[string]*sql.Stmt)}, nil
}

func (c *conn) close() error { return errors.Join(c.closeStatements(), c.c.Close()) }

func (c *conn) closeStatements() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	c.stmts = nil
	return errors.Join(errs...)
}

// discard closes the connection to the file too: after an I/O error nobody
// knows what it remembers.
func (c *conn) discard() {
	// What fails here fails because the connection is bad: that is known. Its
	// statements go first: after a bad connection is closed they point nowhere.
	_ = c.closeStatements()
	_ = c.c.Raw(func(any) error { return driver.ErrBadConn }) // so it is not put back
	_ = c.c.Close()
}

func (c *conn) prepare(query string) (*sql.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.c.PrepareContext(context.Background(), query)
	if err == nil {
		c.stmts[query] = s
	}
	return s, err
}

func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// rows calls scan for every row until it returns false or an error.
func (c *conn) rows(query string, args []any, scan func(*sql.Rows) (bool, error)) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	for more := true; more && rows.Next(); {
		if more, err = scan(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// scanError is a value of a type that we never wrote: damage.
type scanError struct{ cause error }

func (e *scanError) Error() string { return e.cause.Error() }
func (e *scanError) Unwrap() error { return e.cause }

func scan(rows *sql.Rows, into ...any) error {
	if err := rows.Scan(into...); err != nil {
		return &scanError{err}
	}
	return nil
}

// version changes when another connection has committed.
func (c *conn) version() (v int64, err error) {
	err = c.rows("PRAGMA data_version", nil, func(r *sql.Rows) (bool, error) { return false, scan(r, &v) })
	return v, err
}

// begin takes the write lock. Waiting is done here and not by SQLite, whose
// sleeps grow to 100 ms: too slow for a lock that is free most of the time.
// The connection must have no busy_timeout.
func (c *conn) begin(wait time.Duration) error {
	for start := time.Now(); ; {
		_, err := c.exec("BEGIN IMMEDIATE")
		if err == nil || sqliteCode(err)&0xff != sqlite3.SQLITE_BUSY {
			return err
		}
		if time.Since(start) > wait {
			return err
		}
		time.Sleep(100*time.Microsecond + rand.N(500*time.Microsecond))
	}
}

// rollback ends a transaction that failed. That it is gone already is no news.
func (c *conn) rollback() { _, _ = c.exec("ROLLBACK") }

// sqliteCode is SQLite's result code, 0 if the error is not SQLite's.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}
