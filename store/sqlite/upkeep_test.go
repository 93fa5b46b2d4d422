package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

const window = 24 * time.Hour

func sweep(t testing.TB, s *sqlite.Store) rollcall.Swept {
	t.Helper()
	swept, err := s.Upkeep().Sweep(t.Context(), group, window)
	must(t, err)
	return swept
}

func fenced(t testing.TB, s *sqlite.Store, h rollcall.Hold) bool {
	t.Helper()
	tx := begin(t, s)
	err := tx.Fence(t.Context(), h)
	must(t, tx.Rollback())
	if err != nil && !errors.Is(err, rollcall.ErrFenced) {
		t.Fatal(err)
	}
	return err != nil
}

func TestSweepRaisesTheTokensOfSilentHolders(t *testing.T) {
	s, c := openClock(t)
	silent, alive, released := hold(partition(1), acquire(t, s, partition(1))), hold(worker("w"), acquire(t, s, worker("w"))), hold(partition(2), acquire(t, s, partition(2)))
	must(t, s.Release(t.Context(), []rollcall.Hold{released}))
	stale := alive
	alive = hold(worker("w"), acquire(t, s, worker("w")))
	c.move(window/2 - time.Second)
	if swept := sweep(t, s); swept.Fenced != 0 || fenced(t, s, silent) {
		t.Errorf("fenced before half the window: %+v", swept)
	}
	must(t, s.Upkeep().Beat(t.Context(), []rollcall.Hold{alive}))
	c.move(2 * time.Second)
	if swept := sweep(t, s); swept.Fenced != 1 || !fenced(t, s, silent) || fenced(t, s, alive) || fenced(t, s, released) {
		t.Errorf("%+v", swept)
	}
	if swept := sweep(t, s); swept.Fenced != 0 {
		t.Errorf("fenced again: %+v", swept)
	}
	if a := acquire(t, s, partition(1)); a.Clean || a.Token != silent.Token+2 {
		t.Errorf("after being fenced: %+v", a)
	}
	// The beat of an old token is no sign of life.
	c.move(window/2 + time.Second)
	must(t, s.Upkeep().Beat(t.Context(), []rollcall.Hold{stale}))
	if swept := sweep(t, s); swept.Fenced != 2 || !fenced(t, s, alive) {
		t.Errorf("%+v", swept)
	}
}

// Tokens are raised before a key goes: a worker that wakes when the sweeper was
// interrupted in between is refused.
func TestSweepRaisesTokensFirst(t *testing.T) {
	s, c := openClock(t)
	silent := hold(partition(1), acquire(t, s, partition(1)))
	tx := begin(t, s)
	_, err := tx.Records().Claim(t.Context(), group, []rollcall.KeyClaim{{Key: rollcall.DedupKey{1}, Owner: rollcall.Identity{1}}})
	must(t, err)
	must(t, tx.Commit(t.Context()))
	c.move(window + time.Second)
	run(t, s, "CREATE TRIGGER interrupted BEFORE DELETE ON rollcall_keys BEGIN SELECT RAISE(ABORT, 'interrupted'); END")
	if _, err := s.Upkeep().Sweep(t.Context(), group, window); err == nil || !fenced(t, s, silent) {
		t.Fatalf("interrupted with %v; fenced: %v", err, fenced(t, s, silent))
	}
	run(t, s, "DROP TRIGGER interrupted")
	if swept := sweep(t, s); swept.Keys != 1 {
		t.Errorf("%+v", swept)
	}
}

func TestSweepForgetsWorkersButNeverTheirTokens(t *testing.T) {
	s, c := openClock(t)
	var last rollcall.Hold
	for range 5 {
		last = hold(worker("w"), acquire(t, s, worker("w")))
	}
	p := acquire(t, s, partition(1))
	c.move(window + time.Second)
	sweep(t, s)
	if n := number(t, s, "SELECT count(*) FROM rollcall_tokens"); n != 1 {
		t.Errorf("%d tokens left", n)
	}
	if !fenced(t, s, last) {
		t.Error("a worker that the store forgot is not fenced")
	}
	for _, name := range []string{"w", "new"} {
		if a := acquire(t, s, worker(name)); a.Token <= last.Token {
			t.Errorf("token %d was issued again (had %d)", a.Token, last.Token)
		}
	}
	if a := acquire(t, s, partition(1)); a.Token <= p.Token {
		t.Errorf("%+v", a)
	}
}

