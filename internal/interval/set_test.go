package interval

import (
	"math"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

const end = math.MaxUint64

// build makes a set of these ranges.
func build(known, unknown []Range) *Set {
	s := new(Set)
	s.assign(slices.Clone(known), slices.Clone(unknown))
	return s
}

// want compares the ranges of s.
func want(t *testing.T, s *Set, known, unknown []Range) {
	t.Helper()
	checkShape(t, s)
	if !s.Equal(build(known, unknown)) {
		t.Fatalf("known %v unknown %v, want %v and %v", collect(s.Ranges()), collect(s.UnknownRanges()), known, unknown)
	}
}

func TestAnswerString(t *testing.T) {
	got := []string{New.String(), Known.String(), Unknown.String(), Answer(9).String()}
	if d := cmp.Diff([]string{"New", "Known", "Unknown", "Answer(?)"}, got); d != "" {
		t.Fatal(d)
	}
	var zero Answer
	if zero != New {
		t.Fatal("the zero value is not New")
	}
}

func TestZeroValue(t *testing.T) {
	var s Set
	if s.Answer(0) != Unknown || s.Answer(1) != New || s.Answer(end) != New {
		t.Fatal("wrong answers")
	}
	if s.Floor() != 0 || s.High() != 0 || s.Count() != 0 {
		t.Fatal("not empty")
	}
	want(t, &s, nil, nil)
	if size := unsafe.Sizeof(s); size > 24 {
		t.Fatalf("a set takes %d bytes, the comment says 24", size)
	}
}

func TestMistakesChangeNothing(t *testing.T) {
	for _, s := range []*Set{new(Set), build([]Range{{1, 5}, {9, 9}}, nil), build([]Range{{end, end}}, []Range{{3, 4}})} {
		before := s.Clone()
		if s.Add(0) || s.AddRange(0, 7) || s.AddRange(0, 0) || s.AddRange(8, 7) || s.AddRange(end, 1) {
			t.Fatal("a mistake reported a change")
		}
		if !s.Equal(before) {
			t.Fatalf("changed to %v", collect(s.taken()))
		}
	}
}

func TestAdd(t *testing.T) {
	tests := map[string]struct {
		before, unknown []Range
		add             uint64
		added           bool
		after           []Range
	}{
		"first":                       {nil, nil, 1, true, []Range{{1, 1}}},
		"not one":                     {nil, nil, 2, true, []Range{{2, 2}}},
		"next":                        {[]Range{{1, 4}}, nil, 5, true, []Range{{1, 5}}},
		"again at the top":            {[]Range{{1, 4}}, nil, 4, false, []Range{{1, 4}}},
		"again at the bottom":         {[]Range{{1, 4}}, nil, 1, false, []Range{{1, 4}}},
		"leaves a gap":                {[]Range{{1, 4}}, nil, 6, true, []Range{{1, 4}, {6, 6}}},
		"fills a gap of one":          {[]Range{{1, 4}, {6, 9}}, nil, 5, true, []Range{{1, 9}}},
		"fills the second gap":        {[]Range{{1, 4}, {6, 9}, {11, 12}}, nil, 10, true, []Range{{1, 4}, {6, 12}}},
		"low end of a gap":            {[]Range{{1, 4}, {7, 9}}, nil, 5, true, []Range{{1, 5}, {7, 9}}},
		"high end of a gap":           {[]Range{{1, 4}, {7, 9}}, nil, 6, true, []Range{{1, 4}, {6, 9}}},
		"middle of a gap":             {[]Range{{1, 4}, {8, 9}}, nil, 6, true, []Range{{1, 4}, {6, 6}, {8, 9}}},
		"late below all":              {[]Range{{5, 6}}, nil, 2, true, []Range{{2, 2}, {5, 6}}},
		"late, touching":              {[]Range{{5, 6}}, nil, 4, true, []Range{{4, 6}}},
		"late below, with a tail":     {[]Range{{5, 6}, {8, 8}}, nil, 1, true, []Range{{1, 1}, {5, 6}, {8, 8}}},
		"next of the last":            {[]Range{{1, 4}, {6, 9}}, nil, 10, true, []Range{{1, 4}, {6, 10}}},
		"next of the last, unknown":   {[]Range{{1, 4}, {6, 9}}, []Range{{10, 11}}, 10, false, []Range{{1, 4}, {6, 9}}},
		"next of the first, unknown":  {[]Range{{1, 4}}, []Range{{5, 6}}, 5, false, []Range{{1, 4}}},
		"one, unknown":                {nil, []Range{{1, 1}}, 1, false, nil},
		"one, below unknown":          {nil, []Range{{2, 2}}, 1, true, []Range{{1, 1}}},
		"above unknown":               {[]Range{{1, 4}}, []Range{{5, 6}}, 7, true, []Range{{1, 4}, {7, 7}}},
		"below unknown":               {nil, []Range{{5, 6}}, 4, true, []Range{{4, 4}}},
		"the largest":                 {[]Range{{1, end - 1}}, nil, end, true, []Range{{1, end}}},
		"the largest again":           {[]Range{{1, end}}, nil, end, false, []Range{{1, end}}},
		"the largest, alone":          {[]Range{{1, 1}}, nil, end, true, []Range{{1, 1}, {end, end}}},
		"last gap below the largest":  {[]Range{{1, end - 2}, {end, end}}, nil, end - 1, true, []Range{{1, end}}},
		"below the largest in a tail": {[]Range{{1, 1}, {end, end}}, nil, end - 1, true, []Range{{1, 1}, {end - 1, end}}},
		"one below the largest":       {[]Range{{end, end}}, nil, 1, true, []Range{{1, 1}, {end, end}}},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			s := build(c.before, c.unknown)
			if got := s.Add(c.add); got != c.added {
				t.Errorf("Add(%d) = %v", c.add, got)
			}
			want(t, s, c.after, c.unknown)

			r := build(c.before, c.unknown)
			if got := r.AddRange(c.add, c.add); got != c.added {
				t.Errorf("AddRange(%d, %d) = %v", c.add, c.add, got)
			}
			want(t, r, c.after, c.unknown)
		})
	}
}

