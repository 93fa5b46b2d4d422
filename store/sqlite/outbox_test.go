package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

func pending(t testing.TB, s *sqlite.Store, max int) []rollcall.OutboxRow {
	t.Helper()
	rows, err := s.Outbox().Pending(t.Context(), max)
	must(t, err)
	return rows
}

func TestOutbox(t *testing.T) {
	s := openNew(t)
	full := fullAside().Message
	second := rollcall.Message{Destination: "mails", Body: []byte("2"), Time: time.Unix(7, 8).UTC()}
	user, err := s.DB().Begin()
	must(t, err)
	must(t, s.Outbox().Enqueue(t.Context(), user, []rollcall.Message{full, second}))
	if rows := pending(t, s, 10); len(rows) != 0 {
		t.Error("sent before the commit")
	}
	must(t, user.Commit())
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) { // a handler's own
		must(t, s.Outbox().Enqueue(ctx, tx.User(), []rollcall.Message{second}))
	})
	gone, err := s.DB().Begin()
	must(t, err)
	must(t, s.Outbox().Enqueue(t.Context(), gone, []rollcall.Message{second}))
	if err := s.Outbox().Enqueue(t.Context(), gone, []rollcall.Message{{}}); !errors.Is(err, rollcall.ErrConfig) {
		t.Errorf("no destination: %v", err)
	}
	must(t, gone.Rollback())
	rows := pending(t, s, 10)
	want := []rollcall.OutboxRow{{ID: 1, Message: full}, {ID: 2, Message: second}, {ID: 3, Message: second}}
	if d := cmp.Diff(want, rows, wholeBytes); d != "" {
		t.Error(d)
	}
	if rows := pending(t, s, 2); len(rows) != 2 || rows[0].ID != 1 {
		t.Errorf("%v", rows)
	}
	old := hold(worker("relay"), acquire(t, s, worker("relay")))
	relay := hold(worker("relay"), acquire(t, s, worker("relay")))
	rows[1].Message.Stamp = rollcall.Stamp{Life: life(1), Sequence: 1, Origin: 5}
	rows[1].Message.Partition, rows[1].Message.ID = 4, "minted"
	for _, err := range []error{s.Outbox().Stamp(t.Context(), old, rows[1:2]), s.Outbox().Remove(t.Context(), old, rows[:1])} {
		if !errors.Is(err, rollcall.ErrFenced) {
			t.Errorf("an old relay: %v", err)
		}
	}
	must(t, s.Outbox().Stamp(t.Context(), relay, rows[1:2]))
	must(t, s.Outbox().Stamp(t.Context(), relay, rows[1:2])) // redone after a doubt
	want[1].Message = rows[1].Message
	if d := cmp.Diff(want, pending(t, s, 10), wholeBytes); d != "" {
		t.Error(d)
	}
	rows[1].Message.Stamp.Sequence = 2
	if err := s.Outbox().Stamp(t.Context(), relay, rows[1:3]); err == nil {
		t.Error("a message got a second number")
	}
	if d := cmp.Diff(want, pending(t, s, 10), wholeBytes); d != "" {
		t.Error(d)
	}
	rows[1].Refusal = "too large"
	must(t, s.Outbox().Remove(t.Context(), relay, rows[:2]))
	if d := cmp.Diff(want[2:], pending(t, s, 10), wholeBytes); d != "" {
		t.Error(d)
	}
	if n := number(t, s, "SELECT count(*) FROM rollcall_outbox WHERE refusal = 'too large' AND id = 2"); n != 1 {
		t.Error("the refused row was not kept")
	}
	must(t, s.Outbox().Remove(t.Context(), relay, rows[:1]))
	run(t, s, "UPDATE rollcall_outbox SET body = x'00' WHERE id = 3")
	if rows, err := s.Outbox().Pending(t.Context(), 10); err != nil || len(rows) == 0 || rows[0].ID != 3 || !strings.Contains(rows[0].Damage, "row 3") {
		t.Errorf("a damaged message: %+v, %v", rows, err)
	}
}

// Ids are never used again, so a row is never taken for another.
func TestIdsAreNeverUsedAgain(t *testing.T) {
	s := openNew(t)
	relay := hold(worker("relay"), acquire(t, s, worker("relay")))
	for want := int64(1); want < 4; want++ {
		inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
			must(t, s.Outbox().Enqueue(ctx, tx.User(), []rollcall.Message{{Destination: "d"}}))
		})
		rows := pending(t, s, 1)
		if rows[0].ID != want {
			t.Errorf("id %d", rows[0].ID)
		}
		must(t, s.Outbox().Remove(t.Context(), relay, rows))
	}
}
