package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// one is a planter with one partition and one living sender.
func one(t *testing.T) (p *planter, lane *plantedLane) {
	t.Helper()
	p = newPlanter(t, "orders", 1, 1, 3)
	return p, p.lives[0].lanes[0]
}

// fill sends n messages that are stored.
func (p *planter) fill(n int) {
	for range n {
		p.sendAs(p.lives[0], p.lives[0].lanes[0], stored)
	}
	p.flush()
}

func watch(t *testing.T, in audit.Inputs, config audit.Config) *audit.Watch {
	t.Helper()
	return watchOf(t, "orders", in, config)
}

func step(t *testing.T, w *audit.Watch, now time.Time) *audit.Report {
	t.Helper()
	r, err := w.Step(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines are findings in short.
func lines(r *audit.Report) string {
	var out []string
	for i := range r.Findings {
		f := &r.Findings[i]
		out = append(out, fmt.Sprintf("%s %s at %s: %s", f.Verdict, f.Numbers(), f.By, f.Cause))
	}
	return strings.Join(out, "; ")
}

func want(t *testing.T, r *audit.Report, says string) {
	t.Helper()
	if got := lines(r); got != says {
		t.Fatalf("the audit says %q, want %q; %+v", got, says, r.Totals)
	}
}

// TestRemovedBeforeDone: just what retention took, and the group had not done, is
// lost; what still lies in the log is to go.
func TestRemovedBeforeDone(t *testing.T) {
	p, _ := one(t)
	store := openStore(t)
	p.fill(100)
	consume(t, "billing", p.log.Source("orders"), store)
	p.fill(200)
	p.books()
	if err := p.log.TrimTo(t.Context(), "orders", 0, 250); err != nil {
		t.Fatal(err)
	}
	in := p.inputs()
	in.Store = store
	w := watch(t, in, audit.Config{Group: "billing"})
	r := judged(t, w, 10*time.Second)
	want(t, r, "lost 101-250 at effect: removed")
	f := r.Findings[0]
	if s := r.Totals[audit.AtEffect]; s.ToGo != 50 || s.Present != 100 || f.Before == nil || f.Before.Number > 100 || f.After == nil || f.After.Number < 251 || f.Sender != "sender-0" {
		t.Errorf("%+v, finding %+v", s, f)
	}
	again := judged(t, watch(t, in, audit.Config{Group: "billing"}), 10*time.Second)
	if again.Findings[0].ID != f.ID {
		t.Errorf("asked again the finding has the id %s, it was %s", again.Findings[0].ID, f.ID)
	}
}

// TestRemovedBeforeTheGroup: what was gone before the group began was never its own;
// what goes afterwards, also before its first message, is lost.
func TestRemovedBeforeTheGroup(t *testing.T) {
	p, _ := one(t)
	store := openStore(t)
	p.fill(50)
	if err := p.log.TrimTo(t.Context(), "orders", 0, 50); err != nil {
		t.Fatal(err)
	}
	begin(t, "billing", p.log.Source("orders"), store)
	p.fill(50)
	if err := p.log.TrimTo(t.Context(), "orders", 0, 80); err != nil {
		t.Fatal(err)
	}
	p.books()
	in := p.inputs()
	in.Store = store
	r := judged(t, watch(t, in, audit.Config{Group: "billing"}), 10*time.Second)
	want(t, r, "lost 51-80 at effect: removed")
	if s := r.Totals[audit.AtEffect]; s.Before != 50 || s.ToGo != 20 {
		t.Errorf("%+v", s)
	}
}

// TestRecreated: what was acknowledged in a destination that was made again, and not
// done, is lost.
func TestRecreated(t *testing.T) {
	p, _ := one(t)
	store := openStore(t)
	p.fill(10)
	consume(t, "billing", p.log.Source("orders"), store)
	p.fill(20)
	p.books()
	if err := p.log.Delete(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	if err := p.log.Create(t.Context(), "orders", 1); err != nil {
		t.Fatal(err)
	}
	in := p.inputs()
	in.Store = store
	want(t, judged(t, watch(t, in, audit.Config{Group: "billing"}), 10*time.Second), "lost 11-30 at effect: recreated")
	in.Store, in.Tap = nil, true // the tap began afterwards: it cannot say who had them
	if r := judged(t, watch(t, in, audit.Config{}), 10*time.Second); len(r.Findings) > 0 || r.Totals[audit.AtDelivery].Before != 30 {
		t.Errorf("the tap says %q, %+v", lines(r), r.Totals)
	}
}

// TestSkipped: a message lies in the log, the group has passed it, and it is in no
// roll of its sender.
func TestSkipped(t *testing.T) {
	p, lane := one(t)
	store := openStore(t)
	p.fill(10)
	p.books()
	consume(t, "billing", p.log.Source("orders"), store)
	unroll(t, store, lane.key, 4)
	in := p.inputs()
	in.Store = store
	w := watch(t, in, audit.Config{Group: "billing"})
	r := judged(t, w, 10*time.Second)
	want(t, r, "lost 4 at effect: skipped")
	if at := r.Findings[0].Lies; at == nil || at.Offset != 3 || at.Partition != 0 {
		t.Errorf("it lies at %+v, want offset 3", at)
	}
	in.Tap = true
	want(t, judged(t, watch(t, in, audit.Config{Group: "billing"}), 10*time.Second), "lost 4 at effect: skipped")
}

// TestSkippedBehindRemoved: what retention took leaves a hole in the group's roll for
// ever; what is missing behind it is found all the same.
func TestSkippedBehindRemoved(t *testing.T) {
	p, lane := one(t)
	store := openStore(t)
	p.fill(10)
	consume(t, "billing", p.log.Source("orders"), store)
	p.fill(10)
	if err := p.log.TrimTo(t.Context(), "orders", 0, 15); err != nil {
		t.Fatal(err)
	}
	consume(t, "billing", p.log.Source("orders"), store)
	p.books()
	unroll(t, store, lane.key, 18)
	in := p.inputs()
	in.Store = store
	r := judged(t, watch(t, in, audit.Config{Group: "billing"}), 10*time.Second)
	want(t, r, "lost 11-15 at effect: removed; lost 18 at effect: skipped")
	if s := r.Totals[audit.AtEffect]; s.ToGo != 0 {
		t.Errorf("everything was passed: %+v", s)
	}
}

// unroll takes a number out of a sender's roll, as no rollcall does.
func unroll(t *testing.T, s *sqlite.Store, key audit.LaneKey, number uint64) {
	t.Helper()
	tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	scope := rollcall.Scope{Kind: rollcall.ScopeSender, ID: key.Life, Origin: key.Origin, Number: key.Lane}
	rows, err := tx.Records().Lock(t.Context(), "billing", []rollcall.Scope{scope})
	if err != nil {
		t.Fatal(err)
	}
	rows[0].Data = rollOf(t, rows[0], number)
	if err := tx.Records().Write(t.Context(), "billing", rows); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestStoreRestored: an older copy of the store is named before anything is run.
func TestStoreRestored(t *testing.T) {
	p, _ := one(t)
	path := filepath.Join(t.TempDir(), "store.db")
	session := func() {
		t.Helper()
		s, err := sqlite.Open(path, sqlite.Config{})
		if err != nil {
			t.Fatal(err)
		}
		consume(t, "billing", p.log.Source("orders"), s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.fill(10)
	session()
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.fill(20)
	p.books()
	session()
	if err := os.WriteFile(path, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{"-wal", "-shm"} {
		_ = os.Remove(path + beside) // of the newer one; there may be none
	}
	s, err := sqlite.Open(path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in := p.inputs()
	in.Store = s
	r := step(t, watch(t, in, audit.Config{Group: "billing"}), time.Now())
	want(t, r, "")
	if len(r.Notes) == 0 || r.Notes[0].Kind != audit.NoteStoreBehind || !strings.Contains(r.Notes[0].Text, "below offset 30") {
		t.Errorf("notes %+v, want store-behind with offset 30", r.Notes)
	}
	if got := r.Totals[audit.AtEffect].ToGo; got != 20 {
		t.Errorf("%d to go, want 20", got)
	}
}

// TestLate: every verdict is revoked by what comes, and each change is told once,
// with its time; the grace is what divides open from suspected and lost.
func TestLate(t *testing.T) {
	p, lane := one(t)
	p.fill(5)
	p.sendAs(p.lives[0], lane, lost)
	p.fill(4)
	p.books()
	in := p.inputs()
	in.Tap = true
	w := watch(t, in, audit.Config{Grace: time.Minute})
	told := func(r *audit.Report) string {
		var out []string
		for _, x := range r.Transitions {
			out = append(out, fmt.Sprintf("%d-%d %s>%s", x.First, x.Last, x.From, x.To))
		}
		return strings.Join(out, "; ")
	}
	for _, c := range []struct {
		now   time.Time
		finds string
		told  string
	}{
		{p.at.Add(time.Second), "open 6 at delivery: broker-lost", "6-6 >open"},
		{p.at.Add(2 * time.Second), "open 6 at delivery: broker-lost", ""},
		{p.at.Add(2 * time.Minute), "lost 6 at delivery: broker-lost", "6-6 open>lost"},
		{p.at.Add(3 * time.Minute), "lost 6 at delivery: broker-lost", ""},
	} {
		r := step(t, w, c.now)
		want(t, r, c.finds)
		if got := told(r); got != c.told {
			t.Errorf("at %v: transitions %q, want %q", c.now, got, c.told)
		}
	}
	m := rollcall.Message{ID: "late", Time: p.at, Stamp: rollcall.Stamp{Life: lane.key.Life, Lane: 0, Sequence: 6, Origin: lane.key.Origin}}
	if r := p.log.Sender().Publish(t.Context(), "orders", []rollcall.Message{m}); r[0].Fate != rollcall.Stored {
		t.Fatal(r[0].Err)
	}
	r := step(t, w, p.at.Add(4*time.Minute))
	want(t, r, "")
	if s := r.Totals[audit.AtDelivery]; told(r) != "6-6 lost>late" || s.Late != 1 || s.Present != 10 {
		t.Errorf("transitions %q, %+v", told(r), s)
	}
}

// TestWaived: accepted numbers are counted apart, for the group whose operator did it.
func TestWaived(t *testing.T) {
	p, lane := one(t)
	store := openStore(t)
	p.fill(3)
	for range 4 {
		p.sendAs(p.lives[0], lane, lost)
	}
	p.fill(3)
	p.books()
	consume(t, "billing", p.log.Source("orders"), store)
	entry := rollcall.OperatorEntry{Time: time.Now(), Operator: "ann", Verb: rollcall.OperatorWaive, Reason: "a test order", Destination: "orders",
		Scope: rollcall.Scope{Kind: rollcall.ScopeSender, ID: lane.key.Life, Origin: lane.key.Origin}, Numbers: rollcall.NumberRange{First: 5, Last: 6}}
	other := entry
	other.Verb, other.Numbers = rollcall.OperatorRecover, rollcall.NumberRange{First: 4, Last: 4}
	if err := rollcall.Note(t.Context(), store, "billing", entry, other); err != nil {
		t.Fatal(err)
	}
	in := p.inputs()
	in.Store = store
	r := judged(t, watch(t, in, audit.Config{Group: "billing"}), 10*time.Second)
	want(t, r, "lost 4 at effect: broker-lost; lost 7 at effect: broker-lost; waived 5-6 at effect: ")
	if s := r.Totals[audit.AtEffect]; s.Waived != 2 || s.Missing != 2 || r.Lost() != 2 {
		t.Errorf("%+v", s)
	}
}

// TestNoBooks: without books a hole is suspected and never called lost; with a tap
// alone it is told from which to which message.
func TestNoBooks(t *testing.T) {
	p, lane := one(t)
	p.fill(5)
	p.sendAs(p.lives[0], lane, void)
	p.fill(5)
	in := p.inputs()
	in.Tap = true
	r := judged(t, watch(t, in, audit.Config{}), 10*time.Second)
	want(t, r, "suspected 6 at delivery: no-books")
	f := r.Findings[0]
	if f.Before == nil || f.Before.Offset != 4 || f.After == nil || f.After.Offset != 5 || r.Lost() != 1 || r.Notes[0].Kind != audit.NoteNoBooks {
		t.Errorf("finding %+v, notes %+v", f, r.Notes)
	}
}

// TestAskedOfTheLog: where the marks do not say which numbers are gone, the log is asked
// which still lie in it: they are to go.
func TestAskedOfTheLog(t *testing.T) {
	p, lane := one(t)
	store := openStore(t)
	begin(t, "billing", p.log.Source("orders"), store)
	p.fill(10)
	p.sendAs(p.lives[0], lane, repeated) // so that the numbers are not those of the offsets
	p.fill(20)
	lane.book.Marks = lane.book.Marks[len(lane.book.Marks)-1:]
	p.books()
	if err := p.log.TrimTo(t.Context(), "orders", 0, 15); err != nil {
		t.Fatal(err)
	}
	in := p.inputs()
	in.Store = store
	r := judged(t, watch(t, in, audit.Config{Group: "billing"}), 10*time.Second)
	want(t, r, "lost 1-14 at effect: removed")
	if s := r.Totals[audit.AtEffect]; s.ToGo != 17 {
		t.Errorf("%+v", s)
	}
}
