package audit_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// between does something once, between the first and the second reading of a store.
type between struct {
	*sqlite.Store
	once sync.Once
	do   func()
}

func (b *between) Rolls(ctx context.Context, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	rows, err := b.Store.Rolls(ctx, group, scopes)
	b.once.Do(b.do)
	return rows, err
}

func (b *between) Upkeep() rollcall.Upkeep { return betweenUpkeep{b.Store.Upkeep(), b} }

type betweenUpkeep struct {
	rollcall.Upkeep
	of *between
}

func (u betweenUpkeep) Scan(ctx context.Context, group string, after rollcall.Scope, max int) ([]rollcall.RollRow, error) {
	rows, err := u.Upkeep.Scan(ctx, group, after, max)
	u.of.once.Do(u.of.do)
	return rows, err
}

// TestReadWhileWorking: the group works on between two readings of its rolls. What the
// earlier reading did not have is to go, and not missing.
func TestReadWhileWorking(t *testing.T) {
	p, _ := one(t)
	store := openStore(t)
	p.fill(10)
	consume(t, "billing", p.log.Source("orders"), store)
	p.fill(10)
	p.books()
	in := p.inputs()
	in.Store = &between{Store: store, do: func() { consume(t, "billing", p.log.Source("orders"), store) }}
	r := step(t, watch(t, in, audit.Config{Group: "billing", Grace: time.Nanosecond}), time.Now())
	want(t, r, "")
	if s := r.Totals[audit.AtEffect]; s.Stored != 20 || s.Present != 20 {
		t.Errorf("the rolls of senders were read last: %+v", s)
	}
}

// TestSentAgainBehind: a number that was sent again lies behind the marks that bracket
// it. The group has passed them and has not come to it: it is to go. Once passed, it
// is there.
func TestSentAgainBehind(t *testing.T) {
	p, lane := one(t)
	store := openStore(t)
	p.fill(5)
	p.sendAs(p.lives[0], lane, late) // its first answer was lost, and it was not stored
	p.fill(20)
	consume(t, "billing", p.log.Source("orders"), store)
	p.queue[0] = append(p.queue[0], lane.delay...) // it is stored at last, and acknowledged
	lane.delay = nil
	lane.book.Marks = append(lane.book.Marks[:0], rollcall.Mark{Sequence: 5, Position: p.at0(4), Time: p.at}, rollcall.Mark{Sequence: 26, Position: p.at0(24), Time: p.at})
	marks := lane.book.Marks
	p.flush()
	lane.book.Marks = marks
	p.books()
	in := p.inputs()
	in.Store = store
	config := audit.Config{Group: "billing", Grace: time.Nanosecond}
	r := step(t, watch(t, in, config), time.Now())
	want(t, r, "")
	if s := r.Totals[audit.AtEffect]; s.ToGo != 1 || s.Present != 25 {
		t.Errorf("%+v", s)
	}
	consume(t, "billing", p.log.Source("orders"), store)
	r = step(t, watch(t, in, config), time.Now())
	want(t, r, "")
	if s := r.Totals[audit.AtEffect]; s.ToGo != 0 || s.Present != 26 {
		t.Errorf("%+v", s)
	}
}

// at0 is a position in partition 0.
func (p *planter) at0(offset int64) rollcall.Position {
	p.t.Helper()
	extents, err := p.log.Source(p.destination).Measure(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return rollcall.Position{Incarnation: extents[0].Incarnation, Offset: offset}
}

// TestNamedSoon: senders keep their books as they do by default. What is removed before
// the group did it is named within five seconds of when that can be known: it is
// gone, its grace is over.
func TestNamedSoon(t *testing.T) {
	p, _ := one(t)
	store := openStore(t)
	begin(t, "billing", p.log.Source("orders"), store)
	sender := rollcall.NewPublisher(p.log.Sender(), rollcall.PublisherConfig{Observer: quiet})
	defer sender.Close(context.Background())
	const grace = time.Second
	in := p.inputs()
	in.Store = store
	w := watch(t, in, audit.Config{Group: "billing", Grace: grace})
	var acknowledged time.Time
	for range 200 {
		if r := sender.Publish(t.Context(), "orders", rollcall.Message{Body: []byte("x")}); r[0].Fate != rollcall.Stored {
			t.Fatal(r[0].Err)
		}
		acknowledged = time.Now()
	}
	if err := p.log.TrimTo(t.Context(), "orders", 0, 100); err != nil {
		t.Fatal(err)
	}
	known := acknowledged.Add(grace)
	for {
		r := step(t, w, time.Now())
		if s := r.Totals[audit.AtEffect]; s.Lost == 100 && s.ToGo == 100 {
			t.Logf("named %v after it could be known", time.Since(known).Round(10*time.Millisecond))
			return
		}
		if time.Since(known) > 5*time.Second {
			t.Fatalf("not named five seconds after it could be known: %s, %+v", lines(r), r.Totals)
		}
		time.Sleep(time.Second) // as rollcall audit --follow does
	}
}

// growing is a log that has more, acknowledged and booked, as soon as it was measured.
type growing struct {
	*filelog.Source
	once sync.Once
	do   func()
}

func (g *growing) Measure(ctx context.Context) ([]rollcall.Extent, error) {
	extents, err := g.Source.Measure(ctx)
	g.once.Do(g.do)
	return extents, err
}

// TestReadWhileSending: what is sent after the log was measured is not beyond its end:
// the books are read before.
func TestReadWhileSending(t *testing.T) {
	p, _ := one(t)
	store := openStore(t)
	begin(t, "billing", p.log.Source("orders"), store)
	p.fill(10)
	p.books()
	in := p.inputs()
	in.Log = &growing{Source: p.log.Source("orders"), do: func() { p.fill(10); p.books() }}
	in.Store = store
	r := step(t, watch(t, in, audit.Config{Group: "billing", Grace: time.Nanosecond}), time.Now())
	want(t, r, "")
	if s := r.Totals[audit.AtEffect]; s.ToGo != 10 {
		t.Errorf("%+v", s)
	}
}
