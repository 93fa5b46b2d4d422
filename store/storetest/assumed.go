package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// assumed: what the engine takes for granted is found out before COMMIT, by the
// next statement, whatever that is, and nothing of the transaction is kept. The
// rolls are locked. A store that cannot be told need not be.
func assumed[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	probe, err := s.Begin(ctxb)
	w.must(err)
	_, can := probe.(rollcall.Assumer)
	w.must(probe.Rollback())
	if !can {
		return
	}
	known, never := rollcall.Scope{Kind: rollcall.ScopeSender, ID: [16]byte{1}}, rollcall.Scope{Kind: rollcall.ScopeSender, ID: [16]byte{2}}
	data := []byte{0x10, 7}
	inTx(w, s, func(tx rollcall.Tx[X]) {
		_, err := tx.Records().Lock(ctxb, group, []rollcall.Scope{known})
		w.must(err)
		w.must(tx.Records().Write(ctxb, group, []rollcall.RollRow{{Scope: known, Data: data}}))
		_, err = tx.Asides().Put(ctxb, group, []rollcall.Aside{{Identity: rollcall.Identity{1}, State: rollcall.AsideWaiting,
			Message: rollcall.Message{Destination: destination, Key: "waits"}}})
		w.must(err)
	})
	got, err := s.Acquire(ctxb, group, []rollcall.Holder{{Worker: "w"}})
	w.must(err)
	hold := rollcall.Hold{Group: group, Holder: rollcall.Holder{Worker: "w"}, Token: got[0].Token}
	old := hold
	old.Token--
	right := []rollcall.RollRow{{Scope: known, Data: data}}
	for _, c := range []assumedCase{
		{"as it is", hold, []string{"a", ""}, right, nil},
		{"another token", old, []string{"a"}, right, rollcall.ErrFenced},
		{"a roll that has changed", hold, []string{"a"}, []rollcall.RollRow{{Scope: known, Data: []byte{0x10, 6}}}, rollcall.ErrOutdated},
		{"a roll that is not there", hold, []string{"a"}, []rollcall.RollRow{right[0], {Scope: never, Data: data}}, rollcall.ErrOutdated},
		{"a row waits", hold, []string{"a", "waits"}, right, rollcall.ErrOutdated},
	} {
		for _, next := range []string{"commit", "statement"} {
			w.assumes(s, c, next)
		}
	}
	w.assumedLocks(s, hold, right)
}

type assumedCase struct {
	name  string
	hold  rollcall.Hold
	keys  []string
	rolls []rollcall.RollRow
	want  error
}

// assumes runs one transaction and looks what it left.
func (w *world[X]) assumes(s rollcall.Store[X], c assumedCase, next string) {
	w.t.Helper()
	before := w.tallied(s)
	tx, err := s.Begin(ctxb)
	w.must(err)
	defer func() { _ = tx.Rollback() }()
	err = tx.Fence(ctxb, c.hold)
	atOnce := err != nil // the engine knows, and does not commit
	if err == nil {
		err = tx.(rollcall.Assumer).Assume(ctxb, group, c.keys, c.rolls)
	}
	if err == nil {
		err = tx.Records().Count(ctxb, group, destination, 0, rollcall.Counts{Applied: 1})
	}
	if err == nil && next == "statement" {
		_, err = tx.Asides().Queues(ctxb, group, []string{"b"})
		if usable := tx.Usable(); (usable == nil) != (c.want == nil) {
			w.t.Fatalf("%s: after the next statement Usable says %v", c.name, usable)
		}
	}
	if err == nil {
		err = tx.Commit(ctxb)
	} else if committed := tx.Commit(ctxb); committed == nil && !atOnce {
		w.t.Fatalf("%s: committed after %v", c.name, err)
	}
	if c.want == nil && err != nil || !errors.Is(err, c.want) {
		w.t.Fatalf("%s, then a %s: %v, want %v", c.name, next, err, c.want)
	}
	want := before
	if c.want == nil {
		want++
	}
	if after := w.tallied(s); after != want {
		w.t.Fatalf("%s, then a %s: %d counted, want %d", c.name, next, after, want)
	}
}

func (w *world[X]) tallied(s rollcall.Store[X]) (n int64) {
	w.t.Helper()
	all, err := s.Upkeep().Tally(ctxb, group)
	w.must(err)
	for _, t := range all {
		n += t.Counts.Applied
	}
	return n
}

// assumedLocks: nobody else gets the rolls until the transaction ends.
func (w *world[X]) assumedLocks(s rollcall.Store[X], hold rollcall.Hold, rolls []rollcall.RollRow) {
	w.t.Helper()
	tx, err := s.Begin(ctxb)
	w.must(err)
	defer func() { _ = tx.Rollback() }()
	w.must(tx.Fence(ctxb, hold))
	w.must(tx.(rollcall.Assumer).Assume(ctxb, group, nil, rolls))
	_, err = tx.Asides().Queues(ctxb, group, []string{"b"})
	w.must(err)
	other, err := s.Begin(ctxb)
	w.must(err)
	defer func() { _ = other.Rollback() }()
	short, cancel := context.WithTimeout(ctxb, 200*time.Millisecond)
	defer cancel()
	if _, err := other.Records().Lock(short, group, []rollcall.Scope{rolls[0].Scope}); err == nil {
		w.t.Fatal("a roll that is assumed in an open transaction was locked by another")
	}
}

// changedUnderneath: what an owner believes of its rolls and of who waits changes
// while it works: the sweeper removes a roll, another brings the sender's numbers,
// a row comes to wait. Each message takes effect once all the same.
func changedUnderneath[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	w.start(options[X]{config: rollcall.ConsumerConfig{Batch: 4}})
	first, sender := w.stamped(1, "a"), rollcall.SenderScope(w.stamped(1, "a").Stamp)
	w.send(first, w.stamped(2, "b"))
	w.waitIdle()
	w.expect(line(first), line(w.stamped(2, "b")))

	// Another brings message 3: its number is in the roll.
	s := w.reader()
	inTx(w, s, func(tx rollcall.Tx[X]) {
		rows, err := tx.Records().Lock(ctxb, group, []rollcall.Scope{sender})
		w.must(err)
		rows[0].Data = []byte{0x11, 3} // 1 to 3
		if roll, err := rollcall.OpenRoll(rows[0]); err != nil || roll.Floor() != 3 || roll.High() != 3 {
			t.Fatal("the form of rolls has changed:", err)
		}
		w.must(tx.Records().Write(ctxb, group, rows))
		w.must(w.storage.Record(ctxb, tx.User(), line(w.stamped(3, "a"))))
	})
	w.send(w.stamped(3, "a"), w.stamped(4, "a"))
	w.waitIdle()
	w.expect(line(first), line(w.stamped(2, "b")), line(w.stamped(3, "a")), line(w.stamped(4, "a")))

	// A row waits for its key: what comes later goes behind it, and follows it.
	waits := waiting(9, "b", time.Now().Add(300*time.Millisecond))
	waits.Message = w.stamped(5, "b")
	inTx(w, s, func(tx rollcall.Tx[X]) {
		_, err := tx.Asides().Put(ctxb, group, []rollcall.Aside{waits})
		w.must(err)
	})
	w.send(w.stamped(6, "b"))
	w.waitIdle()
	w.expect(line(first), line(w.stamped(2, "b")), line(w.stamped(3, "a")), line(w.stamped(4, "a")), line(w.stamped(5, "b")), line(w.stamped(6, "b")))
}
