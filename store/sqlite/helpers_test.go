package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// clock is a store's clock that a test moves.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time        { return c.at }
func (c *clock) move(by time.Duration) { c.at = c.at.Add(by) }

func openAt(t testing.TB, path string, config sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(path, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openNew(t testing.TB) *sqlite.Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "store.db"), sqlite.Config{})
}

func openClock(t testing.TB) (*sqlite.Store, *clock) {
	t.Helper()
	c := newClock()
	return openAt(t, filepath.Join(t.TempDir(), "store.db"), sqlite.Config{Now: c.now}), c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func begin(t testing.TB, s *sqlite.Store) rollcall.Tx[*sql.Tx] {
	t.Helper()
	tx, err := s.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// inTx runs f in a transaction and commits it.
func inTx(t testing.TB, s *sqlite.Store, f func(ctx context.Context, tx rollcall.Tx[*sql.Tx])) {
	t.Helper()
	tx := begin(t, s)
	f(t.Context(), tx)
	must(t, tx.Commit(t.Context()))
}

func run(t testing.TB, s *sqlite.Store, query string, args ...any) {
	t.Helper()
	_, err := s.DB().ExecContext(t.Context(), query, args...)
	must(t, err)
}

func number(t testing.TB, s *sqlite.Store, query string, args ...any) int64 {
	t.Helper()
	var n int64
	must(t, s.DB().QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

const group = "billing"

func partition(n int32) rollcall.Holder {
	return rollcall.Holder{Partition: rollcall.Partition{Destination: "orders", Number: n}}
}

func worker(name string) rollcall.Holder { return rollcall.Holder{Worker: name} }

func acquire(t testing.TB, s *sqlite.Store, h rollcall.Holder) rollcall.Acquired {
	t.Helper()
	a, err := s.Acquire(t.Context(), group, []rollcall.Holder{h})
	must(t, err)
	return a[0]
}

func hold(h rollcall.Holder, a rollcall.Acquired) rollcall.Hold {
	return rollcall.Hold{Group: group, Holder: h, Token: a.Token}
}

func dedupKey(n int) (k rollcall.DedupKey) { k[0], k[14], k[15] = 7, byte(n>>8), byte(n); return k }

func identity(n int) (i rollcall.Identity) { i[0], i[14], i[15] = 9, byte(n>>8), byte(n); return i }

func life(n byte) (l rollcall.Life) { l[0], l[15] = 1, n; return l }

// waiting is an aside row that waits.
func waiting(n int, key string, due time.Time) rollcall.Aside {
	return rollcall.Aside{Identity: identity(n), State: rollcall.AsideWaiting, Cause: "failed", Attempts: 1, Due: due, Created: due, Updated: due,
		Message: rollcall.Message{ID: rollcall.MessageID(key), Key: key, Destination: "orders", Body: []byte("body")}}
}

func put(t testing.TB, s *sqlite.Store, rows ...rollcall.Aside) int {
	t.Helper()
	n := 0
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		var err error
		n, err = tx.Asides().Put(ctx, group, rows)
		must(t, err)
	})
	return n
}

func list(t testing.TB, s *sqlite.Store, f rollcall.AsideFilter) []rollcall.Aside {
	t.Helper()
	rows, err := s.Asides().List(t.Context(), group, f)
	must(t, err)
	return rows
}

var everyState = []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked,
	rollcall.AsideAttempt, rollcall.AsideDone, rollcall.AsideDiscarded}

// wholeBytes compares bytes at once: cmp would look at a million of them singly.
var wholeBytes = cmp.Comparer(bytes.Equal)
