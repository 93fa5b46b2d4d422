package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// What the audit and the operators rely on.
func logCases[X any]() []Case[X] {
	return []Case[X]{
		{"operator-log", operatorLog[X]},
		{"operator-log-bytes", operatorLogBytes[X]},
		{"operator-log-pages", operatorLogPages[X]},
		{"scan", scan[X]},
		{"scan-no-locks", scanNoLocks[X]},
	}
}

func note[X any](w *world[X], s rollcall.Store[X], group string, entries ...rollcall.OperatorEntry) {
	w.t.Helper()
	inTx(w, s, func(tx rollcall.Tx[X]) { w.must(tx.Records().Note(ctxb, group, entries)) })
}

func entriesOf[X any](w *world[X], s rollcall.Store[X], group string, after int64, most int) []rollcall.OperatorEntry {
	w.t.Helper()
	entries, err := s.Upkeep().Entries(ctxb, group, after, most)
	w.must(err)
	return entries
}

func reasons(entries []rollcall.OperatorEntry) (all []string) {
	for _, e := range entries {
		all = append(all, e.Reason)
	}
	return all
}

// operatorLog: written with the transaction and gone with its rollback; of one
// group only; no sweep removes it.
func operatorLog[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s, other := w.storage.Open(t), w.storage.Open(t)
	tx, err := s.Begin(ctxb)
	w.must(err)
	w.must(tx.Records().Note(ctxb, group, []rollcall.OperatorEntry{{Verb: rollcall.OperatorDiscard, Reason: "rolled back"}}))
	w.must(tx.Rollback())
	inTx(w, s, func(tx rollcall.Tx[X]) {
		undo, err := tx.Savepoint(ctxb)
		w.must(err)
		w.must(tx.Records().Note(ctxb, group, []rollcall.OperatorEntry{{Verb: rollcall.OperatorDiscard, Reason: "undone"}}))
		w.must(undo(ctxb))
		w.must(tx.Records().Note(ctxb, group, []rollcall.OperatorEntry{{Verb: rollcall.OperatorDiscard, Reason: "kept"}}))
	})
	note(w, s, "another", rollcall.OperatorEntry{Verb: rollcall.OperatorWaive, Reason: "another's"})
	forgetAll(w, 100*time.Millisecond)
	if got := reasons(entriesOf(w, other, group, 0, 100)); !slices.Equal(got, []string{"kept"}) {
		t.Fatalf("the log says %q, want only what was committed", got)
	}
	if got := reasons(entriesOf(w, other, "another", 0, 100)); !slices.Equal(got, []string{"another's"}) {
		t.Fatalf("another group's log says %q", got)
	}
}

// operatorLogBytes: every field comes back, whatever bytes it holds, and so does
// an entry that has none of them.
func operatorLogBytes[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	odd := "\x00\xff\xfe'\\\n\u2028"
	full := rollcall.OperatorEntry{Time: time.Unix(1, 23).UTC(), Operator: "o" + odd, Verb: rollcall.OperatorEdit, Reason: "r" + odd, Aside: 1<<62 + 1,
		MessageID: rollcall.MessageID("m" + odd), Destination: destination,
		Scope:   rollcall.Scope{Kind: rollcall.ScopeSender, ID: [16]byte{0, 255}, Origin: 1<<64 - 1, Number: 1<<32 - 1},
		Numbers: rollcall.NumberRange{First: 1 << 63, Last: 1<<64 - 1}, Detail: bytes.Repeat([]byte(odd), 20_000)}
	note(w, s, group, full, rollcall.OperatorEntry{Verb: rollcall.OperatorRedrive})
	got := entriesOf(w, s, group, 0, 100)
	if len(got) != 2 || got[0].ID <= 0 || got[1].ID <= got[0].ID {
		t.Fatalf("%d entries, want two with ascending ids", len(got))
	}
	g := got[0]
	if g.Operator != full.Operator || g.Verb != full.Verb || g.Reason != full.Reason || g.Aside != full.Aside || g.MessageID != full.MessageID ||
		g.Destination != full.Destination || g.Scope != full.Scope || g.Numbers != full.Numbers || !g.Time.Equal(full.Time) || !bytes.Equal(g.Detail, full.Detail) {
		t.Fatalf("came back as %.500q", fmt.Sprintf("%+v", g))
	}
	if e := got[1]; e.Verb != rollcall.OperatorRedrive || !e.Time.IsZero() || e.Operator+e.Reason+string(e.MessageID)+e.Destination != "" || e.Aside != 0 ||
		e.Scope != (rollcall.Scope{}) || e.Numbers != (rollcall.NumberRange{}) || len(e.Detail) != 0 {
		t.Fatalf("an empty entry came back as %+v", e)
	}
}

