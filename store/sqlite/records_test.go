package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rollcall "github.com/rollcall-mq/rollcall"
)

func claim(t testing.TB, tx rollcall.Tx[*sql.Tx], claims ...rollcall.KeyClaim) []rollcall.KeyAnswer {
	t.Helper()
	got, err := tx.Records().Claim(t.Context(), group, claims)
	must(t, err)
	return got
}

func TestClaim(t *testing.T) {
	s := openNew(t)
	of := func(n int) rollcall.KeyClaim { return rollcall.KeyClaim{Key: dedupKey(n), Owner: identity(n)} }
	var claims []rollcall.KeyClaim
	for n := range 3*50 + 7 { // several statements
		claims = append(claims, of(n))
	}
	inTx(t, s, func(_ context.Context, tx rollcall.Tx[*sql.Tx]) {
		for i, a := range claim(t, tx, claims...) {
			if !a.Fresh || a.Held {
				t.Errorf("key %d: %+v", i, a)
			}
		}
		if got := claim(t, tx); len(got) != 0 {
			t.Errorf("nothing claimed: %v", got)
		}
	})
	tx := begin(t, s)
	for i := range claims {
		claims[i].Owner = identity(1000 + i)
	}
	// Losers, winners and losers, in the order asked.
	for i, a := range claim(t, tx, append(claims, of(500), of(501))...) {
		if i < len(claims) && (a.Fresh || a.Owner != identity(i) || a.Held) || i >= len(claims) && !a.Fresh {
			t.Errorf("key %d: %+v", i, a)
		}
	}
	// Another group has its own.
	other, err := tx.Records().Claim(t.Context(), "other", claims[:1])
	must(t, err)
	if !other[0].Fresh {
		t.Error("groups share keys")
	}
	must(t, tx.Records().Free(t.Context(), group, []rollcall.DedupKey{dedupKey(3), dedupKey(999)}))
	if got := claim(t, tx, of(3), of(4)); !got[0].Fresh || got[1].Fresh {
		t.Errorf("after Free: %+v", got)
	}
	must(t, tx.Rollback())
	if n := number(t, s, "SELECT count(*) FROM rollcall_keys"); n != int64(len(claims)) {
		t.Errorf("%d keys", n)
	}
}

func TestHeldKeys(t *testing.T) {
	s := openNew(t)
	states := everyState
	var rows []rollcall.Aside
	for i, state := range states {
		for _, owns := range []bool{true, false} {
			row := waiting(len(rows), "k", time.Unix(1, 0))
			row.State, row.OwnsKey, row.DedupKey = state, owns, dedupKey(10*i+len(rows)%2)
			rows = append(rows, row)
		}
	}
	put(t, s, rows...)
	tx := begin(t, s)
	for i := range rows {
		c := rollcall.KeyClaim{Key: rows[i].DedupKey, Owner: rows[i].Identity}
		claim(t, tx, c)
		want := rows[i].OwnsKey && (rows[i].State == rollcall.AsideDead || rows[i].State == rollcall.AsideParked)
		if got := claim(t, tx, c)[0]; got.Fresh || got.Held != want || got.Owner != c.Owner {
			t.Errorf("%s owns=%v: %+v", rows[i].State, rows[i].OwnsKey, got)
		}
	}
}

func TestRolls(t *testing.T) {
	s := openNew(t)
	a := rollcall.Scope{Kind: rollcall.ScopeSender, ID: life(1), Origin: 1 << 63, Number: 1<<32 - 1}
	b := rollcall.Scope{Kind: rollcall.ScopePartition, ID: life(2), Number: 2}
	read := func() []rollcall.RollRow {
		rows, err := s.Rolls(t.Context(), group, []rollcall.Scope{b, a, b})
		must(t, err)
		return rows
	}
	want := []rollcall.RollRow{{Scope: b}, {Scope: a}, {Scope: b}}
	if d := cmp.Diff(want, read(), wholeBytes); d != "" {
		t.Error(d)
	}
	big := bytes.Repeat([]byte{0, 1, 255}, 1<<19)
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		rows, err := tx.Records().Lock(ctx, group, []rollcall.Scope{b, a})
		must(t, err)
		if d := cmp.Diff(want[:2], rows, wholeBytes); d != "" {
			t.Error(d)
		}
		must(t, tx.Records().Write(ctx, group, []rollcall.RollRow{{Scope: a, Data: big}, {Scope: b, Data: []byte{7}}}))
		must(t, tx.Records().Write(ctx, "other", []rollcall.RollRow{{Scope: b, Data: []byte{8}}}))
	})
	want = []rollcall.RollRow{{Scope: b, Data: []byte{7}}, {Scope: a, Data: big}, {Scope: b, Data: []byte{7}}}
	if d := cmp.Diff(want, read(), wholeBytes); d != "" {
		t.Error("not what was written")
	}
	tx := begin(t, s)
	rows, err := tx.Records().Lock(t.Context(), group, []rollcall.Scope{a, b})
	must(t, err)
	if !bytes.Equal(rows[0].Data, big) || !bytes.Equal(rows[1].Data, []byte{7}) {
		t.Error("Lock overwrote or mixed up rolls")
	}
	if n := number(t, s, "SELECT count(*) FROM rollcall_rolls"); n != 3 {
		t.Errorf("%d rows", n)
	}
}

