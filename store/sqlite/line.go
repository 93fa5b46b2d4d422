package sqlite

import (
	"context"
	"time"

	"github.com/gofrs/flock"
)

// SQLite has no queue for its write lock: a process that begins again at once
// after each commit keeps it from the others for as long as it has work. So
// processes stand in line: who wants to write takes a lock on a file beside
// the store first and keeps it until it has the write lock. It orders nothing
// and protects nothing; a process that is stopped in the line is passed by.
type line struct {
	lock      *flock.Flock
	contended bool // somebody else wanted to write the last time
	stuck     bool // nobody moved the last time: pass by at once until somebody does
}

const (
	linePoll     = time.Millisecond
	linePatience = 200 * time.Millisecond // then a process passes by the line
)

// newLine is the line of a store's file. The caller holds the store's turn
// whenever it uses it.
func newLine(path string) *line {
	return &line{lock: flock.New(path+"-line", flock.SetPermissions(0o600))}
}

// stand returns when it is our turn, or nobody moves, or ctx ends. leave must
// be called when the write lock is ours or given up.
func (l *line) stand(ctx context.Context) (leave func()) {
	if l.contended {
		wait(ctx, linePoll+linePoll/2) // those who wait already look every linePoll
	}
	l.contended = false
	patience := linePatience
	if l.stuck {
		patience = 0
	}
	for until := time.Now().Add(patience); ctx.Err() == nil; wait(ctx, linePoll) {
		ok, err := l.lock.TryLock()
		switch {
		case err != nil:
			return func() {} // no line can be kept here: as before
		case ok:
			l.stuck = false
			return func() { _ = l.lock.Unlock() } // it ends with the process at the latest
		}
		l.contended = !l.stuck
		if !time.Now().Before(until) {
			l.stuck = true
			break
		}
	}
	return func() {}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
