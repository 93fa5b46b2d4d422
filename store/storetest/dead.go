package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// What operators do to rows set aside, and what age does.
func deadCases[X any]() []Case[X] {
	return []Case[X]{
		{"operator-entry", operatorEntry[X]},
		{"operator-same-transaction", operatorSameTransaction[X]},
		{"discard-reason", discardReason[X]},
		{"edit", edit[X]},
		{"edit-key", editKey[X]},
		{"edit-claims", editClaims[X]},
		{"edit-twice", editTwice[X]},
		{"edit-refused", editRefused[X]},
		{"expire", expire[X]},
		{"expire-many", expireMany[X]},
	}
}

func verbs(entries []rollcall.OperatorEntry) (all []rollcall.OperatorVerb) {
	for _, e := range entries {
		all = append(all, e.Verb)
	}
	return all
}

func editRow[X any](w *world[X], row rollcall.Aside, body string) bool {
	w.t.Helper()
	ok, err := rollcall.Edit(ctxb, w.storage.Open(w.t), group, row, []byte(body), rollcall.DedupConfig{}, byKit)
	w.must(err)
	return ok
}

// operatorEntry: redrive, edit and discard leave an entry each, with who, why,
// which message, and what would be lost; what changed nothing leaves none.
func operatorEntry[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	row := deadOne(w, w.owned(1, "k", "order-1"), rollcall.ConsumerConfig{})
	redrive(w, row)
	redrive(w, row)
	for range 2 {
		if _, err := rollcall.Discard(ctxb, w.storage.Open(t), group, []rollcall.Aside{row}, byKit); err != nil {
			t.Fatal(err)
		}
	}
	entries := entriesOf(w, w.reader(), group, 0, 100)
	if got := verbs(entries); !slices.Equal(got, []rollcall.OperatorVerb{rollcall.OperatorRedrive, rollcall.OperatorDiscard}) {
		t.Fatalf("the log says %v, want each once", got)
	}
	for i, detail := range []string{row.Cause, `{"n":1}`} {
		e := entries[i]
		if e.Aside != row.ID || e.MessageID != "order-1" || e.Destination != destination || e.Operator != byKit.Operator || e.Reason != byKit.Reason ||
			time.Since(e.Time).Abs() > time.Hour || string(e.Detail) != detail {
			t.Fatalf("entry %+v, want the row, who, why and %q", e, detail)
		}
	}
}

// failing is a store whose first transaction cannot be committed.
type failing[X any] struct {
	rollcall.Store[X]
	once sync.Once
}

func (s *failing[X]) Begin(ctx context.Context) (rollcall.Tx[X], error) {
	tx, err := s.Store.Begin(ctx)
	s.once.Do(func() { tx = uncommittable[X]{tx} })
	return tx, err
}

type uncommittable[X any] struct{ rollcall.Tx[X] }

var errNoCommit = errors.New("storetest: the transaction was rolled back")

func (t uncommittable[X]) Commit(context.Context) error {
	return errors.Join(errNoCommit, t.Rollback())
}

// operatorSameTransaction: when the change is rolled back, so is the entry.
func operatorSameTransaction[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	row := deadOne(w, w.owned(1, "k", "order-1"), rollcall.ConsumerConfig{})
	for name, do := range map[string]func(s rollcall.Store[X]) error{
		"redrive": func(s rollcall.Store[X]) error {
			_, err := rollcall.Redrive(ctxb, s, group, []rollcall.Aside{row}, byKit)
			return err
		},
		"discard": func(s rollcall.Store[X]) error {
			_, err := rollcall.Discard(ctxb, s, group, []rollcall.Aside{row}, byKit)
			return err
		},
		"edit": func(s rollcall.Store[X]) error {
			_, err := rollcall.Edit(ctxb, s, group, row, []byte("{}"), rollcall.DedupConfig{}, byKit)
			return err
		},
	} {
		if err := do(&failing[X]{Store: w.storage.Open(t)}); !errors.Is(err, errNoCommit) {
			t.Fatalf("%s: %v, want the failure of its COMMIT", name, err)
		}
		if got := entriesOf(w, w.reader(), group, 0, 100); len(got) != 0 {
			t.Fatalf("%s did not happen, and the log says %+v", name, got)
		}
		if rows := w.asides(); len(rows) != 1 || rows[0].State != rollcall.AsideDead || w.tally().Counts.Discarded != 0 {
			t.Fatalf("%s did not happen, and the rows are %+v", name, rows)
		}
	}
}

// discardReason: nothing is given up without saying why.
func discardReason[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	row := deadOne(w, w.owned(1, "k", "order-1"), rollcall.ConsumerConfig{})
	for _, reason := range []string{"", " \n"} {
		if _, err := rollcall.Discard(ctxb, w.storage.Open(t), group, []rollcall.Aside{row}, rollcall.Operation{Reason: reason}); !errors.Is(err, rollcall.ErrConfig) {
			t.Fatalf("reason %q: %v, want ErrConfig", reason, err)
		}
	}
	if w.tally().Dead != 1 || len(entriesOf(w, w.reader(), group, 0, 100)) != 0 {
		t.Fatal("it was discarded all the same")
	}
}

