package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// TestRaisedPartition: what is removed from a partition that was added, before the group
// came to it, is lost: the group was there before the partition.
func TestRaisedPartition(t *testing.T) {
	p, _ := one(t)
	store := openStore(t)
	p.fill(10)
	consume(t, "billing", p.log.Source("orders"), store)
	if err := p.log.Raise(t.Context(), "orders", 2); err != nil {
		t.Fatal(err)
	}
	ann := rollcall.NewPublisher(p.log.Sender(), rollcall.PublisherConfig{Observer: quiet})
	sent := make(map[int32]int)
	lanes, err := p.log.Sender().Lanes(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		m := rollcall.Message{Key: fmt.Sprint(i), Body: []byte("x")}
		sent[lanes.Pick(&m)]++
		if r := ann.Publish(t.Context(), "orders", m); r[0].Fate != rollcall.Stored {
			t.Fatal(r[0].Err)
		}
	}
	if err := ann.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.log.TrimTo(t.Context(), "orders", 1, int64(sent[1])); err != nil {
		t.Fatal(err)
	}
	p.books()
	in := p.inputs()
	in.Store = store
	says := fmt.Sprintf("lost 1-%d at effect: removed", sent[1])
	want(t, judged(t, watch(t, in, audit.Config{Group: "billing", Grace: time.Millisecond}), 10*time.Second), says)
	consume(t, "billing", p.log.Source("orders"), store)
	want(t, judged(t, watch(t, in, audit.Config{Group: "billing", Grace: time.Millisecond}), 10*time.Second), says)
}

// TestFileOverPartitions: the numbers of a file lie over all partitions, and no mark says
// in which. What was removed of one is named, at once and every time; what lies in the
// others is to go.
func TestFileOverPartitions(t *testing.T) {
	for _, old := range []int64{0, 40} { // as many were removed before the group began
		fileOverPartitions(t, old)
	}
}

func fileOverPartitions(t *testing.T, old int64) {
	p, _ := one(t)
	if err := p.log.Create(t.Context(), "files", 8); err != nil {
		t.Fatal(err)
	}
	store := openStore(t)
	for n := range int32(8) {
		var messages []rollcall.Message
		for i := range old {
			messages = append(messages, rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("old", i)), Partition: n, Body: []byte("x")})
		}
		p.log.Sender().Publish(t.Context(), "files", messages)
		if err := p.log.TrimTo(t.Context(), "files", n, old); err != nil {
			t.Fatal(err)
		}
	}
	begin(t, "billing", p.log.Source("files"), store)
	life := rollcall.NewLife()
	pub := rollcall.NewPublisher(p.log.Sender(), rollcall.PublisherConfig{Observer: quiet})
	var messages []rollcall.Message
	for n := range uint64(400) {
		messages = append(messages, rollcall.Message{ID: rollcall.MessageID(fmt.Sprint(n)), Body: []byte("x"),
			Stamp: rollcall.Stamp{Life: life, Sequence: n + 1, Origin: rollcall.OriginOf("files")}})
	}
	removed := 0
	for i, r := range pub.Publish(t.Context(), "files", messages...) {
		if r.Fate != rollcall.Stored {
			t.Fatalf("message %d: %v", i, r.Err)
		}
		if r.Position.Offset < old+20 {
			removed++
		}
	}
	if err := pub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range int32(8) {
		if err := p.log.TrimTo(t.Context(), "files", n, old+20); err != nil {
			t.Fatal(err)
		}
	}
	in := audit.Inputs{Log: p.log.Source("files"), Side: p.log.Source(rollcall.SideDestination), Store: store}
	ask := func() {
		t.Helper()
		r := judged(t, watchOf(t, "files", in, audit.Config{Group: "billing", Grace: time.Millisecond}), 10*time.Second)
		if s := r.Totals[audit.AtEffect]; s.Lost != uint64(removed) || s.ToGo+s.Present != uint64(len(messages)-removed) || causes(r)[audit.CauseRemoved] != s.Lost {
			t.Fatalf("%d were removed: %+v, %v", removed, s, causes(r))
		}
	}
	for range 5 {
		ask()
	}
	consume(t, "billing", p.log.Source("files"), store)
	for range 5 {
		ask()
	}
}

