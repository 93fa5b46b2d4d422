package id_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/id"
)

// handClock is moved by hand.
type handClock struct{ now time.Time }

func (c *handClock) Now() time.Time { return c.now }

func (c *handClock) Sleep(context.Context, time.Duration) error { return nil }

// memoryMarks are Marks that survive a generator, and count.
type memoryMarks struct {
	marks  map[string]int64
	raised int
	fail   error
}

func (m *memoryMarks) Raise(_ context.Context, name string, to int64) (int64, error) {
	if m.fail != nil {
		return 0, m.fail
	}
	was := m.marks[name]
	m.marks[name] = max(was, to)
	m.raised++
	return was, nil
}

func newMarks() *memoryMarks { return &memoryMarks{marks: make(map[string]int64)} }

var start = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)

func newGenerator(t rapid.TB, config id.Config) *id.Generator {
	t.Helper()
	g, err := id.New(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func next(t rapid.TB, g *id.Generator) id.ID {
	t.Helper()
	one, err := g.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return one
}

// TestLayout: other libraries read our ids, and time comes back to the tick.
func TestLayout(t *testing.T) {
	clock := &handClock{start}
	one := next(t, newGenerator(t, id.Config{Clock: clock}))
	u, err := uuid.Parse(one.String())
	if err != nil || u != uuid.UUID(one) || u.Version() != 7 || u.Variant() != uuid.RFC4122 {
		t.Fatalf("%v as a UUID: %v, version %d, variant %v (%v)", one, u, u.Version(), u.Variant(), err)
	}
	if off := clock.now.Sub(one.Time()); off < 0 || off > time.Millisecond/4096+time.Nanosecond {
		t.Fatalf("made at %v, it says %v", clock.now, one.Time())
	}
	if back, err := id.Parse(one.String()); err != nil || back != one {
		t.Fatalf("%v came back as %v (%v)", one, back, err)
	}
	for _, bad := range []string{"", uuid.NewString(), strings.ToUpper(one.String()) + "0", "urn:uuid:" + one.String()} {
		if _, err := id.Parse(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestOrdered: whatever the clock does, and however often the process is
// replaced by a new one, each id sorts after the one before, as bytes and as
// text, or is refused with ErrBehind.
func TestOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock, marks, told := &handClock{start}, newMarks(), 0
		config := id.Config{Clock: clock, Marks: marks, OnBehind: func(time.Duration) { told++ }}
		g := newGenerator(t, config)
		var before id.ID
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"take", "take", "move", "kill"}).Draw(t, "step") {
			case "move":
				clock.now = clock.now.Add(time.Duration(rapid.Int64Range(-int64(2*time.Hour), int64(time.Hour)).Draw(t, "by")))
			case "kill":
				g = newGenerator(t, config)
			default:
				ids, err := g.Take(context.Background(), rapid.IntRange(1, 9000).Draw(t, "n"))
				if errors.Is(err, id.ErrBehind) && clock.now.Before(before.Time().Add(-59*time.Minute)) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, one := range ids {
					if bytes.Compare(one[:], before[:]) <= 0 || one.String() <= before.String() {
						t.Fatalf("%v came after %v", one, before)
					}
					before = one
				}
			}
		}
	})
}

// TestSetBack: within a process ids go on a tick at a time, it is said once each
// time, and past MaxBehind it is refused until the clock is right.
func TestSetBack(t *testing.T) {
	clock := &handClock{start}
	var told []time.Duration
	g := newGenerator(t, id.Config{Clock: clock, OnBehind: func(by time.Duration) { told = append(told, by) }})
	before := next(t, g)
	for range 2 {
		clock.now = clock.now.Add(-10 * time.Minute)
		for range 3 {
			one := next(t, g)
			if d := one.Time().Sub(before.Time()); d <= 0 || d > time.Microsecond {
				t.Fatalf("%v after %v: %v later, want one tick", one, before, d)
			}
			before = one
		}
		clock.now = clock.now.Add(11 * time.Minute)
		before = next(t, g)
	}
	if len(told) != 2 || told[0].Round(time.Second) != 10*time.Minute {
		t.Fatalf("told %v, want 10 minutes, twice", told)
	}
	clock.now = clock.now.Add(-61 * time.Minute)
	_, err := g.Next(t.Context())
	if !errors.Is(err, id.ErrBehind) || !strings.Contains(err.Error(), "1h1m0s before the newest id") {
		t.Fatalf("an hour and a minute behind: %v", err)
	}
	clock.now = clock.now.Add(2 * time.Minute)
	if one := next(t, g); bytes.Compare(one[:], before[:]) <= 0 {
		t.Fatalf("%v came after %v", one, before)
	}
}

