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
)

func fullAside() rollcall.Aside {
	at := time.Date(2026, 3, 1, 2, 3, 4, 567891234, time.UTC)
	return rollcall.Aside{
		ID: 1, Identity: identity(1), State: rollcall.AsideDead, Cause: "why\x00 \xff", Attempts: 4, Early: true, OwnsKey: true, DedupKey: dedupKey(2),
		Created: at, Updated: at.Add(time.Second), Due: at.Add(-time.Hour),
		Position: rollcall.Position{Incarnation: [16]byte{1, 15: 9}, Offset: 1<<62 + 1, LeaderEpoch: -3},
		Message: rollcall.Message{ID: "id\x00\xfe", Destination: "orders", Partition: -7, Key: "key\xff\x00", Body: []byte("body\x00\xff" + strings.Repeat("x", 1<<20)),
			Headers: []rollcall.Header{{Name: "a", Value: []byte{0, 255}}, {Name: "a", Value: []byte("again")}, {Name: "", Value: []byte{}}},
			Time:    time.Date(1999, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", 5400)),
			Stamp:   rollcall.Stamp{Life: life(3), Lane: 1<<32 - 1, Sequence: 1<<64 - 1, Origin: 1<<64 - 1, OwnID: true}},
	}
}

func TestAsideRoundTrip(t *testing.T) {
	s := openNew(t)
	full, bare := fullAside(), rollcall.Aside{ID: 2, Identity: identity(2), State: rollcall.AsideParked}
	if n := put(t, s, full, bare); n != 2 {
		t.Errorf("put %d", n)
	}
	if d := cmp.Diff([]rollcall.Aside{full, bare}, list(t, s, rollcall.AsideFilter{}), wholeBytes); d != "" {
		t.Error(d)
	}
	tx := begin(t, s)
	known, err := tx.Asides().Known(t.Context(), group, []rollcall.Identity{identity(1), identity(2), identity(3)})
	must(t, err)
	if d := cmp.Diff(map[rollcall.Identity]rollcall.Aside{identity(1): full, identity(2): bare}, known, wholeBytes); d != "" {
		t.Error(d)
	}
	if known, err = tx.Asides().Known(t.Context(), "other", []rollcall.Identity{identity(1)}); err != nil || len(known) != 0 {
		t.Errorf("another group: %v %v", known, err)
	}
}

func TestPut(t *testing.T) {
	s := openNew(t)
	at := time.Unix(100, 0).UTC()
	attempt, first := waiting(1, "k", at), waiting(2, "k", at)
	attempt.State = rollcall.AsideAttempt
	if n := put(t, s, attempt, first); n != 2 {
		t.Error(n)
	}
	// The attempt turns into a row that waits, behind the one that waits already.
	now := waiting(1, "k", at)
	now.Cause = "now"
	again := waiting(2, "k", at)
	again.Cause = "again"
	if n := put(t, s, now, again, now); n != 1 {
		t.Errorf("%d rows put, want 1", n)
	}
	rows := list(t, s, rollcall.AsideFilter{States: everyState})
	if len(rows) != 2 || rows[0].Identity != identity(2) || rows[0].Cause != "failed" || rows[1].Cause != "now" || rows[1].State != rollcall.AsideWaiting {
		t.Errorf("%+v", rows)
	}
	for _, state := range everyState {
		row := waiting(10, "k", at)
		row.State = state
		run(t, s, "DELETE FROM rollcall_asides WHERE identity = ?", row.Identity[:])
		put(t, s, row)
		want := 0
		if state == rollcall.AsideAttempt {
			want = 1
		}
		if n := put(t, s, row); n != want {
			t.Errorf("put over %s: %d", state, n)
		}
	}
}

func TestTurn(t *testing.T) {
	s := openNew(t)
	at := time.Unix(100, 0).UTC()
	turn := func(g string, id int64, to rollcall.AsideChange, from ...rollcall.AsideState) bool {
		ok := false
		inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
			var err error
			ok, err = tx.Asides().Turn(ctx, g, id, from, to)
			must(t, err)
		})
		return ok
	}
	row := fullAside()
	row.State = rollcall.AsideWaiting
	put(t, s, row, waiting(7, "other", at))
	to := rollcall.AsideChange{State: rollcall.AsideParked, Cause: "doubt", Attempts: 9, Due: at, Updated: at.Add(time.Minute)}
	if turn(group, 1, to, rollcall.AsideDead, rollcall.AsideParked) || turn(group, 1, to) || turn(group, 99, to, rollcall.AsideWaiting) ||
		turn("other", 1, to, rollcall.AsideWaiting) {
		t.Error("turned without the compare")
	}
	if !turn(group, 1, to, rollcall.AsideDead, rollcall.AsideWaiting) {
		t.Error("not turned")
	}
	if turn(group, 1, to, rollcall.AsideWaiting) {
		t.Error("turned twice")
	}
	want := row
	want.State, want.Cause, want.Attempts, want.Early, want.OwnsKey, want.Due, want.Updated = to.State, to.Cause, to.Attempts, false, false, to.Due, to.Updated
	if d := cmp.Diff(want, list(t, s, rollcall.AsideFilter{IDs: []int64{1}})[0], wholeBytes); d != "" {
		t.Error(d)
	}
	for _, state := range []rollcall.AsideState{rollcall.AsideDone, rollcall.AsideDiscarded} {
		to.State = state
		turn(group, 1, to, everyState...)
		want.State, want.Message.Body, want.Message.Headers = state, nil, nil
		if d := cmp.Diff(want, list(t, s, rollcall.AsideFilter{States: everyState})[0], wholeBytes); d != "" {
			t.Error(d)
		}
	}
	if rows := list(t, s, rollcall.AsideFilter{}); len(rows) != 1 || rows[0].Identity != identity(7) || rows[0].State != rollcall.AsideWaiting {
		t.Errorf("another row changed: %+v", rows)
	}
}

