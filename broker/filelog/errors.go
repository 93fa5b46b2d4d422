package filelog

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/rollcall-mq/rollcall"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	nextRestore = "stop every process that uses it, keep a copy, and restore the log with its -wal and .marks files from a backup"
	nextMarks   = "restore the log and its .marks file from one backup; if the loss is accepted, call filelog.RebuildMarks on it"
)

// damaged says what is damaged, where, and what to do.
func (l *Log) damaged(where, what, next string) error {
	if where != "" {
		where += ": "
	}
	return fmt.Errorf("%w: %s: %s%s; nothing was skipped; %s", rollcall.ErrDamaged, l.path, where, what, next)
}

func (p *part) where() string {
	return fmt.Sprintf("destination %q, partition %d", p.destination, p.number)
}

// explain turns an error of SQLite or the file system into one that says what
// it means for the log and what to do. what is what was being done.
func (l *Log) explain(what string, err error) error {
	var wrongType *scanError
	var file *fs.PathError
	code := sqliteCode(err)
	switch primary := code & 0xff; {
	case code == 0 && !errors.As(err, &wrongType) && !errors.As(err, &file), errors.Is(err, rollcall.ErrDamaged):
		return err // ours: it says all of that already
	case errors.As(err, &wrongType), isDamage(code):
		return l.damaged(what, err.Error(), nextRestore)
	case primary == sqlite3.SQLITE_READONLY && syscall.Access(l.path, 2) == nil:
		return l.damaged(what, "its header forbids writing: "+err.Error(), nextRestore)
	case primary == sqlite3.SQLITE_READONLY:
		return fmt.Errorf("filelog: %s: %s: it cannot be written: %w; make the file and its folder writable", l.path, what, err)
	case primary == sqlite3.SQLITE_BUSY:
		return fmt.Errorf("filelog: %s: %s: another process holds the write lock, is it stopped? (fuser %s): %w", l.path, what, l.path, err)
	case isFull(code), errors.Is(err, syscall.ENOSPC), primary == sqlite3.SQLITE_IOERR && l.free() < 64<<10:
		return &fullError{fmt.Errorf("filelog: disk full: %s: %s: %d bytes free: %w; make room, work goes on by itself", l.path, what, l.free(), err)}
	}
	return fmt.Errorf("filelog: %s: %s: %w", l.path, what, err)
}

// fullError tells a full disk from other trouble.
type fullError struct{ error }

func (e *fullError) Unwrap() error { return errors.Unwrap(e.error) }

func isFull(code int) bool { return code&0xff == sqlite3.SQLITE_FULL }

// isDamage: SQLite found its own structures broken, or tables of ours missing
// or otherwise than we write them.
func isDamage(code int) bool {
	switch code & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT,
		sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_SCHEMA:
		return true
	}
	return code == sqlite3.SQLITE_IOERR_SHORT_READ || code == sqlite3.SQLITE_IOERR_CORRUPTFS
}

// free is how many bytes the file system has left for us.
func (l *Log) free() int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(l.dir(), &s); err != nil {
		return 1 << 62 // not known: do not call the disk full
	}
	return int64(s.Bavail) * s.Bsize
}

// isCommit: the error is of COMMIT itself, so it may have happened.
func isCommit(err error) bool {
	var e *commitError
	return errors.As(err, &e)
}
