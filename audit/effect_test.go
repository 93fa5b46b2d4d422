package audit_test

import (
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "store.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var quiet = rollcall.SlogObserver(slog.New(slog.DiscardHandler))

// consume works a destination off, with a handler that does nothing.
func consume(t *testing.T, group string, source rollcall.Source, s *sqlite.Store) {
	t.Helper()
	nothing := func(context.Context, *sql.Tx, []rollcall.Message) ([]error, error) { return nil, nil }
	c := rollcall.NewBatchConsumer(group, source, s, nothing, rollcall.ConsumerConfig{Batch: 2000, Observer: quiet})
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, context.DeadlineExceeded)
	defer cancel()
	if err := c.RunUntilEmpty(ctx); err != nil {
		t.Fatalf("working %s off: %v", group, err)
	}
}

// owned is an observer that waits for partitions.
type owned struct {
	once sync.Once
	end  context.CancelFunc
}

func (o *owned) Observe(e rollcall.Event) {
	if got, ok := e.(rollcall.Owned); ok && got.Gained {
		o.once.Do(o.end)
	}
}

// begin runs a group until it owns its partitions, and no longer.
func begin(t *testing.T, group string, source rollcall.Source, s *sqlite.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nothing := func(context.Context, *sql.Tx, []rollcall.Message) ([]error, error) { return nil, nil }
	if err := rollcall.NewBatchConsumer(group, source, s, nothing, rollcall.ConsumerConfig{Observer: &owned{end: cancel}}).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if context.Cause(ctx) != context.Canceled {
		t.Fatalf("waited a minute until %s owned its partitions", group)
	}
}

// TestPlantedEffect: the same faults, seen from a group's rolls alone, before, while
// and after it has worked the destination off.
func TestPlantedEffect(t *testing.T) {
	const messages = 100_000
	p := newPlanter(t, "orders", 3, 12, 2)
	store := openStore(t)
	fill := func() {
		for sent := 0; sent < messages/2; {
			l := p.lives[p.random.IntN(len(p.lives))]
			lane := l.lanes[p.random.IntN(len(l.lanes))]
			for range 50 {
				p.send(l, lane)
				sent++
			}
			if sent%2000 == 0 {
				p.flush()
			}
		}
	}
	fill()
	p.drain()
	p.books()
	consume(t, "billing", p.log.Source("orders"), store)
	in := p.inputs()
	in.Store = store
	w, err := audit.NewWatch(t.Context(), "orders", in, audit.Config{Group: "billing", MaxFindings: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r := judged(t, w, time.Minute)
	p.same(r, audit.AtEffect, audit.Lost, lost)
	before := r.Totals[audit.AtEffect].Lost
	fill()
	for _, l := range p.lives {
		p.sendAs(l, l.lanes[0], lost) // the tail
	}
	p.drain()
	p.books()
	r, err = w.Step(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Totals[audit.AtEffect]; s.Lost < before || s.ToGo == 0 || !w.Sealed(r) { // sealed is what lay there when this watch began
		t.Errorf("half is not worked off, and what was lost before stays so: %+v, %d were", s, before)
		for _, f := range r.Findings {
			if f.Verdict == audit.Suspected {
				t.Errorf("%+v", f)
			}
		}
	}
	for key, set := range told(r, audit.AtEffect, audit.Lost) { // what has no room in the log is known at once
		for wrong := range set.Without(p.truth[key][lost]) {
			t.Errorf("half is not worked off, and %d-%d of lane %d, life %s, count as lost", wrong.First, wrong.Last, key.Lane, key.Life)
		}
	}
	fresh, err := audit.NewWatch(t.Context(), "orders", in, audit.Config{Group: "billing"})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if r, err := fresh.Step(t.Context(), time.Now()); err != nil || fresh.Sealed(r) {
		t.Errorf("half is not worked off, and a new watch says it is sealed (%v)", err)
	}
	consume(t, "billing", p.log.Source("orders"), store)
	r = judged(t, w, time.Minute)
	p.same(r, audit.AtEffect, audit.Lost, lost)
	p.same(r, audit.AtEffect, audit.Void, void)
	p.same(r, audit.AtEffect, audit.Unknown, maybeNot)
	if s := r.Totals[audit.AtEffect]; s.ToGo+s.Open+s.Suspected != 0 {
		t.Errorf("everything was worked off: %+v", s)
	}
}

// rollOf is the data of a roll without one number.
func rollOf(t *testing.T, row rollcall.RollRow, without uint64) []byte {
	t.Helper()
	roll, err := rollcall.OpenRoll(row)
	if err != nil {
		t.Fatal(err)
	}
	set := &interval.Set{}
	for first, last := range roll.Done {
		for n := first; n <= last; n++ {
			if n != without {
				set.Add(n)
			}
		}
	}
	data, err := set.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