func TestDue(t *testing.T) {
	s := openNew(t)
	now := time.Unix(1000, 0).UTC()
	row := func(n int, key string, due int, change ...func(*rollcall.Aside)) rollcall.Aside {
		a := waiting(n, key, now.Add(time.Duration(due)*time.Second))
		a.Created, a.Updated = now.Add(-time.Hour), now.Add(-time.Hour)
		for _, c := range change {
			c(&a)
		}
		return a
	}
	early := func(a *rollcall.Aside) { a.Early = true }
	late := func(a *rollcall.Aside) { a.Updated = now.Add(time.Nanosecond) }
	state := func(s rollcall.AsideState) func(*rollcall.Aside) { return func(a *rollcall.Aside) { a.State = s } }
	put(t, s,
		row(1, "a", 5),          // 1 not due, and holds back 2
		row(2, "a", -5),         // 2
		row(3, "b", 0),          // 3 due
		row(4, "b", -5),         // 4 behind 3
		row(5, "", -1),          // 5 due: no order
		row(6, "", -1),          // 6 due: no order
		row(7, "c", 5, late),    // 7 the clock was set back
		row(8, "d", -1, early),  // 8 due
		row(9, "d", -1),         // 9 due: an early one holds nobody back
		row(10, "d", -1, early), // 10 due: and is held back by nobody
		row(11, "e", 5, early),  // 11 not due
		row(12, "f", -1, state(rollcall.AsideDead)),    // never due
		row(13, "f", -1, state(rollcall.AsideAttempt)), // never due
		row(14, "f", -1), // 14 due: the dead one holds nobody back
		row(15, "g", -1, state(rollcall.AsideParked)),
		row(16, "g", -1, state(rollcall.AsideDone)),
	)
	ids := func(max int) (out []int64) {
		rows, err := s.Asides().Due(t.Context(), group, now, max)
		must(t, err)
		for _, r := range rows {
			out = append(out, r.ID)
		}
		return out
	}
	want := []int64{3, 5, 6, 7, 8, 9, 10, 14}
	if d := cmp.Diff(want, ids(100), wholeBytes); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[:2], ids(2), wholeBytes); d != "" {
		t.Error(d)
	}
	rows, err := s.Asides().Due(t.Context(), "other", now, 10)
	must(t, err)
	if len(rows) != 0 {
		t.Error("another group's rows")
	}
}

func TestQueuesAndWake(t *testing.T) {
	s := openNew(t)
	at := time.Unix(100, 0).UTC()
	early := waiting(3, "b", at)
	early.Early = true
	both := waiting(4, "a", at)
	both.Early = true
	dead := waiting(5, "c", at)
	dead.State = rollcall.AsideDead
	attempt := waiting(6, "d", at)
	attempt.State = rollcall.AsideAttempt
	put(t, s, waiting(1, "a", at), waiting(2, "a", at), early, both, dead, attempt, waiting(7, "", at))
	woken := at.Add(-time.Minute)
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		q, err := tx.Asides().Queues(ctx, group, []string{"", "a", "b", "c", "d", "e"})
		must(t, err)
		if d := cmp.Diff(map[string]rollcall.Queue{"a": {First: 1, Early: true}, "b": {Early: true}}, q, wholeBytes); d != "" {
			t.Error(d)
		}
		q, err = tx.Asides().Queues(ctx, group, []string{"b"})
		must(t, err)
		if len(q) != 1 {
			t.Errorf("%v", q)
		}
		must(t, tx.Asides().Wake(ctx, group, []string{"a", "", "c", "d"}, woken))
		must(t, tx.Asides().Wake(ctx, "other", []string{"b"}, woken))
	})
	for _, r := range list(t, s, rollcall.AsideFilter{States: everyState}) {
		if want := r.Identity == identity(4); r.Due.Equal(woken) != want || !r.Updated.Equal(at) {
			t.Errorf("row %d is due %v", r.ID, r.Due)
		}
	}
}

