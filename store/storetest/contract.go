package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// The contract's sentences, one role a case, without the engine.
func contractCases[X any]() []Case[X] {
	return []Case[X]{
		{"token", tokens[X]},
		{"key", keyRecords[X]},
		{"roll", rollRecords[X]},
		{"assumed", assumed[X]},
		{"changed-underneath", changedUnderneath[X]},
		{"aside-put", asidePut[X]},
		{"aside-turn", asideTurn[X]},
		{"aside-due", asideDue[X]},
		{"savepoint", savepoints[X]},
		{"count", counts[X]},
		{"sweep", sweeps[X]},
	}
}

// inTx runs f in a transaction of the store and commits.
func inTx[X any](w *world[X], s rollcall.Store[X], f func(tx rollcall.Tx[X])) {
	w.t.Helper()
	tx, err := s.Begin(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	f(tx)
	w.must(tx.Commit(context.Background()))
}

func (w *world[X]) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

var ctxb = context.Background()

// tokens: raised by one, told whether the last owner released them; fenced
// unless they are exactly the current one; an old release is ignored.
func tokens[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s, other := w.storage.Open(t), w.storage.Open(t)
	for _, holder := range []rollcall.Holder{{Worker: "w"}, {Partition: rollcall.Partition{Destination: "d", Number: 3}}} {
		acquire := func(s rollcall.Store[X], clean bool) rollcall.Hold {
			t.Helper()
			got, err := s.Acquire(ctxb, group, []rollcall.Holder{holder})
			w.must(err)
			if got[0].Clean != clean {
				t.Fatalf("%+v: clean %v, want %v", holder, got[0].Clean, clean)
			}
			return rollcall.Hold{Group: group, Holder: holder, Token: got[0].Token}
		}
		first := acquire(s, true)
		second := acquire(other, false)
		if second.Token <= first.Token {
			t.Fatalf("token %d after %d", second.Token, first.Token)
		}
		w.must(s.Release(ctxb, []rollcall.Hold{first})) // not the current one
		third := acquire(s, false)
		fence := func(hold rollcall.Hold) error {
			tx, err := s.Begin(ctxb)
			w.must(err)
			defer func() { _ = tx.Rollback() }()
			if err := tx.Fence(ctxb, hold); err != nil {
				return err
			}
			return tx.Commit(ctxb) // the answer comes with the next statement at the latest
		}
		beyond := third
		beyond.Token++
		for name, hold := range map[string]rollcall.Hold{"older": second, "never issued": beyond,
			"another group's": {Group: "h", Holder: holder, Token: third.Token}} {
			if err := fence(hold); !errors.Is(err, rollcall.ErrFenced) {
				t.Fatalf("%s token: %v, want ErrFenced", name, err)
			}
		}
		w.must(fence(third))
		w.must(s.Release(ctxb, []rollcall.Hold{third}))
		acquire(other, true)
	}
}

// keyRecords: the first owner wins and stays; Held as long as a dead or parked
// row owns the key; Free frees.
func keyRecords[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	claim := func(owner byte, keys ...byte) (answers []rollcall.KeyAnswer) {
		t.Helper()
		inTx(w, s, func(tx rollcall.Tx[X]) {
			var claims []rollcall.KeyClaim
			for _, k := range keys {
				claims = append(claims, rollcall.KeyClaim{Key: rollcall.DedupKey{k}, Owner: rollcall.Identity{owner}})
			}
			var err error
			answers, err = tx.Records().Claim(ctxb, group, claims)
			w.must(err)
		})
		return answers
	}
	if a := claim(1, 1, 3); !a[0].Fresh || !a[1].Fresh {
		t.Fatalf("%+v, want both fresh", a)
	}
	a := claim(2, 1, 2, 3)
	if a[0].Fresh || !a[1].Fresh || a[2].Fresh || a[0].Owner != (rollcall.Identity{1}) || a[0].Held {
		t.Fatalf("%+v, want only the second fresh and the first owner named", a)
	}
	rows := []rollcall.Aside{{Identity: rollcall.Identity{9}, State: rollcall.AsideDead, OwnsKey: true, DedupKey: rollcall.DedupKey{1}},
		{Identity: rollcall.Identity{8}, State: rollcall.AsideDead, DedupKey: rollcall.DedupKey{3}}} // beside another that took effect
	inTx(w, s, func(tx rollcall.Tx[X]) {
		_, err := tx.Asides().Put(ctxb, group, rows)
		w.must(err)
	})
	if a := claim(3, 1, 2, 3); !a[0].Held || a[1].Held || a[2].Held {
		t.Fatalf("%+v, want just the key held that a dead row owns", a)
	}
	inTx(w, s, func(tx rollcall.Tx[X]) { w.must(tx.Records().Free(ctxb, group, []rollcall.DedupKey{{3}})) })
	if a := claim(4, 3); !a[0].Fresh {
		t.Fatal("a freed key is taken")
	}
}

// rollRecords: what is written is read back by the next locking read, by scope.
func rollRecords[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s, other := w.storage.Open(t), w.storage.Open(t)
	scopes := []rollcall.Scope{{Kind: rollcall.ScopeSender, ID: [16]byte{1}}, {Kind: rollcall.ScopePartition, ID: [16]byte{1}}}
	lock := func(s rollcall.Store[X], write []byte) (got [][]byte) {
		t.Helper()
		inTx(w, s, func(tx rollcall.Tx[X]) {
			rows, err := tx.Records().Lock(ctxb, group, scopes)
			w.must(err)
			for _, r := range rows {
				got = append(got, r.Data)
			}
			if write != nil {
				w.must(tx.Records().Write(ctxb, group, []rollcall.RollRow{{Scope: scopes[1], Data: write}}))
			}
		})
		return got
	}
	if got := lock(s, []byte{0x10, 7}); got[0] != nil || got[1] != nil {
		t.Fatalf("new rolls hold %x", got)
	}
	if got := lock(other, nil); got[0] != nil || !slices.Equal(got[1], []byte{0x10, 7}) {
		t.Fatalf("read back %x", got)
	}
	rows, err := other.Rolls(ctxb, group, append(scopes, rollcall.Scope{ID: [16]byte{9}}))
	w.must(err)
	if len(rows) != 3 || rows[0].Data != nil || !slices.Equal(rows[1].Data, []byte{0x10, 7}) || rows[2].Data != nil {
		t.Fatalf("rolls %+v", rows)
	}
}

func waiting(id byte, key string, due time.Time) rollcall.Aside {
	return rollcall.Aside{Identity: rollcall.Identity{id}, State: rollcall.AsideWaiting, Created: due, Updated: due, Due: due,
		Message: rollcall.Message{Destination: destination, Key: key, Body: []byte{id}}}
}

// put inserts rows and returns how many went in.
func put[X any](w *world[X], s rollcall.Store[X], rows ...rollcall.Aside) (n int) {
	w.t.Helper()
	inTx(w, s, func(tx rollcall.Tx[X]) {
		var err error
		n, err = tx.Asides().Put(ctxb, group, rows)
		w.must(err)
	})
	return n
}

// asidePut: rows are unique by identity in whatever state; only an attempt is
// replaced; every field comes back.
func asidePut[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	now := time.Now().Truncate(time.Millisecond)
	row := waiting(1, "k\x00\xff", now)
	row.Cause, row.Attempts, row.Early, row.OwnsKey, row.DedupKey = "why", 3, true, true, rollcall.DedupKey{5}
	row.Position = rollcall.Position{Incarnation: rollcall.Incarnation{7}, Offset: 9}
	row.Message = w.stamped(4, "k\x00\xff")
	row.Message.Destination, row.Message.Partition = destination, 2
	row.Message.Headers = []rollcall.Header{{Name: "h", Value: []byte{0, 1}}}
	if n := put(w, s, row); n != 1 {
		t.Fatalf("%d rows inserted", n)
	}
	again := row
	again.Cause = "another"
	if n := put(w, s, again); n != 0 {
		t.Fatalf("%d rows inserted beside one of the same identity", n)
	}
	got := w.asides(rollcall.AsideWaiting)
	if len(got) != 1 {
		t.Fatalf("%d rows", len(got))
	}
	g := got[0]
	if g.Cause != "why" || g.Attempts != 3 || !g.Early || !g.OwnsKey || g.DedupKey != row.DedupKey || g.Identity != row.Identity ||
		g.Position != row.Position || !g.Due.Equal(row.Due) || !g.Created.Equal(row.Created) || g.Message.Stamp != row.Message.Stamp ||
		g.Message.ID != row.Message.ID || g.Message.Key != row.Message.Key || string(g.Message.Body) != string(row.Message.Body) ||
		g.Message.Partition != 2 || len(g.Message.Headers) != 1 || string(g.Message.Headers[0].Value) != "\x00\x01" {
		t.Fatalf("came back as %+v", g)
	}
	attempt := waiting(2, "k", now)
	attempt.State = rollcall.AsideAttempt
	put(w, s, attempt)
	attempt.State = rollcall.AsideDead
	if n := put(w, s, attempt); n != 1 || len(w.asides(rollcall.AsideAttempt)) != 0 {
		t.Fatal("an attempt was not replaced")
	}
	inTx(w, s, func(tx rollcall.Tx[X]) {
		w.must(tx.Asides().DropAttempts(ctxb, group, []rollcall.Identity{{1}, {2}}))
		known, err := tx.Asides().Known(ctxb, group, []rollcall.Identity{{1}, {2}, {3}})
		w.must(err)
		if len(known) != 2 || known[rollcall.Identity{2}].State != rollcall.AsideDead {
			t.Fatalf("known %+v, want the waiting and the dead row", known)
		}
	})
}

// asideTurn: compare and set; what is done keeps no body.
func asideTurn[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	now := time.Now()
	put(w, s, waiting(1, "k", now))
	id := w.asides()[0].ID
	turn := func(group string, id int64, to rollcall.AsideState, from ...rollcall.AsideState) (ok bool) {
		t.Helper()
		inTx(w, s, func(tx rollcall.Tx[X]) {
			var err error
			ok, err = tx.Asides().Turn(ctxb, group, id, from, rollcall.AsideChange{State: to, Cause: "c", Attempts: 2, Due: now, Updated: now})
			w.must(err)
		})
		return ok
	}
	if turn(group, id, rollcall.AsideDone, rollcall.AsideDead, rollcall.AsideParked) || turn(group, id+1, rollcall.AsideDone, rollcall.AsideWaiting) ||
		turn("another", id, rollcall.AsideDone, rollcall.AsideWaiting) {
		t.Fatal("a row was turned that is in another state, does not exist, or is another group's")
	}
	if !turn(group, id, rollcall.AsideDead, rollcall.AsideWaiting) || turn(group, id, rollcall.AsideDead, rollcall.AsideWaiting) {
		t.Fatal("from waiting to dead: once, not twice")
	}
	if a := w.asides()[0]; a.State != rollcall.AsideDead || a.Cause != "c" || a.Attempts != 2 || len(a.Message.Body) == 0 {
		t.Fatalf("row %+v", a)
	}
	if !turn(group, id, rollcall.AsideDone, rollcall.AsideDead) || len(w.asides()[0].Message.Body) != 0 {
		t.Fatal("a row that is done keeps its body")
	}
}

// asideDue: waiting and due, the first of its Key only; early rows hold nobody
// back; a row written after now is due, since the clock was set back.
func asideDue[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	now := time.Now()
	past, future := now.Add(-time.Hour), now.Add(time.Hour)
	early := waiting(1, "a", past)
	early.Early = true
	later := waiting(6, "c", past)
	later.Due = future
	back := waiting(8, "d", future) // written an hour after now
	back.Due = future.Add(time.Hour)
	dead := waiting(9, "e", past)
	dead.State = rollcall.AsideDead
	attempt := waiting(10, "f", past)
	attempt.State = rollcall.AsideAttempt
	put(w, s, early, waiting(2, "a", past), waiting(3, "a", past), waiting(4, "", past), waiting(5, "", past), later, waiting(7, "c", past), back, dead, attempt)
	due := func(most int) (ids []byte) {
		t.Helper()
		rows, err := s.Asides().Due(ctxb, group, now, most)
		w.must(err)
		for _, r := range rows {
			ids = append(ids, r.Identity[0])
		}
		return ids
	}
	if got := due(100); !slices.Equal(got, []byte{1, 2, 4, 5, 8}) {
		t.Fatalf("due %v, want 1 2 4 5 8", got)
	}
	if got := due(2); !slices.Equal(got, []byte{1, 2}) {
		t.Fatalf("the first two due: %v", got)
	}
	inTx(w, s, func(tx rollcall.Tx[X]) {
		queues, err := tx.Asides().Queues(ctxb, group, []string{"a", "c", "e", "f", "nobody", ""})
		w.must(err)
		if len(queues) != 2 || !queues["a"].Early || queues["a"].First == 0 || queues["c"].First == 0 || queues["c"].Early {
			t.Fatalf("queues %+v, want a (early too) and c", queues)
		}
		w.must(tx.Asides().Wake(ctxb, group, []string{"a"}, future))
	})
	if got := due(100); !slices.Equal(got, []byte{2, 4, 5, 8}) {
		t.Fatalf("due %v after the early row's time was moved, want 2 4 5 8", got)
	}
}

// savepoints: undo takes back what the user and the records did since, and
// only that.
func savepoints[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	inTx(w, s, func(tx rollcall.Tx[X]) {
		w.must(w.storage.Record(ctxb, tx.User(), "before"))
		undo, err := tx.Savepoint(ctxb)
		w.must(err)
		w.must(w.storage.Record(ctxb, tx.User(), "undone"))
		_, err = tx.Records().Claim(ctxb, group, []rollcall.KeyClaim{{Key: rollcall.DedupKey{1}}})
		w.must(err)
		_, err = tx.Asides().Put(ctxb, group, []rollcall.Aside{waiting(1, "", time.Now())})
		w.must(err)
		w.must(s.Outbox().Enqueue(ctxb, tx.User(), []rollcall.Message{{Destination: "out"}}))
		w.must(undo(ctxb))
		if undo(ctxb) == nil {
			t.Error("a savepoint was undone twice")
		}
		outer, err := tx.Savepoint(ctxb)
		w.must(err)
		inner, err := tx.Savepoint(ctxb)
		w.must(err)
		w.must(outer(ctxb))
		if inner(ctxb) == nil {
			t.Error("a savepoint was undone that went with the one before it")
		}
		w.must(w.storage.Record(ctxb, tx.User(), "after"))
		a, err := tx.Records().Claim(ctxb, group, []rollcall.KeyClaim{{Key: rollcall.DedupKey{1}}})
		w.must(err)
		if !a[0].Fresh {
			t.Error("a claim was not undone")
		}
	})
	w.expect("before", "after")
	pending, err := s.Outbox().Pending(ctxb, 10)
	w.must(err)
	if len(w.asides()) != 0 || len(pending) != 0 {
		t.Fatalf("%d rows aside and %d in the outbox were not undone", len(w.asides()), len(pending))
	}
	tx, err := s.Begin(ctxb)
	w.must(err)
	w.must(w.storage.Record(ctxb, tx.User(), "rolled back"))
	w.must(tx.Rollback())
	if tx.Commit(ctxb) == nil {
		t.Error("a transaction was committed after its rollback")
	}
	w.expect("before", "after")
}

// counts: added up over slots, by destination, in the transaction.
func counts[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	one := rollcall.Counts{Applied: 1, Repeated: 2, Stale: 3, Filtered: 4, Discarded: 5, Copies: 6, Void: 7, Lost: 8}
	for slot := range int32(3) {
		inTx(w, s, func(tx rollcall.Tx[X]) {
			w.must(tx.Records().Count(ctxb, group, destination, slot-1, one))
			w.must(tx.Records().Count(ctxb, group, destination, slot-1, one))
			w.must(tx.Records().Count(ctxb, "another", destination, 0, one))
		})
	}
	tx, err := s.Begin(ctxb)
	w.must(err)
	w.must(tx.Records().Count(ctxb, group, destination, 0, one))
	w.must(tx.Rollback())
	want := rollcall.Counts{Applied: 6, Repeated: 12, Stale: 18, Filtered: 24, Discarded: 30, Copies: 36, Void: 42, Lost: 48}
	if got := w.tally(); got.Counts != want {
		t.Fatalf("counts %+v, want %+v", got.Counts, want)
	}
}

// sweeps: after the window keys and rolls of senders go, positions stay, and
// so does what an unfinished row needs.
func sweeps[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	held, free := rollcall.Life{1}, rollcall.Life{2}
	dead := waiting(1, "k", time.Now())
	dead.State, dead.OwnsKey, dead.DedupKey = rollcall.AsideDead, true, rollcall.DedupKey{1}
	dead.Message.Stamp = rollcall.Stamp{Life: held, Sequence: 1}
	done := waiting(2, "k", time.Now())
	done.State = rollcall.AsideDone
	put(w, s, dead, done)
	scopes := []rollcall.Scope{{Kind: rollcall.ScopeSender, ID: held}, {Kind: rollcall.ScopeSender, ID: free}, {Kind: rollcall.ScopePartition, ID: free}}
	inTx(w, s, func(tx rollcall.Tx[X]) {
		_, err := tx.Records().Claim(ctxb, group, []rollcall.KeyClaim{{Key: rollcall.DedupKey{1}}, {Key: rollcall.DedupKey{2}}})
		w.must(err)
		_, err = tx.Records().Lock(ctxb, group, scopes)
		w.must(err)
		var rows []rollcall.RollRow
		for _, scope := range scopes {
			rows = append(rows, rollcall.RollRow{Scope: scope, Data: []byte{0x10, 7}})
		}
		w.must(tx.Records().Write(ctxb, group, rows))
	})
	if swept, err := s.Upkeep().Sweep(ctxb, group, time.Hour); err != nil || swept != (rollcall.Swept{}) {
		t.Fatalf("a sweep within the window removed %+v (%v)", swept, err)
	}
	if swept := forgetAll(w, 100*time.Millisecond); swept.Keys != 1 || swept.Rolls != 1 || swept.Asides != 1 {
		t.Fatalf("swept %+v, want one key, one roll and one finished row", swept)
	}
	rows, err := s.Rolls(ctxb, group, scopes)
	w.must(err)
	if rows[0].Data == nil || rows[1].Data != nil || rows[2].Data == nil {
		t.Fatalf("rolls after the sweep: %+v, want the held life's and the partition's", rows)
	}
}