// TestKilledBeforeItsBooks: a file's sender died before it wrote of any lane, and the
// group is behind: nothing is missing.
func TestKilledBeforeItsBooks(t *testing.T) {
	for _, birth := range []bool{true, false} {
		p, _ := one(t)
		store := openStore(t)
		p.fill(3)
		consume(t, "billing", p.log.Source("orders"), store)
		life := rollcall.NewLife()
		put := func(numbers ...uint64) {
			var messages []rollcall.Message
			for _, n := range numbers {
				messages = append(messages, rollcall.Message{ID: rollcall.MessageID(fmt.Sprint(n)), Body: []byte("x"), Time: time.Now(),
					Stamp: rollcall.Stamp{Life: life, Sequence: n, Origin: rollcall.OriginOf("orders")}})
			}
			for _, r := range p.log.Sender().Publish(t.Context(), "orders", messages) {
				if r.Fate != rollcall.Stored {
					t.Fatal(r.Err)
				}
			}
		}
		put(1, 3, 5)
		consume(t, "billing", p.log.Source("orders"), store)
		put(2, 4)
		p.books()
		if birth {
			b := rollcall.Book{Kind: rollcall.BookBirth, Life: life, Keeper: rollcall.NewLife(), Sender: "send f", Destination: "orders", Number: 1, Time: time.Now().Add(-time.Hour), Next: time.Second}
			m, err := b.Message()
			if err != nil {
				t.Fatal(err)
			}
			p.log.Sender().Publish(t.Context(), rollcall.SideDestination, []rollcall.Message{m})
		}
		in := p.inputs()
		in.Store = store
		w := watch(t, in, audit.Config{Group: "billing", Grace: time.Nanosecond})
		for range 3 {
			r := step(t, w, time.Now().Add(time.Hour))
			want(t, r, "")
			if r.Behind[audit.AtEffect] != 2 {
				t.Errorf("two lie there and are not worked off: %+v", r.Behind)
			}
		}
	}
}

// TestOnlyABirth: a sender in partitions that refused every second message, and died
// before it wrote of any: it kept books, so nobody can blame the broker.
func TestOnlyABirth(t *testing.T) {
	p, lane := one(t)
	for range 3 {
		p.sendAs(p.lives[0], lane, stored)
		p.sendAs(p.lives[0], lane, void)
	}
	p.sendAs(p.lives[0], lane, stored)
	p.flush()
	b := rollcall.Book{Kind: rollcall.BookBirth, Life: lane.key.Life, Keeper: lane.key.Life, Destination: "orders", Number: 1, Time: p.at, Next: time.Second}
	m, err := b.Message()
	if err != nil {
		t.Fatal(err)
	}
	p.log.Sender().Publish(t.Context(), rollcall.SideDestination, []rollcall.Message{m})
	in := p.inputs()
	in.Tap = true
	r := judged(t, watch(t, in, audit.Config{Grace: time.Nanosecond}), 10*time.Second)
	want(t, r, "unknown 2 at delivery: sender-gone; unknown 4 at delivery: sender-gone; unknown 6 at delivery: sender-gone")
}

// TestTailWithoutMarks: the last messages of a sender that marks nothing.
func TestTailWithoutMarks(t *testing.T) {
	p, lane := one(t)
	store := openStore(t)
	p.fill(8)
	p.sendAs(p.lives[0], lane, lost)
	p.sendAs(p.lives[0], lane, lost)
	lane.book.Marks = nil
	p.books()
	consume(t, "billing", p.log.Source("orders"), store)
	in := p.inputs()
	in.Store, in.Tap = store, true
	want(t, judged(t, watch(t, in, audit.Config{Group: "billing"}), 10*time.Second), "lost 9-10 at delivery: broker-lost; lost 9-10 at effect: broker-lost")
}

// TestClockAhead: a sender's clock that is ten hours ahead holds no verdict up.
func TestClockAhead(t *testing.T) {
	p, lane := one(t)
	p.at = time.Now().Add(10 * time.Hour)
	p.fill(3)
	p.sendAs(p.lives[0], lane, lost)
	p.fill(3)
	p.books()
	in := p.inputs()
	in.Tap = true
	r := judged(t, watch(t, in, audit.Config{Grace: time.Second}), 10*time.Second)
	want(t, r, "lost 4 at delivery: broker-lost")
	if len(r.Notes) == 0 || r.Notes[0].Kind != audit.NoteClock {
		t.Errorf("notes %+v", r.Notes)
	}
}

