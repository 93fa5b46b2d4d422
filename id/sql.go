package id

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Dialect is the SQL text of one kind of database. The table is rollcall_ids:
// a row for each series ("number": the last one given out) and each mark
// ("time": in ticks of 1/4096 ms).
type Dialect struct {
	// Create makes the table unless it is there.
	Create string
	// Ensure inserts the row (kind, name, 0) unless it is there.
	Ensure string
	// Read reads the value of the row (kind, name) and locks it to the end of
	// the transaction.
	Read string
	// Write sets the value of the row: value, kind, name.
	Write string
	// Busy: another transaction was in the way, ours surely changed nothing and
	// is tried again for up to 10 s. Default: no error is one.
	Busy func(error) bool
}

// SQLite needs a handle whose transactions begin IMMEDIATE (_txlock) and that
// writes with synchronous=FULL: OpenFile makes one.
func SQLite() Dialect {
	return Dialect{
		Create: `CREATE TABLE IF NOT EXISTS rollcall_ids (
			kind TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID`,
		Ensure: `INSERT INTO rollcall_ids (kind, name, value) VALUES (?, ?, 0) ON CONFLICT (kind, name) DO NOTHING`,
		Read:   `SELECT value FROM rollcall_ids WHERE kind = ? AND name = ?`,
		Write:  `UPDATE rollcall_ids SET value = ? WHERE kind = ? AND name = ?`,
		Busy:   sqliteBusy,
	}
}

// PostgreSQL is for version 14 or later. state is the SQLSTATE of an error of the
// client in use, "" of any other: this package knows no client of servers. The
// server must keep what it committed (fsync, full_page_writes and
// synchronous_commit on), else numbers come again after a crash.
func PostgreSQL(state func(error) string) Dialect {
	return Dialect{
		Create: `CREATE TABLE IF NOT EXISTS rollcall_ids (
			kind text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, value bigint NOT NULL, PRIMARY KEY (kind, name))`,
		Ensure: `INSERT INTO rollcall_ids (kind, name, value) VALUES ($1, $2, 0) ON CONFLICT (kind, name) DO NOTHING`,
		Read:   `SELECT value FROM rollcall_ids WHERE kind = $1 AND name = $2 FOR UPDATE`,
		Write:  `UPDATE rollcall_ids SET value = $1 WHERE kind = $2 AND name = $3`,
		Busy: func(err error) bool {
			switch state(err) {
			case "40001", "40P01": // a stricter isolation than the usual one, a deadlock
				return true
			case "23505", "42P07", "42710": // two processes made the table: IF NOT EXISTS does not wait for the other
				return true
			}
			return false
		},
	}
}

// MySQL is for MySQL 8 and MariaDB 10.6 or later. Names compare as bytes: the
// usual collations take a and A for one. number is the number of an error of the
// client in use, 0 of any other. The server must keep what it committed
// (innodb_flush_log_at_trx_commit 1), else numbers come again after a crash.
func MySQL(number func(error) uint16) Dialect {
	return Dialect{
		Create: `CREATE TABLE IF NOT EXISTS rollcall_ids (
			kind VARBINARY(10) NOT NULL, name VARBINARY(100) NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (kind, name)) ENGINE=InnoDB`,
		// Not INSERT IGNORE: that hides every other error too.
		Ensure: `INSERT INTO rollcall_ids (kind, name, value) VALUES (?, ?, 0) ON DUPLICATE KEY UPDATE value = value`,
		Read:   `SELECT value FROM rollcall_ids WHERE kind = ? AND name = ? FOR UPDATE`,
		Write:  `UPDATE rollcall_ids SET value = ? WHERE kind = ? AND name = ?`,
		Busy: func(err error) bool {
			n := number(err)
			return n == 1213 || n == 1205 // a deadlock, a wait for a lock that was too long
		},
	}
}

// The kinds of rows.
const (
	kindNumber = "number"
	kindTime   = "time"
)