func TestAddRange(t *testing.T) {
	tests := map[string]struct {
		before, unknown []Range
		add             Range
		added           bool
		after           []Range
	}{
		"all there is":             {nil, nil, Range{1, end}, true, []Range{{1, end}}},
		"over everything":          {[]Range{{3, 4}, {8, end}}, nil, Range{1, end}, true, []Range{{1, end}}},
		"to the end, over a later": {[]Range{{1, 1}, {5, 5}}, nil, Range{3, end}, true, []Range{{1, 1}, {3, end}}},
		"inside the first":         {[]Range{{1, 9}}, nil, Range{2, 9}, false, []Range{{1, 9}}},
		"inside a later":           {[]Range{{1, 2}, {5, 9}}, nil, Range{5, 9}, false, []Range{{1, 2}, {5, 9}}},
		"out of a later":           {[]Range{{1, 2}, {5, 9}}, nil, Range{5, 10}, true, []Range{{1, 2}, {5, 10}}},
		"into a later":             {[]Range{{1, 2}, {5, 9}}, nil, Range{4, 9}, true, []Range{{1, 2}, {4, 9}}},
		"exactly the gap":          {[]Range{{1, 2}, {5, 9}}, nil, Range{3, 4}, true, []Range{{1, 9}}},
		"over several":             {[]Range{{1, 2}, {4, 4}, {6, 6}, {8, 8}, {10, 10}}, nil, Range{5, 7}, true, []Range{{1, 2}, {4, 8}, {10, 10}}},
		"from the first over some": {[]Range{{1, 2}, {4, 4}, {6, 6}, {9, 9}}, nil, Range{2, 7}, true, []Range{{1, 7}, {9, 9}}},
		"around unknown":           {[]Range{{1, 2}}, []Range{{4, 5}, {7, 7}}, Range{3, 9}, true, []Range{{1, 3}, {6, 6}, {8, 9}}},
		"between unknown":          {nil, []Range{{4, 5}, {9, 9}}, Range{5, 9}, true, []Range{{6, 8}}},
		"only unknown":             {nil, []Range{{4, 9}}, Range{4, 9}, false, nil},
		"unknown and known":        {[]Range{{1, 3}}, []Range{{4, 9}}, Range{2, 9}, false, []Range{{1, 3}}},
		"unknown at the end":       {nil, []Range{{end, end}}, Range{end - 1, end}, true, []Range{{end - 1, end - 1}}},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			s := build(c.before, c.unknown)
			if got := s.AddRange(c.add.First, c.add.Last); got != c.added {
				t.Errorf("AddRange = %v", got)
			}
			want(t, s, c.after, c.unknown)
		})
	}
}