// edit: the corrected message takes effect once, under an identity of its own,
// the original never; it is counted in the original's place, and the log keeps
// the original's body.
func edit[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	m := w.stamped(1, "k")
	m.Headers = []rollcall.Header{{Name: "h", Value: []byte("v")}, {Name: rollcall.StampHeader, Value: []byte("bad")}}
	row := deadOne(w, m, rollcall.ConsumerConfig{})
	if !editRow(w, row, `{"n":"right"}`) {
		t.Fatal("it was not edited")
	}
	waits := w.asides(rollcall.AsideWaiting)
	if len(waits) != 1 {
		t.Fatalf("%d rows wait, want the corrected one", len(waits))
	}
	if g := waits[0]; !g.Message.Stamp.IsZero() || g.Message.ID != rollcall.EditedID(&row) || g.Message.ID == row.Message.ID || g.Identity == row.Identity ||
		g.Message.Key != "k" || g.Message.Destination != destination || len(g.Message.Headers) != 1 || g.OwnsKey || g.ID <= row.ID || g.Due.After(time.Now().Add(time.Hour)) {
		t.Fatalf("the corrected row is %+v", g)
	}
	if old := w.asides(rollcall.AsideDiscarded); len(old) != 1 || old[0].ID != row.ID || len(old[0].Message.Body) != 0 {
		t.Fatalf("the original row is %+v, want it discarded", old)
	}
	entries := entriesOf(w, w.reader(), group, 0, 100)
	if len(entries) != 1 || entries[0].Verb != rollcall.OperatorEdit || entries[0].Aside != row.ID || string(entries[0].Detail) != `{"n":1}` {
		t.Fatalf("entries %+v, want the edit with the original body", entries)
	}
	w.start(options[X]{})
	w.waitLines(1)
	w.redeliver()
	w.waitIdle()
	w.expect(`k {"n":"right"}`)
	if c := w.tally(); c.Counts.Applied != 1 || c.Counts.Discarded != 0 || c.Dead+c.Waiting+c.Parked != 0 {
		t.Fatalf("books %+v, want one message applied", c)
	}
	if redrive(w, row) != 0 {
		t.Fatal("the original was redriven")
	}
}

func byOrder(names ...string) rollcall.DedupConfig { return rollcall.DedupConfig{Key: names} }

// deadOrder makes a message dead whose DedupKey is a field of its body.
func deadOrder[X any](w *world[X]) rollcall.Aside {
	m := w.stamped(1, "k")
	m.Body = []byte(`{"order":7,"n":"wrong"}`)
	return deadOne(w, m, rollcall.ConsumerConfig{Dedup: byOrder("payload.order")})
}

// editKey: the corrected message may have the same DedupKey: the original's is
// free again.
func editKey[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	row := deadOrder(w)
	ok, err := rollcall.Edit(ctxb, w.storage.Open(t), group, row, []byte(`{"order":7,"n":1}`), byOrder("payload.order"), byKit)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	w.start(options[X]{config: rollcall.ConsumerConfig{Dedup: byOrder("payload.order")}})
	w.waitLines(1)
	w.waitIdle()
	w.expect(`k {"order":7,"n":1}`)
	if c := w.tally(); c.Counts.Applied != 1 || c.Counts.Repeated != 0 {
		t.Fatalf("books %+v", c)
	}
}

// editClaims: it claims its DedupKey when it runs, so one that took effect in the
// meantime makes it a repeat, and one that comes later is a repeat.
func editClaims[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	row := deadOrder(w)
	// Another message of that business comes first: it takes the key.
	ok, err := rollcall.Edit(ctxb, w.storage.Open(t), group, row, []byte(`{"order":8}`), byOrder("payload.order"), byKit)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	waits := w.asides(rollcall.AsideWaiting)[0]
	inTx(w, w.storage.Open(t), func(tx rollcall.Tx[X]) {
		a, err := tx.Records().Claim(ctxb, group, []rollcall.KeyClaim{{Key: waits.DedupKey, Owner: rollcall.Identity{9}}})
		w.must(err)
		if !a[0].Fresh {
			t.Fatal("the key was claimed by the edit, before the message ran")
		}
	})
	w.start(options[X]{config: rollcall.ConsumerConfig{Dedup: byOrder("payload.order")}})
	wait(t, "the corrected message to be a repeat", func() bool { return w.tally().Counts.Repeated == 1 })
	w.waitIdle()
	w.expect()
}

// editTwice: of two edits of a row at once one wins, and takes effect once.
func editTwice[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	row := deadOne(w, w.stamped(1, "k"), rollcall.ConsumerConfig{})
	stores := []rollcall.Store[X]{w.storage.Open(t), w.storage.Open(t)}
	won := make(chan bool, len(stores))
	for i, s := range stores {
		go func() {
			ok, err := rollcall.Edit(ctxb, s, group, row, fmt.Appendf(nil, `{"edit":%d}`, i), rollcall.DedupConfig{}, byKit)
			if err != nil {
				t.Error(err)
			}
			won <- ok
		}()
	}
	if a, b := <-won, <-won; a == b {
		t.Errorf("both say %v, want one winner", a)
	}
	w.start(options[X]{})
	w.waitLines(1)
	w.waitIdle()
	if n := len(w.storage.Ledger(t)); n != 1 || len(entriesOf(w, w.reader(), group, 0, 100)) != 1 {
		t.Fatalf("%d effects and entries %+v, want one of each", n, entriesOf(w, w.reader(), group, 0, 100))
	}
}

