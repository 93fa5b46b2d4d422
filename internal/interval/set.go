// Package interval keeps sets of numbers that are mostly runs: 1, 2, 3 and so
// on with a hole here and there. A number is Known (it was added), Unknown (the
// set once held an answer about it and gave it up to stay small) or New.
//
// The third answer is the reason for this package. A bounded set has to forget,
// and a set that forgets towards "known" or towards "new" makes its owner skip
// or repeat work. This one forgets towards Unknown, explicitly, and never closes
// a hole by itself.
package interval

import (
	"iter"
	"slices"
)

// Answer is what a Set says about one number.
type Answer uint8

const (
	// New: the number is in no range. It was never added and nothing about it
	// was given up.
	New Answer = iota
	// Known: the number was added.
	Known
	// Unknown: the number may have been added; the set cannot tell any more.
	Unknown
)

// String returns "New", "Known" or "Unknown".
func (a Answer) String() string {
	switch a {
	case New:
		return "New"
	case Known:
		return "Known"
	case Unknown:
		return "Unknown"
	}
	return "Answer(?)"
}

// Range is the numbers First to Last, both included.
type Range struct{ First, Last uint64 }

// Set is a set of numbers from 1 to 2^64-1. The zero value is empty and ready
// for use. A Set must not be copied after a number was added (use Clone), and it
// is not safe for use by several goroutines while one of them changes it.
//
// A set that is one run takes 24 bytes and no other memory; each further run
// takes 16 bytes.
type Set struct {
	// first is the lowest Known range, {0, 0} if there is none. It is inline
	// because nearly every set is exactly one range, and there are many sets.
	first Range
	// more is nil until something does not fit into first.
	more *tail
}

// tail holds what does not fit inline. Each slice is sorted, and neighbours in
// it have at least one number between them; known starts above Set.first with
// such a distance too. No number is in both known (with first) and unknown.
type tail struct {
	known, unknown []Range
}

// keepCap is the largest capacity, in ranges, that an emptied tail keeps: enough
// that slight disorder does not allocate again and again, too little to matter
// if each of many sets was once in disorder.
const keepCap = 8

// Answer says whether n is Known, Unknown or New. It takes constant time for
// numbers in the lowest range and from the last one upwards, else logarithmic
// time. 0 is no member of any set; Answer(0) is Unknown, the one answer by
// which nobody does or omits anything.
func (s *Set) Answer(n uint64) Answer {
	// n-First wraps for n below First, so one comparison tests both ends. An
	// empty first spans only 0, which the second test excludes.
	if f := &s.first; n-f.First <= f.Last-f.First && n != 0 {
		return Known
	}
	return s.answer(n)
}

func (s *Set) answer(n uint64) Answer {
	t := s.more
	switch {
	case n == 0:
		return Unknown
	case t == nil:
		return New
	case contains(t.known, n):
		return Known
	case contains(t.unknown, n):
		return Unknown
	}
	return New
}

// Add makes n Known if it is New, and reports whether it did. A Known number
// stays Known and an Unknown number stays Unknown: adding it now does not tell
// whether it was added before. Add(0) is a caller's mistake, changes nothing and
// returns false. Adding numbers in order takes constant time and no memory.
func (s *Set) Add(n uint64) bool {
	// n > 1 keeps an empty first (Last 0) and the wrap-around at 0 out.
	if s.more == nil && n-1 == s.first.Last && n > 1 {
		s.first.Last = n
		return true
	}
	return s.add(n)
}

func (s *Set) add(n uint64) bool {
	// A gap may last for ever, so the next number above one is as usual as the
	// next of the first range.
	if t := s.more; t != nil && n > 1 {
		last := &s.first
		if k := len(t.known); k > 0 {
			last = &t.known[k-1]
		}
		if last.Last == n-1 && !contains(t.unknown, n) {
			last.Last = n
			return true
		}
	}
	if s.Answer(n) != New {
		return false
	}
	s.put(Range{n, n})
	return true
}

// AddRange makes every New number from first to last Known, and reports whether
// there was one. Known and Unknown numbers between them stay what they are.
// first = 0 or first > last is a caller's mistake, changes nothing (the numbers
// from 1 are not added either) and returns false.
func (s *Set) AddRange(first, last uint64) bool {
	if first == 0 || first > last {
		return false
	}
	changed := false
	for r := range without(Range{first, last}, s.unknown()) {
		if !s.holds(r) {
			s.put(r)
			changed = true
		}
	}
	return changed
}

// holds reports whether all of r is Known.
func (s *Set) holds(r Range) bool {
	if s.first.First <= r.First && r.Last <= s.first.Last {
		return true // never for an empty first, which ends at 0
	}
	known := s.tailKnown()
	i := seek(known, r.First)
	return i < len(known) && known[i].First <= r.First && r.Last <= known[i].Last
}

// put makes all of r Known and joins it with what it touches. It does not look
// at the Unknown ranges: the caller has taken them out of r, or out of the set.
func (s *Set) put(r Range) {
	switch {
	case s.first.First == 0:
		s.first = r
	case r.Last < s.first.First-1:
		t := s.grow()
		t.known = slices.Insert(t.known, 0, s.first)
		s.first = r
	case r.First-1 > s.first.Last:
		t := s.grow()
		t.known = insert(t.known, r)
	default:
		s.first = Range{min(s.first.First, r.First), max(s.first.Last, r.Last)}
		s.absorb()
	}
}

