package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// rollOf is a roll with these numbers.
func rollOf(t *testing.T, numbers ...uint64) *rollcall.Roll {
	t.Helper()
	var set interval.Set
	for _, n := range numbers {
		set.Add(n)
	}
	data, err := set.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rollcall.OpenRoll(rollcall.RollRow{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPositions: offset n is number n+1; what retention removed before it was
// done is missing, what is there and not done is to go.
func TestPositions(t *testing.T) {
	for name, c := range map[string]struct {
		first, end int64
		done       []uint64
		want       positions
	}{
		"empty":               {0, 0, nil, positions{}},
		"untouched":           {0, 3, nil, positions{end: 3, toGo: 3}},
		"done":                {0, 3, []uint64{1, 2, 3}, positions{end: 3, done: 3}},
		"tail":                {0, 3, []uint64{1}, positions{end: 3, toGo: 2, done: 1}},
		"hole":                {0, 4, []uint64{1, 4}, positions{end: 4, toGo: 2, done: 2}},
		"hole removed":        {3, 4, []uint64{1, 4}, positions{end: 4, missing: 2, done: 2}},
		"hole half removed":   {2, 4, []uint64{1, 4}, positions{end: 4, missing: 1, toGo: 1, done: 2}},
		"hole just not":       {1, 4, []uint64{1, 4}, positions{end: 4, toGo: 2, done: 2}},
		"all removed":         {5, 5, nil, positions{end: 5, missing: 5}},
		"tail removed":        {5, 5, []uint64{1, 2}, positions{end: 5, missing: 3, done: 2}},
		"tail half removed":   {4, 6, []uint64{1, 2}, positions{end: 6, missing: 2, toGo: 2, done: 2}},
		"done, then removed":  {3, 3, []uint64{1, 2, 3}, positions{end: 3, done: 3}},
		"several holes":       {4, 9, []uint64{2, 5, 8}, positions{end: 9, missing: 3, toGo: 3, done: 3}},
		"more done than held": {0, 2, []uint64{1, 2, 3}, positions{end: 2, done: 3}},
	} {
		var got positions
		got.add(&rollcall.Extent{First: c.first, End: c.end}, rollOf(t, c.done...))
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestBalance: every counter counts, of this destination only.
func TestBalance(t *testing.T) {
	tally := rollcall.Tally{Destination: "a", Counts: rollcall.Counts{Applied: 1, Repeated: 2, Stale: 4, Filtered: 8, Discarded: 16, Copies: 1000},
		Waiting: 32, Dead: 64, Parked: 128}
	tallies := []rollcall.Tally{{Destination: "b", Counts: rollcall.Counts{Applied: 5000}, Dead: 7}, tally}
	const sum = 1 + 2 + 4 + 8 + 16 + 32 + 64 + 128
	p := positions{end: sum + 1000 + 256, missing: 256}
	b := newBook("a", p, tallies)
	if !b.Drained || !b.Balanced || b.Stored != sum+256 || b.Copies != 1000 {
		t.Errorf("%+v", b)
	}
	const line = "a: stored 511 = applied 1 + repeated 2 + stale 4 + filtered 8 + discarded 16 + waiting 32 + dead 64 + parked 128 + missing 256: balanced"
	if got := b.line(); got != line {
		t.Error(got)
	}
	p.end++
	if b = newBook("a", p, tallies); b.Balanced || !strings.Contains(b.line(), "NOT BALANCED") || !strings.Contains(b.difference(), "nothing became of 1 of them") {
		t.Errorf("one too many: %+v %s", b, b.difference())
	}
	p.end -= 3
	if b = newBook("a", p, tallies); b.Balanced || !strings.Contains(b.difference(), "2 more were counted") {
		t.Errorf("two too few: %+v %s", b, b.difference())
	}
	p.toGo = 1
	if b = newBook("a", p, tallies); b.Drained || b.Balanced || !strings.HasSuffix(b.line(), "not drained, 1 to go") {
		t.Errorf("one to go: %+v %s", b, b.line())
	}
	if b = newBook("c", positions{}, tallies); !b.Drained || !b.Balanced || b.Stored != 0 {
		t.Errorf("another destination: %+v", b)
	}
}

// moving is a source that holds more each time it is asked.
type moving struct{ end, until int64 }

func (m *moving) Measure(context.Context) ([]rollcall.Extent, error) {
	if m.end < m.until {
		m.end++
	}
	return []rollcall.Extent{{Partition: rollcall.Partition{Destination: "a"}, Incarnation: rollcall.Incarnation{1}, First: m.end, End: m.end}}, nil
}

// TestTakeBook: log and store are two files; what moves between two readings
// is never called balanced, nor a difference.
func TestTakeBook(t *testing.T) {
	store := memory.Open(memory.NewDatabase(memory.Config{}))
	b, err := takeBook(t.Context(), store, "g", &moving{until: 3}, "a")
	if err != nil || !b.Drained || b.Missing != 3 || !b.Balanced {
		t.Errorf("it stopped moving: %+v %v", b, err)
	}
	b, err = takeBook(t.Context(), store, "g", &moving{until: 1000}, "a")
	if err != nil || b.Drained || b.Balanced || !strings.HasSuffix(b.line(), "other processes are at work") {
		t.Errorf("it never stops: %+v %s %v", b, b.line(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := takeBook(ctx, store, "g", failing{}, "a"); !errors.Is(err, errFailing) {
		t.Errorf("the source fails: %v", err)
	}
}

type failing struct{}

var errFailing = errors.New("no")

func (failing) Measure(context.Context) ([]rollcall.Extent, error) { return nil, errFailing }