func TestLockCreatesRows(t *testing.T) {
	s := openNew(t)
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		_, err := tx.Records().Lock(ctx, group, []rollcall.Scope{{Kind: rollcall.ScopeSender, ID: life(1)}})
		must(t, err)
	})
	if n := number(t, s, "SELECT count(*) FROM rollcall_rolls WHERE data IS NULL"); n != 1 {
		t.Errorf("%d rows", n)
	}
	rows, err := s.Rolls(t.Context(), group, []rollcall.Scope{{Kind: rollcall.ScopeSender, ID: life(1)}})
	must(t, err)
	if rows[0].Data != nil {
		t.Errorf("data of a roll without any: %v", rows[0].Data)
	}
}

func TestCountsAndTally(t *testing.T) {
	s := openNew(t)
	one := rollcall.Counts{Applied: 1, Repeated: 2, Stale: 3, Filtered: 4, Discarded: 5, Copies: 6}
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		r := tx.Records()
		must(t, r.Count(ctx, group, "orders", 1, one))
		must(t, r.Count(ctx, group, "orders", 1, one))
		must(t, r.Count(ctx, group, "orders", -2, one))
		must(t, r.Count(ctx, group, "Orders", 1, rollcall.Counts{Applied: 7}))
		must(t, r.Count(ctx, "other", "orders", 1, one))
	})
	var rows []rollcall.Aside
	for i, state := range append(everyState, rollcall.AsideDead, rollcall.AsideParked, rollcall.AsideParked) {
		row := waiting(i, "", time.Unix(1, 0))
		row.State = state
		rows = append(rows, row)
	}
	rows = append(rows, waiting(50, "", time.Unix(1, 0)))
	rows[len(rows)-1].Message.Destination = "only aside"
	put(t, s, rows...)
	got, err := s.Upkeep().Tally(t.Context(), group)
	must(t, err)
	want := []rollcall.Tally{
		{Destination: "Orders", Counts: rollcall.Counts{Applied: 7}},
		{Destination: "only aside", Waiting: 1},
		{Destination: "orders", Counts: rollcall.Counts{Applied: 3, Repeated: 6, Stale: 9, Filtered: 12, Discarded: 15, Copies: 18}, Waiting: 1, Dead: 2, Parked: 3},
	}
	if d := cmp.Diff(want, got, wholeBytes); d != "" {
		t.Error(d)
	}
}

// Names and keys are told apart by their bytes.
func TestNamesCompareBinary(t *testing.T) {
	s := openNew(t)
	names := []string{"a", "A", "a ", " a", "ä", "a\u0308", "a\x00", "a\x00b", "\xff", ""}
	for i, name := range names {
		h := rollcall.Holder{Partition: rollcall.Partition{Destination: name, Number: 1}}
		if a := acquire(t, s, h); a.Token != 1 {
			t.Errorf("destination %q: token %d", name, a.Token)
		}
		if a := acquire(t, s, worker("w"+name)); a.Token != 1 {
			t.Errorf("worker %q: token %d", name, a.Token)
		}
		got, err := s.Acquire(t.Context(), "g"+name, []rollcall.Holder{worker("w")})
		must(t, err)
		if got[0].Token != 1 {
			t.Errorf("group %q: token %d", name, got[0].Token)
		}
		if name == "" {
			continue
		}
		put(t, s, waiting(i, name, time.Unix(1, 0)))
		if rows := list(t, s, rollcall.AsideFilter{Key: name}); len(rows) != 1 || rows[0].Message.Key != name {
			t.Errorf("key %q: %+v", name, rows)
		}
	}
	rows, err := s.Asides().Due(t.Context(), group, time.Unix(2, 0), 100)
	must(t, err)
	if len(rows) != len(names)-1 {
		t.Errorf("%d keys wait, want %d", len(rows), len(names)-1)
	}
}

func TestManyStatementsAreBounded(t *testing.T) {
	s := openNew(t)
	tx := begin(t, s)
	for n := range 400 { // more texts than the cache holds
		var got int
		must(t, tx.User().QueryRow(fmt.Sprintf("SELECT %d", n)).Scan(&got))
		if got != n {
			t.Fatal(got)
		}
	}
	// The same text twice at once, and rows left open.
	outer, err := tx.User().Query("SELECT value FROM json_each('[1,2,3]')")
	must(t, err)
	sum := 0
	for outer.Next() {
		inner, err := tx.User().Query("SELECT value FROM json_each('[1,2,3]')")
		must(t, err)
		for inner.Next() {
			var n int
			must(t, inner.Scan(&n))
			sum += n
		}
		must(t, inner.Err())
	}
	if sum != 18 {
		t.Errorf("sum %d", sum)
	}
	long := "SELECT '" + strings.Repeat("x", 1<<17) + "'"
	var text string
	must(t, tx.User().QueryRow(long).Scan(&text))
	must(t, tx.Commit(t.Context()))
}
