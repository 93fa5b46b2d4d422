package interval

// Limit keeps the set small. If Size exceeds maxBytes, it turns the oldest
// numbers above the Floor, New and Known alike, into one Unknown range, and as
// few of them as make the set fit: the range ends where a Known or Unknown range
// ends, and everything above it stays as it is. It returns the part that was not
// Unknown before at its first and last number, and true; or false if nothing
// changed.
//
// Numbers up to the Floor always stay Known, and no number ever becomes Known or
// New. A set of which everything above the Floor is Unknown takes 33 bytes at
// most; below that, maxBytes may not be reached.
//
// Limit goes no further than it must, so a set that keeps growing is cut again
// soon. For fewer and larger cuts pass a smaller maxBytes once Size is too large.
func (s *Set) Limit(maxBytes int) (Range, bool) {
	if s.sizeBound() <= maxBytes || s.Size() <= maxBytes {
		return Range{}, false
	}
	c := newCutter(s)
	for c.step() && c.size() > maxBytes {
	}
	return s.giveUp(c)
}

// giveUp makes everything above the Floor up to c.last Unknown.
func (s *Set) giveUp(c *cutter) (Range, bool) {
	region := Range{c.floor + 1, c.last}
	gone := s.unknown() // what is Unknown in the region already
	gone = gone[:len(gone)-len(c.unknown.ranges)]
	if c.last == 0 || len(gone) == 1 && gone[0] == region {
		return Range{}, false
	}
	lost := region
	if len(gone) > 0 {
		if r := gone[0]; r.First == lost.First {
			lost.First = r.Last + 1
		}
		if r := gone[len(gone)-1]; r.Last == lost.Last {
			lost.Last = r.First - 1
		}
	}
	known := c.known.ranges
	if c.floor > 0 {
		known = append([]Range{s.first}, known...)
	}
	s.assign(known, append([]Range{region}, c.unknown.ranges...))
	return lost, true
}

// cutter tries the possible ends of the region above the floor, lowest first,
// and knows the size of the result for each in constant time: a set that is too
// large has many ranges.
type cutter struct {
	floor                   uint64
	floorRanges, floorBytes int // the range 1 to floor, if there is one
	// last is the end of the region, 0 before the first step.
	last uint64
	// known and unknown are what lies above the region.
	known, unknown section
}

func newCutter(s *Set) *cutter {
	c := &cutter{floor: s.Floor(), known: newSection(s.list()), unknown: newSection(s.unknown())}
	if c.floor > 0 {
		c.floorRanges, c.floorBytes = 1, rangeLen(0, s.first)
		c.known.drop()
	}
	return c
}

// step moves the end of the region to the next one, and reports whether there
// was one.
func (c *cutter) step() bool {
	k, u := c.known.ranges, c.unknown.ranges
	switch {
	case len(k) == 0 && len(u) == 0:
		return false
	case len(u) == 0 || len(k) > 0 && k[0].First < u[0].First:
		c.last = k[0].Last
		c.known.drop()
	default:
		c.last = u[0].Last
		c.unknown.drop()
	}
	// An Unknown range that touches the region is part of it: kept apart it
	// would be a second encoding of the same set.
	if u = c.unknown.ranges; len(u) > 0 && u[0].First-1 == c.last {
		c.last = u[0].Last
		c.unknown.drop()
	}
	return true
}

// size returns the encoded size of the set if the region ended at c.last.
func (c *cutter) size() int {
	region := Range{c.floor + 1, c.last}
	return 1 +
		uvarintLen(uint64(c.floorRanges+len(c.known.ranges))) +
		c.floorBytes + c.known.bytesAfter(c.floor) +
		uvarintLen(uint64(1+len(c.unknown.ranges))) +
		rangeLen(0, region) + c.unknown.bytesAfter(c.last)
}

// section is a run of ranges that is consumed from below. rest is the encoded
// size of all but the first; the size of the first depends on what precedes it.
type section struct {
	ranges []Range
	rest   int
}

func newSection(rs []Range) section {
	c := section{ranges: rs}
	for i := 1; i < len(rs); i++ {
		c.rest += rangeLen(rs[i-1].Last, rs[i])
	}
	return c
}

// drop removes the first range.
func (c *section) drop() {
	if len(c.ranges) > 1 {
		c.rest -= rangeLen(c.ranges[0].Last, c.ranges[1])
	}
	c.ranges = c.ranges[1:]
}

// bytesAfter returns the encoded size of the ranges if prev is the last number
// of the range before them.
func (c *section) bytesAfter(prev uint64) int {
	if len(c.ranges) == 0 {
		return 0
	}
	return rangeLen(prev, c.ranges[0]) + c.rest
}