// TestRestart: a new generator with the clock set back goes on above the mark;
// without marks it cannot know.
func TestRestart(t *testing.T) {
	clock, marks := &handClock{start}, newMarks()
	old, err := newGenerator(t, id.Config{Clock: clock, Marks: marks}).Take(t.Context(), 20_000)
	if err != nil {
		t.Fatal(err)
	}
	clock.now = clock.now.Add(-30 * time.Minute)
	told := 0
	g := newGenerator(t, id.Config{Clock: clock, Marks: marks, OnBehind: func(time.Duration) { told++ }})
	for range 3 {
		if one := next(t, g); bytes.Compare(one[:], old[len(old)-1][:]) <= 0 {
			t.Fatalf("%v came after %v", one, old[len(old)-1])
		}
	}
	if told != 1 {
		t.Fatalf("told %d times, want once", told)
	}
	if one := next(t, newGenerator(t, id.Config{Clock: clock})); bytes.Compare(one[:], old[0][:]) >= 0 {
		t.Fatalf("%v without marks sorts after %v: the clock did not go back", one, old[0])
	}
	clock.now = clock.now.Add(-time.Hour)
	if _, err := newGenerator(t, id.Config{Clock: clock, Marks: marks}).Next(t.Context()); !errors.Is(err, id.ErrBehind) {
		t.Fatalf("90 minutes behind the mark: %v", err)
	}
}

// TestMarkedAhead: no id is given out above the mark, the mark is seldom
// written, and a process that is killed soon takes little time with it.
func TestMarkedAhead(t *testing.T) {
	clock, marks := &handClock{start}, newMarks()
	g := newGenerator(t, id.Config{Clock: clock, Marks: marks})
	for range 10_000 {
		one := next(t, g)
		if mark := marks.marks["default"]; mark < one.Time().UnixMilli()<<12 {
			t.Fatalf("id of %v is above the mark", one.Time())
		}
		clock.now = clock.now.Add(time.Millisecond)
	}
	if marks.raised > 25 {
		t.Fatalf("the mark was written %d times in 10 s, want about one a second", marks.raised)
	}
	for range 1000 { // a crash loop that lives 5 ms each time
		next(t, newGenerator(t, id.Config{Clock: clock, Marks: marks}))
		clock.now = clock.now.Add(5 * time.Millisecond)
	}
	if ahead := time.UnixMilli(marks.marks["default"] >> 12).Sub(clock.now); ahead > 2*time.Second {
		t.Fatalf("1000 crashes pushed the mark %v ahead", ahead)
	}
	marks.fail = errors.New("disk full")
	clock.now = clock.now.Add(time.Minute)
	if _, err := g.Next(t.Context()); !errors.Is(err, marks.fail) {
		t.Fatalf("an id above the mark although it could not be raised: %v", err)
	}
}

// TestConcurrent: no repeat between goroutines, and order within each.
func TestConcurrent(t *testing.T) {
	g := newGenerator(t, id.Config{Marks: newMarks()})
	var mu sync.Mutex
	seen := make(map[id.ID]bool)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			var mine []id.ID
			for range 2000 {
				one, err := g.Next(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				mine = append(mine, one)
			}
			if !slices.IsSortedFunc(mine, func(a, b id.ID) int { return bytes.Compare(a[:], b[:]) }) {
				t.Error("out of order within a goroutine")
			}
			mu.Lock()
			defer mu.Unlock()
			for _, one := range mine {
				if seen[one] {
					t.Errorf("%v was given out twice", one)
				}
				seen[one] = true
			}
		})
	}
	group.Wait()
	if len(seen) != 16_000 {
		t.Fatalf("%d ids, want 16000", len(seen))
	}
}

// TestConfig: what cannot work is refused, by name.
func TestConfig(t *testing.T) {
	for _, c := range []id.Config{{Name: "a b"}, {Name: strings.Repeat("x", 101)}, {Ahead: time.Microsecond},
		{Ahead: -1}, {MaxBehind: time.Second}, {MaxBehind: -1}} {
		if _, err := id.New(t.Context(), c); !errors.Is(err, rollcall.ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := newGenerator(t, id.Config{}).Take(t.Context(), 0); !errors.Is(err, rollcall.ErrConfig) {
		t.Errorf("take 0: %v", err)
	}
}

func BenchmarkNext(b *testing.B) {
	g := newGenerator(b, id.Config{})
	for b.Loop() {
		_, _ = g.Next(context.Background())
	}
}

func BenchmarkNextParallel(b *testing.B) {
	g := newGenerator(b, id.Config{})
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = g.Next(context.Background())
		}
	})
}

// BenchmarkNextMarked has its mark in a file: what it costs is the fsync, once a
// second.
func BenchmarkNextMarked(b *testing.B) {
	g := newGenerator(b, id.Config{Marks: open(b, b.TempDir()+"/ids.db")})
	for b.Loop() {
		_, _ = g.Next(context.Background())
	}
}

func BenchmarkUUID7(b *testing.B) {
	for b.Loop() {
		_, _ = uuid.NewV7()
	}
}

func BenchmarkNumbers(b *testing.B) {
	n := id.NewNumbers(open(b, b.TempDir()+"/ids.db"), "bench", id.NumbersConfig{Block: 1000})
	for b.Loop() {
		if _, err := n.Next(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
