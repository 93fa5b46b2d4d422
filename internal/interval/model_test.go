package interval

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is the naive set: an answer for each cell. A cell is a block of numbers
// that the test always treats alike; blocks of very different widths bring
// every varint length and the end of the number space into play, while each
// answer is still looked up and never computed.
type model struct {
	cells []Range
	state []Answer
}

// drawCells draws 4 to 40 cells from 1 upwards, the last of which may end at the
// largest number there is.
func drawCells(t *rapid.T) []Range {
	width := rapid.SampledFrom([]uint64{1, 1, 1, 1, 2, 3, 126, 127, 128, 16383, 16384, 1 << 40, 1 << 58})
	var cells []Range
	next := uint64(1)
	for range rapid.IntRange(4, 40).Draw(t, "cells") {
		w := width.Draw(t, "width")
		cells = append(cells, Range{next, next + w - 1})
		next += w
	}
	if rapid.Bool().Draw(t, "to the end") {
		const end = math.MaxUint64
		cells = append(cells, Range{next, end - 3}, Range{end - 2, end - 2}, Range{end - 1, end - 1}, Range{end, end})
	}
	return cells
}

func drawState(t *rapid.T, cells []Range) []Answer {
	state := make([]Answer, len(cells))
	kind := rapid.SampledFrom([][]Answer{{New, Known}, {New, Known, Known, Known}, {New, Known, Unknown}, {Known}, {New}}).Draw(t, "kind")
	for i := range state {
		state[i] = rapid.SampledFrom(kind).Draw(t, "state")
	}
	return state
}

// runs returns the cells with one answer, those that touch joined.
func (m *model) runs(a Answer) []Range {
	out := []Range{}
	for i, c := range m.cells {
		switch {
		case m.state[i] != a:
		case i > 0 && m.state[i-1] == a:
			out[len(out)-1].Last = c.Last
		default:
			out = append(out, c)
		}
	}
	return out
}

func (m *model) set() *Set {
	s := new(Set)
	s.assign(m.runs(Known), m.runs(Unknown))
	return s
}

func (m *model) clone() *model { return &model{m.cells, slices.Clone(m.state)} }

func (m *model) floor() uint64 {
	if m.state[0] != Known {
		return 0
	}
	return m.runs(Known)[0].Last
}

func (m *model) high() uint64 {
	for i := len(m.cells) - 1; i >= 0; i-- {
		if m.state[i] != New {
			return m.cells[i].Last
		}
	}
	return 0
}

// encode writes the format down a second time, from its description.
func (m *model) encode() []byte {
	known, unknown := m.runs(Known), m.runs(Unknown)
	list := func(b []byte, rs []Range) []byte {
		b = binary.AppendUvarint(b, uint64(len(rs)))
		prev := uint64(0)
		for _, r := range rs {
			b = binary.AppendUvarint(b, r.First-1-prev)
			b = binary.AppendUvarint(b, r.Last+1-r.First)
			prev = r.Last
		}
		return b
	}
	switch {
	case len(unknown) > 0:
		return list(list([]byte{0x13}, known), unknown)
	case len(known) == 0:
		return []byte{0x10}
	case len(known) == 1 && known[0].First == 1:
		return binary.AppendUvarint([]byte{0x11}, known[0].Last)
	}
	return list([]byte{0x12}, known)
}