// SQL is Blocks and Marks in a table of a database. It is as durable as a
// commit of that database is.
type SQL struct {
	db      *sql.DB
	dialect Dialect
	close   func() error
}

// NewSQL makes the table unless it is there; where it is, the user of the handle
// needs the rights to select, insert and update, and none to make tables. The
// handle stays the caller's: Close leaves it open.
func NewSQL(ctx context.Context, db *sql.DB, dialect Dialect) (*SQL, error) {
	s := &SQL{db: db, dialect: dialect, close: func() error { return nil }}
	var value int64
	if err := db.QueryRowContext(ctx, dialect.Read, kindNumber, "").Scan(&value); err == nil || errors.Is(err, sql.ErrNoRows) {
		return s, nil
	}
	err := s.patiently(ctx, func() error {
		_, err := db.ExecContext(ctx, dialect.Create)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("id: create the table rollcall_ids: %w", err)
	}
	return s, nil
}

// patience is how long others may be in the way, poll how often we look. SQLite
// has no queue for its write lock and looks ever more seldom itself: among busy
// processes one would wait for ever.
const (
	patience = 10 * time.Second
	poll     = time.Millisecond
)

// patiently does it again while others are in the way.
func (s *SQL) patiently(ctx context.Context, do func() error) error {
	for until := time.Now().Add(patience); ; {
		err := do()
		if err == nil || s.dialect.Busy == nil || !s.dialect.Busy(err) {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("another process was in the way for %v: %w", patience, err)
		}
		select {
		case <-time.After(poll + rand.N(poll)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close closes the file of OpenFile. Nothing is lost by not closing.
func (s *SQL) Close() error { return s.close() }

// Next implements Blocks.
func (s *SQL) Next(ctx context.Context, name string, size int64) (int64, error) {
	if size < 1 {
		return 0, fmt.Errorf("%w: id: a block of %d numbers: 1 is the least", rollcall.ErrConfig, size)
	}
	last, err := s.change(ctx, kindNumber, name, func(last int64) (int64, error) {
		if last > math.MaxInt64-size {
			return 0, fmt.Errorf("id: series %q: %d was the last, another %d are not left: begin another series", name, last, size)
		}
		return last + size, nil
	})
	return last + 1, err
}

// Raise implements Marks.
func (s *SQL) Raise(ctx context.Context, name string, to int64) (int64, error) {
	return s.change(ctx, kindTime, name, func(mark int64) (int64, error) { return max(mark, to), nil })
}

// change reads a value, writes what next says, commits, and returns what it
// was. Four turns instead of a clever statement: they are the same everywhere,
// and a turn is shared by a block.
func (s *SQL) change(ctx context.Context, kind, name string, next func(int64) (int64, error)) (was int64, err error) {
	if err := checkName(name); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil && !errors.Is(err, rollcall.ErrConfig) {
			err = fmt.Errorf("id: %s of %q from the store: %w", kind, name, err)
		}
	}()
	err = s.patiently(ctx, func() error {
		was, err = s.try(ctx, kind, name, next)
		return err
	})
	return was, err
}

func (s *SQL) try(ctx context.Context, kind, name string, next func(int64) (int64, error)) (was int64, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing
	if _, err := tx.ExecContext(ctx, s.dialect.Ensure, kind, name); err != nil {
		return 0, err
	}
	if err := tx.QueryRowContext(ctx, s.dialect.Read, kind, name).Scan(&was); err != nil {
		return 0, err
	}
	if was < 0 {
		return 0, fmt.Errorf("%w: the row of rollcall_ids says %d: set it above every one given out", rollcall.ErrDamaged, was)
	}
	to, err := next(was)
	if err != nil {
		return 0, err
	}
	if to != was {
		if _, err := tx.ExecContext(ctx, s.dialect.Write, to, kind, name); err != nil {
			return 0, err
		}
	}
	return was, tx.Commit()
}