func TestMergeSettlesUnknown(t *testing.T) {
	s := build([]Range{{1, 4}, {20, 20}}, []Range{{5, 9}})
	s.Merge(build([]Range{{6, 7}}, []Range{{12, 13}, {20, 20}}))
	want(t, s, []Range{{1, 4}, {6, 7}, {20, 20}}, []Range{{5, 5}, {8, 9}, {12, 13}})

	// The one merge that moves a floor over Unknown numbers.
	s = build([]Range{{1, 4}}, []Range{{5, 9}})
	s.Merge(build([]Range{{1, 9}}, nil))
	want(t, s, []Range{{1, 9}}, nil)
}

func TestMergeAtTheEnd(t *testing.T) {
	all, inside := build([]Range{{1, end}}, nil), build([]Range{{5, 6}}, nil)
	all.Merge(inside)
	want(t, all, []Range{{1, end}}, nil)
	all.Merge(build([]Range{{1, 1}, {3, end}}, nil))
	want(t, all, []Range{{1, end}}, nil)
	inside.Merge(all)
	want(t, inside, []Range{{1, end}}, nil)
}

// TestNeighbours has Known next to Unknown: no gap between them, and no floor
// over them.
func TestNeighbours(t *testing.T) {
	s := build([]Range{{1, 2}, {5, 6}, {9, 9}}, []Range{{3, 4}, {7, 7}, {11, 11}})
	if d := cmp.Diff([]Range{{8, 8}, {10, 10}}, collect(s.Gaps())); d != "" {
		t.Errorf("gaps (-want +got):\n%s", d)
	}
	if s.Floor() != 2 || s.High() != 11 || s.Count() != 5 {
		t.Errorf("floor %d, high %d, count %d", s.Floor(), s.High(), s.Count())
	}
}