// operatorLogPages: in the order of writing, page by page.
func operatorLogPages[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	var want []string
	for i := range 8 {
		note(w, s, "another", rollcall.OperatorEntry{Verb: rollcall.OperatorWaive, Reason: "another's"})
		three := make([]rollcall.OperatorEntry, 3)
		for j := range three {
			three[j] = rollcall.OperatorEntry{Verb: rollcall.OperatorWaive, Reason: fmt.Sprintf("%d.%d", i, j)}
		}
		note(w, s, group, three...)
		want = append(want, reasons(three)...)
	}
	var got []string
	for after := int64(0); ; {
		page := entriesOf(w, s, group, after, 7)
		got = append(got, reasons(page)...)
		if len(page) < 7 {
			break
		}
		after = page[6].ID
	}
	if !slices.Equal(got, want) {
		t.Fatalf("pages say %q, want %q", got, want)
	}
}

// scanAll walks all rolls of a group, most at a time.
func scanAll[X any](w *world[X], s rollcall.Store[X], group string, most int) (all []rollcall.RollRow) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(ctxb, 10*time.Second)
	defer cancel()
	var after rollcall.Scope
	for {
		page, err := s.Upkeep().Scan(ctx, group, after, most)
		w.must(err)
		all = append(all, page...)
		if len(page) < most || len(all) > 1000 {
			return all
		}
		after = page[len(page)-1].Scope
	}
}

func writeRoll[X any](w *world[X], tx rollcall.Tx[X], group string, scope rollcall.Scope, data ...byte) {
	w.t.Helper()
	_, err := tx.Records().Lock(ctxb, group, []rollcall.Scope{scope})
	w.must(err)
	w.must(tx.Records().Write(ctxb, group, []rollcall.RollRow{{Scope: scope, Data: data}}))
}

// scan: rolls of senders and partitions, each once, in the order of Compare,
// page by page, and of the group alone.
func scan[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	var want []rollcall.Scope
	for i := range 20 { // none of the fields is in order
		want = append(want, rollcall.Scope{Kind: rollcall.ScopeKind(2 - i%2), ID: [16]byte{byte(37 * i), byte(i)}, Origin: uint64(i%3) << 62, Number: uint32(i) << 27})
	}
	inTx(w, s, func(tx rollcall.Tx[X]) {
		for i, scope := range want {
			writeRoll(w, tx, group, scope, 0x10, byte(i))
		}
		writeRoll(w, tx, "another", want[3], 0x10, 99)
	})
	data := make(map[rollcall.Scope]byte)
	for i, scope := range want {
		data[scope] = byte(i)
	}
	slices.SortFunc(want, rollcall.Scope.Compare)
	for _, most := range []int{1, 7, 20, 100} {
		got := scanAll(w, s, group, most)
		if len(got) != len(want) {
			t.Fatalf("%d rolls in pages of %d, want %d", len(got), most, len(want))
		}
		for i := range got {
			if got[i].Scope != want[i] || !bytes.Equal(got[i].Data, []byte{0x10, data[want[i]]}) {
				t.Fatalf("roll %d in pages of %d is %+v, want scope %+v", i, most, got[i], want[i])
			}
		}
	}
}

// scanNoLocks: a walk does not wait for a batch in work, and sees nothing of it.
func scanNoLocks[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s, other := w.storage.Open(t), w.storage.Open(t)
	old, fresh := rollcall.Scope{Kind: rollcall.ScopeSender, ID: [16]byte{1}}, rollcall.Scope{Kind: rollcall.ScopeSender, ID: [16]byte{2}}
	inTx(w, s, func(tx rollcall.Tx[X]) { writeRoll(w, tx, group, old, 0x10, 1) })
	tx, err := s.Begin(ctxb)
	w.must(err)
	defer func() { _ = tx.Rollback() }()
	writeRoll(w, tx, group, old, 0x10, 2)
	writeRoll(w, tx, group, fresh, 0x10, 2)
	if got := scanAll(w, other, group, 10); len(got) != 1 || !bytes.Equal(got[0].Data, []byte{0x10, 1}) {
		t.Fatalf("beside a batch in work the walk sees %+v, want what was committed", got)
	}
	w.must(tx.Commit(ctxb)) // the server did not end it in the meantime
}