func collect(seq func(func(Range) bool)) []Range {
	return slices.AppendSeq([]Range{}, seq)
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// check compares everything that can be asked.
func (m *model) check(t fataler, s *Set) {
	t.Helper()
	same := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) { // cmp is clear, but slow
			t.Fatalf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
		}
	}
	checkShape(t, s)
	for i, c := range m.cells {
		for _, n := range []uint64{c.First, c.First + (c.Last-c.First)/2, c.Last} {
			if got := s.Answer(n); got != m.state[i] {
				t.Fatalf("Answer(%d) = %v, want %v", n, got, m.state[i])
			}
		}
	}
	var count uint64
	for _, r := range m.runs(Known) {
		count += r.Last - r.First + 1
	}
	gaps := slices.DeleteFunc(m.runs(New), func(r Range) bool { return r.First > m.high() })
	same("Answer(0)", s.Answer(0), Unknown)
	same("Floor", s.Floor(), m.floor())
	same("High", s.High(), m.high())
	same("Count", s.Count(), count)
	same("Ranges", collect(s.Ranges()), m.runs(Known))
	same("UnknownRanges", collect(s.UnknownRanges()), m.runs(Unknown))
	same("Gaps", collect(s.Gaps()), gaps)

	b, err := s.AppendBinary([]byte("before"))
	same("AppendBinary", b, append([]byte("before"), m.encode()...))
	same("error", err, nil)
	same("Size", s.Size(), len(b)-len("before"))
	if s.sizeBound() < s.Size() {
		t.Fatalf("bound %d below size %d", s.sizeBound(), s.Size())
	}
	if !s.Equal(m.set()) || !m.set().Equal(s) {
		t.Fatalf("not equal to the same set built anew")
	}
	var back Set
	back.Add(77)
	same("UnmarshalBinary", back.UnmarshalBinary(b[len("before"):]), nil)
	if !back.Equal(s) {
		t.Fatalf("round trip: %v", collect(back.taken()))
	}
}

// checkShape tests what the comments on Set and tail promise.
func checkShape(t fataler, s *Set) {
	t.Helper()
	known, unknown := collect(s.Ranges()), collect(s.UnknownRanges())
	for _, rs := range [][]Range{known, unknown} {
		for i, r := range rs {
			if r.First == 0 || r.First > r.Last || i > 0 && r.First-1 <= rs[i-1].Last {
				t.Fatalf("bad range %v in %v", r, rs)
			}
		}
	}
	if !disjoint(known, unknown) {
		t.Fatalf("known %v and unknown %v overlap", known, unknown)
	}
	if s.first.First == 0 && (s.first.Last != 0 || len(s.tailKnown()) > 0) {
		t.Fatalf("empty first %v before %v", s.first, s.tailKnown())
	}
}

// limited is Limit by trying: the first end of a run at which the set fits.
func (m *model) limited(maxBytes int) *model {
	if len(m.encode()) <= maxBytes {
		return m
	}
	last := m
	for i := range m.cells {
		if m.cells[i].Last <= m.floor() || m.state[i] == New || i+1 < len(m.cells) && m.state[i+1] == m.state[i] {
			continue
		}
		last = m.clone()
		for j := range i + 1 {
			if m.cells[j].First > m.floor() {
				last.state[j] = Unknown
			}
		}
		if len(last.encode()) <= maxBytes {
			break
		}
	}
	return last
}

// changed returns the range from the first to the last cell that differs.
func changed(before, after *model) (r Range, any bool) {
	for i, c := range before.cells {
		if before.state[i] != after.state[i] {
			if !any {
				r.First = c.First
			}
			r.Last, any = c.Last, true
		}
	}
	return r, any
}

func merged(a, b *model) *model {
	out := a.clone()
	for i, o := range b.state {
		if o == Known || o == Unknown && out.state[i] == New {
			out.state[i] = o
		}
	}
	return out
}

// machine runs the same operations on a set and on the model.
type machine struct {
	m *model
	s *Set
	// others are sets that must not change any more, with their models.
	others []machine
}

func (x *machine) add(t *rapid.T) {
	var single []int
	for i, c := range x.m.cells {
		if c.First == c.Last {
			single = append(single, i)
		}
	}
	if len(single) == 0 {
		t.Skip("no single numbers")
	}
	i := rapid.SampledFrom(single).Draw(t, "cell")
	want := x.m.state[i] == New
	if want {
		x.m.state[i] = Known
	}
	if got := x.s.Add(x.m.cells[i].First); got != want {
		t.Fatalf("Add(%d) = %v", x.m.cells[i].First, got)
	}
}