func TestIterationStops(t *testing.T) {
	s := build([]Range{{2, 3}, {7, 8}, {11, 12}}, []Range{{5, 5}, {14, 14}, {16, 16}})
	for name, c := range map[string]struct {
		seq func(func(Range) bool)
		all []Range
	}{
		"Ranges":        {s.Ranges(), []Range{{2, 3}, {7, 8}, {11, 12}}},
		"UnknownRanges": {s.UnknownRanges(), []Range{{5, 5}, {14, 14}, {16, 16}}},
		"Gaps":          {s.Gaps(), []Range{{1, 1}, {4, 4}, {6, 6}, {9, 10}, {13, 13}, {15, 15}}},
		"taken":         {s.taken(), []Range{{2, 3}, {5, 5}, {7, 8}, {11, 12}, {14, 14}, {16, 16}}},
		"without":       {without(Range{4, 12}, []Range{{5, 5}, {7, 8}}), []Range{{4, 4}, {6, 6}, {9, 12}}},
	} {
		if d := cmp.Diff(c.all, collect(c.seq)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		for stop := range c.all {
			var got []Range
			for r := range c.seq {
				got = append(got, r)
				if len(got) == stop+1 {
					break // a yield after this panics
				}
			}
			if d := cmp.Diff(c.all[:stop+1], got); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	}
}

func TestEqual(t *testing.T) {
	s := build([]Range{{1, 2}, {5, 6}}, []Range{{8, 9}})
	for _, o := range []*Set{
		build([]Range{{1, 1}, {5, 6}}, []Range{{8, 9}}),
		build([]Range{{1, 2}, {5, 7}}, []Range{{8, 9}}),
		build([]Range{{1, 2}, {5, 6}}, []Range{{8, 10}}),
		build([]Range{{1, 2}, {5, 6}}, nil),
		build([]Range{{1, 2}}, []Range{{8, 9}}),
		new(Set),
	} {
		if s.Equal(o) || o.Equal(s) {
			t.Errorf("equal to known %v unknown %v", collect(o.Ranges()), collect(o.UnknownRanges()))
		}
	}
	// A tail that was used and emptied is no difference.
	var used, fresh Set
	for _, n := range []uint64{1, 3, 2} {
		used.Add(n)
	}
	fresh.AddRange(1, 3)
	if used.more == nil || !used.Equal(&fresh) || !fresh.Equal(&used) {
		t.Error("not equal after a gap was filled")
	}
}

func TestMemory(t *testing.T) {
	var s Set
	n := uint64(0)
	if a := testing.AllocsPerRun(1000, func() { n++; s.Add(n) }); a != 0 || s.more != nil {
		t.Errorf("%v allocations a number in order", a)
	}
	s.Add(n + 2)
	n += 2
	if a := testing.AllocsPerRun(1000, func() { n++; s.Add(n) }); a != 0 {
		t.Errorf("%v allocations a number in order above a gap", a)
	}
	for i := uint64(0); i < 100; i += 2 {
		s.Add(n + 2 + i)
	}
	s.AddRange(1, n+200)
	if s.more != nil {
		t.Error("a large tail stays after the last gap is filled")
	}
	o := build([]Range{{1, n + 500}}, nil)
	if a := testing.AllocsPerRun(100, func() { s.Merge(o) }); a != 0 {
		t.Errorf("%v allocations for merging one run", a)
	}
	u := build(nil, []Range{{1, 1}, {3, 3}})
	u.AddRange(5, 5)
	for i := uint64(7); i < 100; i += 2 {
		u.Add(i)
	}
	u.AddRange(5, 100)
	want(t, u, []Range{{5, 100}}, []Range{{1, 1}, {3, 3}})
}

// TestFillFromBelow fills many gaps, lowest first: what is left of the tail must
// survive every join, also while it is large enough to be released.
func TestFillFromBelow(t *testing.T) {
	s := holes(1, 40) // 1, 3 ... 81
	for n := uint64(2); n <= 80; n += 2 {
		if !s.Add(n) {
			t.Fatalf("Add(%d) = false", n)
		}
		if s.Floor() != n+1 || s.Count() != 41+n/2 || s.High() != 81 {
			t.Fatalf("after %d: floor %d, count %d, high %d", n, s.Floor(), s.Count(), s.High())
		}
	}
	want(t, s, []Range{{1, 81}}, nil)
}

func TestCloneSharesNothing(t *testing.T) {
	s := build([]Range{{1, 2}, {5, 6}}, []Range{{8, 9}})
	c := s.Clone()
	if c.more == s.more || &c.more.known[0] == &s.more.known[0] || &c.more.unknown[0] == &s.more.unknown[0] {
		t.Fatal("shared memory")
	}
	var m Set
	m.Merge(s)
	if m.more == s.more || &m.more.known[0] == &s.more.known[0] || &m.more.unknown[0] == &s.more.unknown[0] {
		t.Fatal("shared memory after Merge")
	}
}
