package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	rollcall "github.com/rollcall-mq/rollcall"
)

// Result codes of SQLite, https://www.sqlite.org/rescode.html. The low byte is
// the primary code.
const (
	codeError      = 1
	codeInternal   = 2
	codePerm       = 3
	codeAbort      = 4
	codeBusy       = 5
	codeLocked     = 6
	codeNoMem      = 7
	codeReadonly   = 8
	codeInterrupt  = 9
	codeIOErr      = 10
	codeCorrupt    = 11
	codeFull       = 13
	codeCantOpen   = 14
	codeProtocol   = 15
	codeSchema     = 17
	codeTooBig     = 18
	codeConstraint = 19
	codeMismatch   = 20
	codeNoLFS      = 22
	codeAuth       = 23
	codeNotADB     = 26

	codeBusySnapshot = codeBusy | 2<<8
	codeIOErrWrite   = codeIOErr | 3<<8
	codeCommitHook   = codeConstraint | 2<<8
)

// errUserEnded: the handler ended a transaction that is not its own to end.
var errUserEnded = errors.New("sqlite store: the transaction belongs to rollcall, a handler must not begin, commit or roll back: " +
	"return nil to have it committed, an error to have it undone; nothing of it was committed")

// errRolledBack: a transaction of the user's own was rolled back, and not by its
// tx.Rollback.
var errRolledBack = errors.New("sqlite store: the transaction was rolled back, nothing of it was committed: redo it")

// lostError: SQLite rolled the transaction back by itself, as it does on a full
// disk, an I/O error or an interrupted write.
type lostError struct{ cause error }

func (e *lostError) Error() string {
	return "sqlite store: SQLite rolled the transaction back, nothing of it was committed, redo it: " + e.cause.Error()
}

func (e *lostError) Unwrap() error { return e.cause }

// code is SQLite's extended result code of an error, 0 if it has none.
func code(err error) int {
	var e interface{ Code() int } // *sqlite.Error of the driver
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// Classify says whose fault an error is. Data (the message's): constraints,
// type mismatches, too large values, the handler's own errors and deadline, a
// handler that ended the transaction. Environment (nobody's): locks, a full,
// read-only, damaged or failing disk, memory, a closed store, a cancelled
// context, and a table or column that is missing: that is a mistake of
// configuration or migration, and it must not use up the messages.
func (s *Store) Classify(err error) rollcall.Class {
	switch {
	case err == nil, errors.Is(err, errUserEnded):
		return rollcall.ClassData
	case errors.Is(err, context.Canceled), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, rollcall.ErrClosed), errors.Is(err, rollcall.ErrDamaged), errors.Is(err, rollcall.ErrInDoubt),
		errors.Is(err, rollcall.ErrConfig):
		return rollcall.ClassEnvironment
	case errors.Is(err, context.DeadlineExceeded):
		return rollcall.ClassData
	}
	switch code(err) & 0xff {
	case codeBusy, codeLocked, codeFull, codeIOErr, codeCantOpen, codeReadonly, codeCorrupt, codeNotADB, codeProtocol,
		codeNoMem, codePerm, codeInterrupt, codeSchema, codeNoLFS, codeAuth, codeInternal, codeAbort:
		return rollcall.ClassEnvironment
	case codeError:
		if schemaMistake(err.Error()) {
			return rollcall.ClassEnvironment
		}
	}
	return rollcall.ClassData
}

// schemaMistake tells, from SQLite's text (there is no code for it), that the
// statement names something that is not there.
func schemaMistake(text string) bool {
	for _, s := range []string{"no such table", "no such column", "has no column named", "no such function", "no such module"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// wrap says where an error happened and what to do about it. ErrFenced and
// errors that explain themselves pass.
func (s *Store) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	c := code(err)
	switch c & 0xff {
	case codeCorrupt, codeNotADB:
		return damaged(s.path, what, err)
	case codeFull:
		return fmt.Errorf("sqlite store %s: %s: the disk is full, nothing was committed; make room, work goes on by itself: %w", s.path, what, err)
	case codeBusy, codeLocked:
		return fmt.Errorf("sqlite store %s: %s: another process holds the write lock for longer than %v, nothing was committed; "+
			"find it (fuser %s) or raise Config.Busy: %w", s.path, what, s.config.Busy, s.path, err)
	case codeReadonly, codePerm, codeCantOpen:
		return fmt.Errorf("sqlite store %s: %s: it cannot be written, nothing was committed; "+
			"the file, its folder and the -wal and -shm files beside it must be writable for this user: %w", s.path, what, err)
	case codeIOErr:
		return fmt.Errorf("sqlite store %s: %s: the disk failed; look at the kernel's log: %w", s.path, what, err)
	}
	if errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("sqlite store %s: %s: %w (%w)", s.path, what, errUserEnded, err)
	}
	return fmt.Errorf("sqlite store %s: %s: %w", s.path, what, err)
}

func damaged(path, what string, err error) error {
	return fmt.Errorf("%w: %s: %s: %w; stop writing to it, copy the file with its -wal and -shm, "+
		"then restore a backup or recover with `sqlite3 %s .recover`", rollcall.ErrDamaged, path, what, err, path)
}

// inDoubt reports whether a COMMIT that failed with err can be durable all the
// same. In WAL mode (sqlite3.c, sqlite3WalFrames and pagerWalFrames) COMMIT
// first appends the frames, the last one marked as the commit, then calls fsync,
// then publishes the frames in the shared index. What a failure means:
//
//   - FULL and IOERR_WRITE come from the appending: the commit frame is not
//     complete, recovery ignores what is there. BUSY, LOCKED, CONSTRAINT (deferred
//     foreign keys, the commit hook), READONLY, NOMEM before it, and "no
//     transaction is active" come before the appending. Not in doubt.
//   - Every other IOERR (fsync, the shared index) may come after the commit
//     frame: the process sees a rollback, but if the machine stops before the
//     next transaction overwrites the frames, recovery finds them whole and
//     commits them. In doubt. So is every error that is none of SQLite's.
//
// The redo is safe either way: it overwrites the frames, or finds the record.
func inDoubt(err error) bool {
	if errors.Is(err, errUserEnded) || errors.Is(err, sql.ErrTxDone) {
		return false
	}
	if lost := (*lostError)(nil); errors.As(err, &lost) {
		return false // it was gone before COMMIT
	}
	switch c := code(err); c & 0xff {
	case codeIOErr:
		return c != codeIOErrWrite
	case codeFull, codeBusy, codeLocked, codeConstraint, codeReadonly, codeError, codeCantOpen:
		return false
	}
	return true
}