func TestDropAttempts(t *testing.T) {
	s := openNew(t)
	at := time.Unix(100, 0)
	var ids []rollcall.Identity
	for i, state := range everyState {
		row := waiting(i, "k", at)
		row.State = state
		put(t, s, row)
		ids = append(ids, row.Identity)
	}
	spared := waiting(20, "k", at)
	spared.State = rollcall.AsideAttempt
	put(t, s, spared)
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		must(t, tx.Asides().DropAttempts(ctx, group, ids))
		must(t, tx.Asides().DropAttempts(ctx, "other", []rollcall.Identity{spared.Identity}))
	})
	rows := list(t, s, rollcall.AsideFilter{States: everyState})
	if len(rows) != len(everyState) {
		t.Errorf("%d rows left", len(rows))
	}
	for _, r := range rows {
		if r.State == rollcall.AsideAttempt && r.Identity != spared.Identity {
			t.Error("the attempt is still there")
		}
	}
}

func TestList(t *testing.T) {
	s := openNew(t)
	at := time.Unix(100, 0)
	for i := range 120 {
		row := waiting(i, []string{"a", "b"}[i%2], at)
		row.State = everyState[i%3]
		row.Message.Destination = []string{"x", "y", "z", "w"}[i%4]
		put(t, s, row)
	}
	done := waiting(200, "a", at)
	done.State = rollcall.AsideDone
	put(t, s, done)
	for name, c := range map[string]struct {
		f    rollcall.AsideFilter
		want int
	}{
		"defaults": {rollcall.AsideFilter{}, 100}, "max": {rollcall.AsideFilter{Max: 3}, 3}, "more": {rollcall.AsideFilter{Max: 1000}, 120},
		"after": {rollcall.AsideFilter{After: 110}, 10}, "ids": {rollcall.AsideFilter{IDs: []int64{3, 5, 9999}}, 2},
		"states": {rollcall.AsideFilter{States: everyState[1:2], Max: 1000}, 40}, "done": {rollcall.AsideFilter{States: everyState[4:5]}, 1},
		"destination": {rollcall.AsideFilter{Destination: "y", Max: 1000}, 30}, "key": {rollcall.AsideFilter{Key: "b", Max: 1000}, 60},
		"all": {rollcall.AsideFilter{Destination: "y", Key: "a"}, 0},
	} {
		rows := list(t, s, c.f)
		if len(rows) != c.want {
			t.Errorf("%s: %d rows, want %d", name, len(rows), c.want)
		}
		for i := range rows {
			if i > 0 && rows[i].ID <= rows[i-1].ID || rows[i].ID <= c.f.After {
				t.Errorf("%s: not in order of ids", name)
			}
		}
	}
}

// A row that was changed on the disk is an error, never a message that looks
// whole or is skipped.
func TestDamagedRows(t *testing.T) {
	for _, change := range []string{"state = 'dead'", "cause = 'x'", "attempts = 3", "early = 1", "owns_key = 1", "body = x'00'", "headers = x'00'", "key = x'00'",
		"message_id = x'00'", "stamp = x'00'", "position = x'00'", "destination = 'x'", "part = 5", "time = x'01'", "dedup_key = x'01'"} {
		s := openNew(t)
		put(t, s, waiting(1, "k", time.Unix(1, 0)), waiting(2, "l", time.Unix(1, 0)))
		run(t, s, "UPDATE rollcall_asides SET "+change+" WHERE id = 1")
		if rows, err := s.Asides().List(t.Context(), group, rollcall.AsideFilter{}); !errors.Is(err, rollcall.ErrDamaged) || rows != nil {
			t.Errorf("%s: %v", change, err)
		}
	}
	s := openNew(t)
	scope := rollcall.Scope{Kind: rollcall.ScopeSender, ID: life(1)}
	for _, change := range []string{"data = x'00'", "data = NULL", "crc = crc + 1", "grp = 'g'"} {
		inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
			must(t, tx.Records().Write(ctx, group, []rollcall.RollRow{{Scope: scope, Data: []byte{1}}}))
		})
		run(t, s, "UPDATE rollcall_rolls SET "+change)
		g := group
		if change == "grp = 'g'" {
			g = "g"
		}
		if _, err := s.Rolls(t.Context(), g, []rollcall.Scope{scope}); !errors.Is(err, rollcall.ErrDamaged) {
			t.Errorf("%s: %v", change, err)
		}
	}
}