// absorb takes the ranges that first has reached out of the tail.
func (s *Set) absorb() {
	t := s.more
	if t == nil {
		return
	}
	i := 0
	for i < len(t.known) && t.known[i].First-1 <= s.first.Last {
		i++
	}
	if i == 0 {
		return
	}
	s.first.Last = max(s.first.Last, t.known[i-1].Last)
	t.known = slices.Delete(t.known, 0, i)
	if len(t.known) == 0 && len(t.unknown) == 0 && cap(t.known) > keepCap {
		s.more = nil
	}
}

func (s *Set) grow() *tail {
	if s.more == nil {
		s.more = new(tail)
	}
	return s.more
}

func (s *Set) tailKnown() []Range {
	if s.more == nil {
		return nil
	}
	return s.more.known
}

func (s *Set) unknown() []Range {
	if s.more == nil {
		return nil
	}
	return s.more.unknown
}

// Floor returns the largest n for which all of 1 to n are Known, 0 if 1 is not.
func (s *Set) Floor() uint64 {
	if s.first.First != 1 {
		return 0
	}
	return s.first.Last
}

// High returns the largest number that is Known or Unknown, 0 if there is none.
func (s *Set) High() uint64 {
	high := s.first.Last
	if k := s.tailKnown(); len(k) > 0 {
		high = k[len(k)-1].Last
	}
	if u := s.unknown(); len(u) > 0 {
		high = max(high, u[len(u)-1].Last)
	}
	return high
}

// Count returns how many numbers are Known.
func (s *Set) Count() uint64 {
	var n uint64
	for r := range s.Ranges() {
		n += r.Last - r.First + 1
	}
	return n
}

// Ranges returns the Known numbers as ranges in rising order, with at least one
// number between neighbours. The set must not change during the iteration.
func (s *Set) Ranges() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		if s.first.First != 0 && !yield(s.first) {
			return
		}
		for _, r := range s.tailKnown() {
			if !yield(r) {
				return
			}
		}
	}
}

// UnknownRanges returns the Unknown numbers as ranges in rising order, with at
// least one number between neighbours. The set must not change during the
// iteration.
func (s *Set) UnknownRanges() iter.Seq[Range] {
	return slices.Values(s.unknown())
}

// Gaps returns the New numbers below High as ranges in rising order, with at
// least one number between neighbours. The set must not change during the
// iteration.
func (s *Set) Gaps() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		next := uint64(1)
		for r := range s.taken() {
			if r.First > next && !yield(Range{next, r.First - 1}) {
				return
			}
			next = r.Last + 1 // wraps only after the last range there can be
		}
	}
}

// taken returns the Known and the Unknown ranges together, in rising order.
func (s *Set) taken() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		unknown := s.unknown()
		for k := range s.Ranges() {
			for len(unknown) > 0 && unknown[0].First < k.First {
				if !yield(unknown[0]) {
					return
				}
				unknown = unknown[1:]
			}
			if !yield(k) {
				return
			}
		}
		for _, u := range unknown {
			if !yield(u) {
				return
			}
		}
	}
}

// Equal reports whether both sets answer the same for every number.
func (s *Set) Equal(o *Set) bool {
	return s.first == o.first &&
		slices.Equal(s.tailKnown(), o.tailKnown()) &&
		slices.Equal(s.unknown(), o.unknown())
}

// Clone returns a set that answers like s and shares no memory with it.
func (s *Set) Clone() *Set {
	c := &Set{first: s.first}
	if known, unknown := s.tailKnown(), s.unknown(); len(known)+len(unknown) > 0 {
		c.more = &tail{slices.Clone(known), slices.Clone(unknown)}
	}
	return c
}

// Merge makes s the union of both sets, number by number: Known if either says
// Known, else Unknown if either says Unknown, else New. So a Known of o settles
// an Unknown of s; nothing else does. o stays as it is and shares no memory with
// s afterwards. The order and the number of times in which sets are merged do
// not matter.
func (s *Set) Merge(o *Set) {
	simple := len(o.tailKnown()) == 0 && len(o.unknown()) == 0
	switch {
	case simple && o.first.First == 0:
		return
	case simple && len(s.unknown()) == 0:
		s.put(o.first) // the usual case, and the one that needs no copy
		return
	}
	known := union(s.list(), o.list())
	var unknown []Range
	for _, u := range union(s.unknown(), o.unknown()) {
		unknown = slices.AppendSeq(unknown, without(u, known))
	}
	s.assign(known, unknown)
}

// list returns the Known ranges in one new slice.
func (s *Set) list() []Range {
	return slices.AppendSeq(make([]Range, 0, 1+len(s.tailKnown())), s.Ranges())
}

// assign replaces everything. It keeps both slices.
func (s *Set) assign(known, unknown []Range) {
	*s = Set{}
	if len(known) > 0 {
		s.first, known = known[0], known[1:]
	}
	if len(known)+len(unknown) > 0 {
		s.more = &tail{known, unknown}
	}
}

// Of returns the set of these ranges. Each list is sorted and has at least one
// number between neighbours, and no number is in both.
func Of(known, unknown []Range) *Set {
	s := &Set{}
	s.assign(slices.Clone(known), slices.Clone(unknown))
	return s
}

// Without returns the Known numbers of s that o answers New for, as ranges in
// rising order. Neither set may change during the iteration.
func (s *Set) Without(o *Set) iter.Seq[Range] {
	return func(yield func(Range) bool) {
		var first []Range
		if o.first.Last > 0 {
			first = []Range{o.first}
		}
		for r := range s.Ranges() {
			for x := range without(r, first) {
				for y := range without(x, o.tailKnown()) {
					for left := range without(y, o.unknown()) {
						if !yield(left) {
							return
						}
					}
				}
			}
		}
	}
}