// TestLogRestored: an older copy of the log is named.
func TestLogRestored(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "log.db")
	store := openStore(t)
	session := func(n int) *filelog.Log {
		t.Helper()
		log, err := filelog.Open(path, filelog.Config{Partitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		pub := rollcall.NewPublisher(log.Sender(), rollcall.PublisherConfig{Observer: quiet})
		for range n {
			pub.Publish(t.Context(), "orders", rollcall.Message{Body: []byte("x")})
		}
		if err := pub.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		return log
	}
	log := session(10)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	log = session(20)
	consume(t, "billing", log.Source("orders"), store)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	log = session(0)
	defer log.Close()
	r := step(t, watch(t, audit.Inputs{Log: log.Source("orders"), Side: log.Source(rollcall.SideDestination), Store: store}, audit.Config{Group: "billing"}), time.Now())
	for _, n := range r.Notes {
		if n.Kind == audit.NoteLogBehind && strings.Contains(n.Text, "has done offset 29, and the log ends at 10") {
			return
		}
	}
	t.Errorf("notes %+v, want log-behind", r.Notes)
}

// TestManyRanges: a record of very many ranges, forged or not, holds no audit up.
func TestManyRanges(t *testing.T) {
	const ranges = 50_000
	p, lane := one(t)
	for range ranges {
		p.sendAs(p.lives[0], lane, lost)
		p.sendAs(p.lives[0], lane, void)
	}
	p.sendAs(p.lives[0], lane, stored)
	p.flush()
	p.books()
	in := p.inputs()
	in.Tap = true
	began := time.Now()
	r := judged(t, watch(t, in, audit.Config{Grace: time.Second}), 20*time.Second)
	took := time.Since(began)
	if s := r.Totals[audit.AtDelivery]; s.Lost != ranges || s.Void != ranges {
		t.Errorf("%+v", s)
	}
	t.Logf("%d ranges in %v", ranges, took)
}

// TestSentAgainAhead: the group has passed a copy of a message without doing it, and
// another copy lies where it comes yet: it is to go.
func TestSentAgainAhead(t *testing.T) {
	p, lane := one(t)
	store := openStore(t)
	p.fill(10)
	consume(t, "billing", p.log.Source("orders"), store)
	unroll(t, store, lane.key, 4)
	again := rollcall.NewPublisher(p.log.Sender(), rollcall.PublisherConfig{Observer: quiet})
	m := rollcall.Message{ID: "again", Stamp: rollcall.Stamp{Life: lane.key.Life, Sequence: 4, Origin: lane.key.Origin}}
	if r := again.Publish(t.Context(), "orders", m); r[0].Fate != rollcall.Stored {
		t.Fatal(r[0].Err)
	}
	if err := again.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.books()
	in := p.inputs()
	in.Store = store
	r := step(t, watch(t, in, audit.Config{Group: "billing", Grace: time.Nanosecond}), time.Now())
	want(t, r, "")
	if s := r.Totals[audit.AtEffect]; s.ToGo != 1 {
		t.Errorf("%+v", s)
	}
}

// TestLongLookup: where a missing number can lie is more than one look reads. The answer
// takes more steps, and is not given before.
func TestLongLookup(t *testing.T) {
	const messages = 700_000
	p, lane := one(t)
	store := openStore(t)
	p.fill(1)
	consume(t, "billing", p.log.Source("orders"), store)
	for n := range messages {
		if n == messages/2 {
			p.sendAs(p.lives[0], lane, lost)
		}
		p.sendAs(p.lives[0], lane, stored)
		if n%5000 == 0 {
			p.flush()
		}
	}
	p.flush()
	lane.book.Marks = nil
	p.books()
	// A part that the group has not done is gone, so the log is asked for all of it.
	if err := p.log.TrimTo(t.Context(), "orders", 0, messages/100); err != nil {
		t.Fatal(err)
	}
	in := p.inputs()
	in.Store = store
	w := watch(t, in, audit.Config{Group: "billing", Grace: time.Millisecond})
	first := step(t, w, time.Now())
	if w.Answered(first) {
		t.Errorf("answered before everything was looked up: %+v", first.Totals)
	}
	r := judged(t, w, time.Minute)
	if s := r.Totals[audit.AtEffect]; s.Lost == 0 || s.ToGo == 0 {
		t.Errorf("%+v", s)
	}
}

// caughtUp does something when what the broker has noted was asked for: after the
// verdicts of a step.
type caughtUp struct {
	*filelog.Source
	do func()
}

func (c *caughtUp) Noted(ctx context.Context, group string) (map[rollcall.Partition]int64, error) {
	noted, err := c.Source.Noted(ctx, group)
	c.do()
	return noted, err
}

// TestSealedAsJudged: the group works on while a report is made. What the report says is
// to go is not sealed, though it was passed since.
func TestSealedAsJudged(t *testing.T) {
	p, lane := one(t)
	store := openStore(t)
	p.fill(3)
	p.sendAs(p.lives[0], lane, lost)
	p.fill(3)
	lane.book.Marks = nil
	p.books()
	in := p.inputs()
	in.Log = &caughtUp{p.log.Source("orders"), func() { consume(t, "billing", p.log.Source("orders"), store) }}
	in.Store = store
	w := watch(t, in, audit.Config{Group: "billing", Grace: time.Nanosecond})
	r := step(t, w, time.Now())
	if s := r.Totals[audit.AtEffect]; s.ToGo != 7 || w.Sealed(r) {
		t.Errorf("sealed %v, and %+v", w.Sealed(r), s)
	}
	r = step(t, w, time.Now())
	want(t, r, "lost 4 at effect: broker-lost")
	if !w.Sealed(r) {
		t.Error("not sealed, and everything is passed and judged")
	}
}
