package interval

import (
	"testing"
)

// holes is a set with 1 to floor and then every other number, n of them.
func holes(floor, n uint64) *Set {
	s := new(Set)
	s.AddRange(1, floor)
	for i := range n {
		s.Add(floor + 2 + 2*i)
	}
	return s
}

func TestLimitFits(t *testing.T) {
	s := holes(10, 5)
	for _, n := range []int{s.Size(), s.Size() + 1, 1 << 20} {
		if r, any := s.Limit(n); any {
			t.Errorf("Limit(%d) gave up %v", n, r)
		}
	}
	if _, any := s.Limit(s.Size() - 1); !any {
		t.Error("one byte too large, and nothing was given up")
	}
}

func TestLimitGivesUpTheOldest(t *testing.T) {
	s := holes(10, 20) // 12, 14 ... 50
	before := s.Clone()
	r, any := s.Limit(30)
	if !any || r.First != 11 || s.Size() > 30 {
		t.Fatalf("gave up %v, %v; %d bytes left", r, any, s.Size())
	}
	if s.Floor() != 10 || s.High() != 50 {
		t.Fatalf("floor %d, high %d", s.Floor(), s.High())
	}
	for n := uint64(1); n <= 52; n++ {
		want := before.Answer(n)
		if r.First <= n && n <= r.Last {
			want = Unknown
		}
		if got := s.Answer(n); got != want {
			t.Errorf("Answer(%d) = %v, want %v", n, got, want)
		}
	}
	if before.Answer(r.Last) != Known || before.Answer(r.Last+1) != New {
		t.Errorf("the region ends at %d, not where a range ends", r.Last)
	}
	if s.Add(r.First) || s.Add(r.Last) || !s.Add(r.Last+1) {
		t.Error("Unknown must stay, the gap above it must be New")
	}
}

func TestLimitAgain(t *testing.T) {
	s := holes(10, 20)
	a, _ := s.Limit(30)
	for n := uint64(52); n <= 70; n += 2 {
		s.Add(n)
	}
	b, any := s.Limit(30)
	if !any || b.First != a.Last+1 || b.Last <= a.Last {
		t.Fatalf("first %v, then %v", a, b)
	}
	if u := collect(s.UnknownRanges()); len(u) != 1 || u[0] != (Range{11, b.Last}) {
		t.Fatalf("unknown %v, want one range", u)
	}
}

func TestLimitWithoutFloor(t *testing.T) {
	s := build([]Range{{3, 4}, {6, 6}}, nil)
	r, any := s.Limit(0)
	if !any || r != (Range{1, 6}) {
		t.Fatalf("gave up %v, %v", r, any)
	}
	want(t, s, nil, []Range{{1, 6}})
	if r, any := s.Limit(0); any {
		t.Fatalf("gave up %v of nothing", r)
	}
	if s.Add(4) || !s.Add(7) {
		t.Fatal("4 must stay Unknown, 7 must be New")
	}
}

func TestLimitKeepsTheFloor(t *testing.T) {
	for _, s := range []*Set{new(Set), build([]Range{{1, 1 << 40}}, nil), build([]Range{{1, end}}, nil)} {
		before := s.Clone()
		if r, any := s.Limit(-1); any || !s.Equal(before) {
			t.Fatalf("gave up %v", r)
		}
	}
	s := build([]Range{{1, 9}, {12, 13}}, []Range{{15, 16}, {18, 18}})
	if r, any := s.Limit(0); !any || r != (Range{10, 17}) {
		t.Fatalf("gave up %v, %v", r, any)
	}
	want(t, s, []Range{{1, 9}}, []Range{{10, 18}})
}

// TestLimitNoFurther cuts to the exact size of each result: one byte less must
// cut more, the same number must not.
func TestLimitNoFurther(t *testing.T) {
	whole := holes(10, 20)
	for n := whole.Size() - 1; n > 12; n-- {
		a := whole.Clone()
		r, _ := a.Limit(n)
		b := whole.Clone()
		if again, _ := b.Limit(a.Size()); again != r || a.Size() > n {
			t.Fatalf("Limit(%d) gave up %v and left %d, Limit(%d) gave up %v", n, r, a.Size(), a.Size(), again)
		}
		if less, _ := whole.Clone().Limit(a.Size() - 1); less.Last <= r.Last && r.Last != whole.High() {
			t.Fatalf("Limit(%d) gave up %v, one less %v", a.Size(), r, less)
		}
	}
}

// TestLimitJoins lets the region end beside an Unknown range, and one number
// before one.
func TestLimitJoins(t *testing.T) {
	s := build([]Range{{1, 4}, {6, 7}, {20, 20}}, []Range{{8, 9}, {11, 11}, {30, 30}})
	if r, any := s.Limit(s.Size() - 1); !any || r != (Range{5, 7}) {
		t.Fatalf("gave up %v, %v", r, any)
	}
	want(t, s, []Range{{1, 4}, {20, 20}}, []Range{{5, 9}, {11, 11}, {30, 30}})
	if r, any := s.Limit(s.Size() - 1); !any || r != (Range{10, 10}) {
		t.Fatalf("gave up %v, %v", r, any)
	}
	want(t, s, []Range{{1, 4}, {20, 20}}, []Range{{5, 11}, {30, 30}})
}

// TestLimitSmallest holds the figure in Limit's comment.
func TestLimitSmallest(t *testing.T) {
	for _, floor := range []uint64{1, 1<<63 - 1, 1 << 63, end - 5} {
		s := build([]Range{{1, floor}, {end, end}}, nil)
		s.Limit(0)
		want(t, s, []Range{{1, floor}}, []Range{{floor + 1, end}})
		if s.Size() > 33 {
			t.Errorf("floor %d: %d bytes", floor, s.Size())
		}
		if floor == 1<<63 && s.Size() != 33 {
			t.Errorf("33 is not the largest: %d", s.Size())
		}
	}
}

// TestCutterSize compares the size that each possible cut is judged by with the
// size that it has, over enough ranges for their counts to change length.
func TestCutterSize(t *testing.T) {
	for _, base := range []uint64{1, 120, 1 << 14, 1 << 40} {
		var known, unknown []Range
		for i := range uint64(300) {
			first := base + 7*i + i*i
			known = append(known, Range{first, first + i%3})
			if i%2 == 1 {
				unknown = append(unknown, Range{first + 3 + i%2, first + 5})
			}
		}
		s := build(known, unknown)
		ends := len(known) + len(unknown)
		if s.Floor() > 0 {
			ends--
		}
		for c, steps := newCutter(s), 0; ; steps++ {
			if !c.step() {
				if steps != ends {
					t.Fatalf("%d steps, want %d", steps, ends)
				}
				break
			}
			cut := s.Clone()
			cut.giveUp(c)
			checkShape(t, cut)
			if c.size() != cut.Size() {
				t.Fatalf("base %d, cut at %d: size %d, is %d", base, c.last, c.size(), cut.Size())
			}
		}
	}
}