func TestSweepKeys(t *testing.T) {
	s, c := openClock(t)
	var claims []rollcall.KeyClaim
	for n := range 1203 { // several chunks
		claims = append(claims, rollcall.KeyClaim{Key: dedupKey(n), Owner: identity(n)})
	}
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		claim(t, tx, claims...)
		_, err := tx.Records().Claim(ctx, "other", claims[:1])
		must(t, err)
	})
	for i, state := range everyState { // none of them owns its key: the rule is the same
		row := waiting(i, "k", c.at)
		row.State, row.DedupKey = state, dedupKey(i)
		put(t, s, row)
	}
	c.move(window - time.Second)
	inTx(t, s, func(_ context.Context, tx rollcall.Tx[*sql.Tx]) {
		claim(t, tx, rollcall.KeyClaim{Key: dedupKey(5000), Owner: identity(1)})
	})
	if swept := sweep(t, s); swept.Keys != 0 {
		t.Errorf("within the window: %+v", swept)
	}
	c.move(2 * time.Second)
	if swept := sweep(t, s); swept.Keys != len(claims)-3 {
		t.Errorf("%+v", swept)
	}
	var left []int64
	rows, err := s.DB().Query("SELECT unicode(substr(key, 16)) FROM rollcall_keys WHERE grp = ? ORDER BY key", group)
	must(t, err)
	for rows.Next() {
		var n sql.NullInt64
		must(t, rows.Scan(&n))
		left = append(left, n.Int64)
	}
	if len(left) != 4 { // waiting, dead, parked, and the new one
		t.Errorf("left: %v", left)
	}
	if n := number(t, s, "SELECT count(*) FROM rollcall_keys WHERE grp = 'other'"); n != 1 {
		t.Error("another group's keys were swept")
	}
	tx := begin(t, s)
	for i, state := range everyState {
		if want := i > 2; claim(t, tx, claims[i])[0].Fresh != want {
			t.Errorf("the key of a row %s: fresh should be %v", state, want)
		}
	}
}

func TestSweepRolls(t *testing.T) {
	s, c := openClock(t)
	sender := func(n byte) rollcall.Scope { return rollcall.Scope{Kind: rollcall.ScopeSender, ID: life(n), Number: 1} }
	part := rollcall.Scope{Kind: rollcall.ScopePartition, ID: life(90)}
	write := func(scopes ...rollcall.Scope) {
		inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
			for _, scope := range scopes {
				must(t, tx.Records().Write(ctx, group, []rollcall.RollRow{{Scope: scope, Data: []byte{1}}}))
			}
		})
	}
	write(sender(50), sender(51), part)
	for i, state := range everyState {
		write(sender(byte(i)))
		row := waiting(i, "k", c.at)
		row.State = state
		row.Message.Stamp = rollcall.Stamp{Life: life(byte(i)), Sequence: 5, Lane: 9} // another lane of the same life
		put(t, s, row)
	}
	c.move(window - time.Second)
	write(sender(51))
	c.move(2 * time.Second)
	if swept := sweep(t, s); swept.Rolls != 4 {
		t.Errorf("%+v", swept)
	}
	left := func(scopes ...rollcall.Scope) (out []bool) {
		rows, err := s.Rolls(t.Context(), group, scopes)
		must(t, err)
		for _, r := range rows {
			out = append(out, r.Data != nil)
		}
		return out
	}
	got := left(sender(0), sender(1), sender(2), sender(3), sender(4), sender(5), sender(50), sender(51), part)
	if d := cmp.Diff([]bool{true, true, true, false, false, false, false, true, true}, got); d != "" {
		t.Error(d)
	}
}

func TestSweepAsides(t *testing.T) {
	s, c := openClock(t)
	for i, state := range everyState {
		row := waiting(i, "k", c.at)
		row.State = state
		put(t, s, row)
	}
	fresh := waiting(20, "k", c.at.Add(2*time.Second))
	fresh.State = rollcall.AsideDone
	put(t, s, fresh)
	c.move(window + time.Second)
	if swept := sweep(t, s); swept.Asides != 3 {
		t.Errorf("%+v", swept)
	}
	var states []string
	for _, r := range list(t, s, rollcall.AsideFilter{States: everyState}) {
		states = append(states, string(r.State))
	}
	if d := cmp.Diff([]string{"waiting", "dead", "parked", "done"}, states); d != "" {
		t.Error(d)
	}
}

// A holder that was fenced by the sweeper cannot claim a key that it removed.
func TestSleeperIsFencedBeforeItsKeysGo(t *testing.T) {
	s, c := openClock(t)
	h := hold(partition(1), acquire(t, s, partition(1)))
	inTx(t, s, func(_ context.Context, tx rollcall.Tx[*sql.Tx]) { claim(t, tx, rollcall.KeyClaim{Key: dedupKey(1)}) })
	c.move(window + time.Second)
	blocked, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Upkeep().Sweep(blocked, group, window); err == nil {
		t.Error("swept under an ended context")
	}
	if swept := sweep(t, s); swept.Keys != 1 || swept.Fenced != 1 || !fenced(t, s, h) {
		t.Errorf("%+v", swept)
	}
}