func (x *machine) addRange(t *rapid.T) {
	i := rapid.IntRange(0, len(x.m.cells)-1).Draw(t, "from")
	j := rapid.IntRange(i, min(i+6, len(x.m.cells)-1)).Draw(t, "to")
	want := slices.Contains(x.m.state[i:j+1], New)
	for k := i; k <= j; k++ {
		if x.m.state[k] == New {
			x.m.state[k] = Known
		}
	}
	if got := x.s.AddRange(x.m.cells[i].First, x.m.cells[j].Last); got != want {
		t.Fatalf("AddRange(%v, %v) = %v", x.m.cells[i], x.m.cells[j], got)
	}
}

func (x *machine) merge(t *rapid.T) {
	o := &model{x.m.cells, drawState(t, x.m.cells)}
	other := machine{m: o, s: o.set()}
	x.m = merged(x.m, o)
	x.s.Merge(other.s)
	x.others = append(x.others, other)
}

func (x *machine) limit(t *rapid.T) {
	n := rapid.IntRange(-1, 60).Draw(t, "bytes")
	after := x.m.limited(n)
	want, wantAny := changed(x.m, after)
	if got, any := x.s.Limit(n); got != want || any != wantAny {
		t.Fatalf("Limit(%d) = %v, %v, want %v, %v", n, got, any, want, wantAny)
	}
	x.m = after
}

func (x *machine) clone(*rapid.T) {
	x.others = append(x.others, machine{m: x.m.clone(), s: x.s})
	x.s = x.s.Clone()
}

func (x *machine) check(t *rapid.T) {
	x.m.check(t, x.s)
	for _, o := range x.others {
		o.m.check(t, o.s)
	}
	if len(x.others) > 2 {
		x.others = x.others[1:]
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells := drawCells(t)
		m := &model{cells, make([]Answer, len(cells))}
		if rapid.Bool().Draw(t, "start filled") {
			m.state = drawState(t, cells)
		}
		x := &machine{m: m, s: m.set()}
		t.Repeat(map[string]func(*rapid.T){
			"Add": x.add, "AddRange": x.addRange, "Merge": x.merge,
			"Limit": x.limit, "Clone": x.clone, "": x.check,
		})
	})
}

func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells := drawCells(t)
		draw := func() *Set { return (&model{cells, drawState(t, cells)}).set() }
		a, b, c := draw(), draw(), draw()
		join := func(a, b *Set) *Set {
			s := a.Clone()
			s.Merge(b)
			checkShape(t, s)
			return s
		}
		if !join(a, b).Equal(join(b, a)) {
			t.Fatalf("not commutative")
		}
		if !join(join(a, b), c).Equal(join(a, join(b, c))) {
			t.Fatalf("not associative")
		}
		if !join(a, a).Equal(a) || !join(join(a, b), b).Equal(join(a, b)) {
			t.Fatalf("not idempotent")
		}
		if !join(a, new(Set)).Equal(a) || !join(new(Set), a).Equal(a) {
			t.Fatalf("the empty set is not neutral")
		}
		self := a.Clone()
		self.Merge(self)
		if !self.Equal(a) {
			t.Fatalf("merging a set with itself changed it")
		}
	})
}

// TestNumbers compares with a plain map, number by number, over few numbers and
// many orders.
func TestNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		known := map[uint64]bool{}
		base := rapid.SampledFrom([]uint64{0, 1 << 32, math.MaxUint64 - 24}).Draw(t, "base")
		for range rapid.IntRange(1, 80).Draw(t, "adds") {
			n := base + rapid.Uint64Range(1, 24).Draw(t, "n")
			if got := s.Add(n); got == known[n] {
				t.Fatalf("Add(%d) = %v", n, got)
			}
			known[n] = true
			for i := uint64(1); i <= 24; i++ {
				if want := map[bool]Answer{true: Known}[known[base+i]]; s.Answer(base+i) != want {
					t.Fatalf("Answer(%d) is not %v after Add(%d)", base+i, want, n)
				}
			}
			if s.Count() != uint64(len(known)) {
				t.Fatalf("Count() = %d, want %d", s.Count(), len(known))
			}
			checkShape(t, &s)
		}
	})
}
