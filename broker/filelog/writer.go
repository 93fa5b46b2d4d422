package filelog

import (
	"database/sql"
	"database/sql/driver"
	"errors"

	sqlite3 "modernc.org/sqlite/lib"
)

// commitError is an error of COMMIT itself: SQLite rolled back, but after an
// I/O error the file may say otherwise to the next who reads it.
type commitError struct{ error }

func (e *commitError) Unwrap() error { return e.error }

// write runs do in a transaction that holds the write lock of all processes.
// When it returns nil, what do wrote is synced; when the error is a
// *commitError it may be there; else it surely is not.
func (l *Log) write(do func(*conn) error) error {
	l.writer.Lock()
	defer l.writer.Unlock()
	c, err := l.writerConn()
	if err != nil {
		return err
	}
	if err = c.begin(l.config.LockWait); err == nil {
		if err = do(c); err == nil {
			if _, err = c.exec("COMMIT"); err == nil {
				return nil
			}
			err = &commitError{err}
		}
		c.rollback()
	}
	c.view.forget()
	if keepsConn(err) {
		return err
	}
	l.writer.conn = nil
	c.discard()
	return err
}

// writerConn opens the one connection that writes.
func (l *Log) writerConn() (*conn, error) {
	if l.writer.conn != nil {
		return l.writer.conn, nil
	}
	c, err := l.connect()
	if err != nil {
		return nil, err
	}
	if _, err := c.exec("PRAGMA busy_timeout(0)"); err != nil {
		return nil, errors.Join(err, c.close())
	}
	l.writer.conn = c
	return c, nil
}

// keepsConn: after these a connection is as good as before. After an fsync
// that failed, the next one may succeed without the first one's bytes.
func keepsConn(err error) bool {
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) {
		return false
	}
	switch sqliteCode(err) & 0xff {
	case 0, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT:
		return true
	}
	return false
}

// replaced gives up a reading connection after an error that it should not
// outlive, and returns the one to use from now on.
func (l *Log) replaced(c *conn, err error) *conn {
	if err == nil || keepsConn(err) {
		return c
	}
	fresh, cerr := l.connect()
	if cerr != nil {
		return c // it fails again, and is replaced then
	}
	c.discard()
	return fresh
}