// editRefused: rows in states other than dead and parked, a body that is the same, and one without the
// key that dedup wants.
func editRefused[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	row := deadOrder(w)
	s := w.storage.Open(t)
	for body, dedup := range map[string]rollcall.DedupConfig{string(row.Message.Body): {}, `{"n":1}`: byOrder("payload.order")} {
		if ok, err := rollcall.Edit(ctxb, s, group, row, []byte(body), dedup, byKit); ok || !errors.Is(err, rollcall.ErrConfig) {
			t.Fatalf("%s: %v %v, want ErrConfig", body, ok, err)
		}
	}
	for i, state := range []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDone, rollcall.AsideDiscarded} {
		row := waiting(10, "k", time.Now().Add(time.Hour))
		row.State, row.Identity = state, rollcall.Identity{10, byte(i)}
		put(w, s, row)
		if editRow(w, w.asides(state)[0], "{}") {
			t.Fatalf("a row that is %s was edited", state)
		}
	}
	if got := entriesOf(w, s, group, 0, 100); len(got) != 0 {
		t.Fatalf("nothing was edited, and the log says %+v", got)
	}
	parked := waiting(11, "k", time.Now())
	parked.State = rollcall.AsideParked
	put(w, s, parked)
	if !editRow(w, w.asides(rollcall.AsideParked)[0], "{}") {
		t.Fatal("a parked row was not edited")
	}
}

// expire: what is dead for longer than DeadKeep is discarded, counted, and its
// body kept in the operator log; what is younger, parked or waiting stays.
func expire[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	s := w.storage.Open(t)
	now := time.Now()
	var rows []rollcall.Aside
	for i, state := range []rollcall.AsideState{rollcall.AsideDead, rollcall.AsideParked, rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideDead} {
		row := waiting(byte(i), "k", now.Add(-2*time.Hour))
		row.State, row.Due, row.Cause = state, now.Add(time.Hour), "why"
		rows = append(rows, row)
	}
	rows[3].Updated = now // it died again just now
	rows[4].OwnsKey, rows[4].DedupKey = true, rollcall.DedupKey{5}
	inTx(w, s, func(tx rollcall.Tx[X]) {
		_, err := tx.Records().Claim(ctxb, group, []rollcall.KeyClaim{{Key: rollcall.DedupKey{5}, Owner: rows[4].Identity}})
		w.must(err)
	})
	put(w, s, rows...)
	w.start(options[X]{config: rollcall.ConsumerConfig{DeadKeep: time.Hour}})
	wait(t, "two rows to expire", func() bool { return w.tally().Counts.Discarded == 2 })
	if c := w.tally(); c.Counts.Discarded != 2 || c.Dead != 1 || c.Parked != 1 || c.Waiting != 1 {
		t.Fatalf("books %+v, want two discarded, and the young, the parked and the waiting one kept", c)
	}
	entries := entriesOf(w, s, group, 0, 100)
	if len(entries) != 2 || entries[0].Verb != rollcall.OperatorExpire || entries[0].Reason == "" || entries[0].Operator == "" ||
		string(entries[0].Detail) != "\x00" || string(entries[1].Detail) != "\x04" {
		t.Fatalf("entries %+v, want two that keep the bodies", entries)
	}
	inTx(w, s, func(tx rollcall.Tx[X]) {
		a, err := tx.Records().Claim(ctxb, group, []rollcall.KeyClaim{{Key: rollcall.DedupKey{5}}})
		w.must(err)
		if !a[0].Fresh {
			t.Error("the key of the row that expired is not free")
		}
	})
}

// expireMany: more rows than go into one transaction, with young ones between.
func expireMany[X any](t *testing.T, h Harness[X]) {
	w := newWorld(t, h, memory.Replayable)
	const many = 250
	now := time.Now()
	rows := make([]rollcall.Aside, many)
	for i := range rows {
		rows[i] = waiting(0, "", now.Add(-2*time.Hour))
		rows[i].Identity = rollcall.Identity{byte(i), 1}
		if rows[i].State = rollcall.AsideDead; i%2 == 1 || i < 2 {
			rows[i].Updated = now
		}
	}
	put(w, w.storage.Open(t), rows...)
	w.start(options[X]{config: rollcall.ConsumerConfig{DeadKeep: time.Hour}})
	wait(t, "the old ones to expire", func() bool { return w.tally().Counts.Discarded == many/2-1 })
	if c := w.tally(); c.Dead != many/2+1 {
		t.Fatalf("books %+v, want %d young ones dead", c, many/2+1)
	}
	if n := len(entriesOf(w, w.reader(), group, 0, 2*many)); n != many/2-1 {
		t.Fatalf("%d entries, want %d", n, many/2-1)
	}
}
