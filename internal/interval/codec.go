package interval

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// The encoding is one byte, its version in the upper half and its kind in the
// lower, followed by unsigned varints:
//
//	empty    nothing
//	prefix   the floor of a set that is 1 to floor and nothing else
//	known    the Known ranges
//	both     the Known ranges, the Unknown ranges
//
// Ranges are their number, then for each the count of numbers that lie between
// it and the one before (for the first: between it and 0) and the count of its
// own. Only the first may lie next to its predecessor, so neighbours that touch
// cannot be written; and since every set has one kind and every varint one
// length, a set has one encoding.
const (
	version = 1

	kindEmpty  = 0
	kindPrefix = 1
	kindKnown  = 2
	kindBoth   = 3
)

var (
	// ErrVersion says that bytes were written in a version of the encoding that
	// this code does not know.
	ErrVersion = errors.New("interval: unknown version of the encoding")
	// ErrMalformed says that bytes are not the encoding of any set.
	ErrMalformed = errors.New("interval: malformed encoding")
)

var (
	_ encoding.BinaryAppender    = (*Set)(nil)
	_ encoding.BinaryUnmarshaler = (*Set)(nil)
)

func (s *Set) kind() byte {
	switch {
	case len(s.unknown()) > 0:
		return kindBoth
	case s.first.First == 0:
		return kindEmpty
	case s.first.First == 1 && len(s.tailKnown()) == 0:
		return kindPrefix
	}
	return kindKnown
}

// AppendBinary appends the encoding of s to dst and returns the longer slice.
// The error is always nil. Equal sets have equal encodings.
func (s *Set) AppendBinary(dst []byte) ([]byte, error) {
	kind := s.kind()
	dst = append(dst, version<<4|kind)
	switch kind {
	case kindEmpty:
		return dst, nil
	case kindPrefix:
		return binary.AppendUvarint(dst, s.first.Last), nil
	}
	dst = binary.AppendUvarint(dst, uint64(s.runs()))
	if s.first.First != 0 {
		dst = appendRange(dst, 0, s.first)
	}
	dst = appendRanges(dst, s.first.Last, s.tailKnown())
	if u := s.unknown(); kind == kindBoth {
		dst = binary.AppendUvarint(dst, uint64(len(u)))
		dst = appendRanges(dst, 0, u)
	}
	return dst, nil
}

// runs returns the number of Known ranges.
func (s *Set) runs() int {
	if s.first.First == 0 {
		return 0
	}
	return 1 + len(s.tailKnown())
}

func appendRanges(dst []byte, prev uint64, rs []Range) []byte {
	for _, r := range rs {
		dst = appendRange(dst, prev, r)
		prev = r.Last
	}
	return dst
}

func appendRange(dst []byte, prev uint64, r Range) []byte {
	dst = binary.AppendUvarint(dst, r.First-prev-1)
	return binary.AppendUvarint(dst, r.Last-r.First+1)
}

// Size returns the number of bytes that AppendBinary appends.
func (s *Set) Size() int {
	kind := s.kind()
	switch kind {
	case kindEmpty:
		return 1
	case kindPrefix:
		return 1 + uvarintLen(s.first.Last)
	}
	known := newSection(s.tailKnown())
	size := 1 + uvarintLen(uint64(s.runs())) + known.bytesAfter(s.first.Last)
	if s.first.First != 0 {
		size += rangeLen(0, s.first)
	}
	if kind == kindBoth {
		unknown := newSection(s.unknown())
		size += uvarintLen(uint64(len(unknown.ranges))) + unknown.bytesAfter(0)
	}
	return size
}

// sizeBound returns a number that Size does not exceed, in constant time.
func (s *Set) sizeBound() int {
	ranges := 1 + len(s.tailKnown()) + len(s.unknown())
	return 1 + 2*(ranges+1)*binary.MaxVarintLen64
}

func rangeLen(prev uint64, r Range) int {
	return uvarintLen(r.First-prev-1) + uvarintLen(r.Last-r.First+1)
}

// uvarintLen returns the length of n as a varint: 7 bits a byte, at least one.
func uvarintLen(n uint64) int {
	return (bits.Len64(n|1) + 6) / 7
}

// UnmarshalBinary replaces the set by the one that b encodes. It keeps no part
// of b. It accepts exactly what AppendBinary makes: bytes that it accepts encode
// again to the same bytes. For all else it returns an error that wraps
// ErrVersion or ErrMalformed, and the set stays as it was. Memory is bounded by
// about eight times the length of b, whatever numbers are in it.
func (s *Set) UnmarshalBinary(b []byte) error {
	if len(b) == 0 {
		return malformed("no bytes")
	}
	if v := b[0] >> 4; v != version {
		return fmt.Errorf("%w: %d", ErrVersion, v)
	}
	kind, d := b[0]&0xf, decoder{rest: b[1:]}
	var out Set
	switch kind {
	case kindEmpty:
	case kindPrefix:
		out.first = Range{1, d.uvarint()}
		if d.err == nil && out.first.Last == 0 {
			d.fail("empty prefix")
		}
	case kindKnown, kindBoth:
		d.set(&out, kind)
	default:
		d.fail("unknown kind")
	}
	if d.err == nil && len(d.rest) > 0 {
		d.fail("trailing bytes")
	}
	if d.err != nil {
		return d.err
	}
	*s = out
	return nil
}

// decoder reads from rest; after the first error it reads zeros.
type decoder struct {
	rest []byte
	err  error
}

func malformed(cause string) error {
	return fmt.Errorf("%w: %s", ErrMalformed, cause)
}

func (d *decoder) fail(cause string) {
	if d.err == nil {
		d.err = malformed(cause)
	}
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	if len(d.rest) > 0 && d.rest[0] < 0x80 { // one byte: most gaps
		n := uint64(d.rest[0])
		d.rest = d.rest[1:]
		return n
	}
	n, size := binary.Uvarint(d.rest)
	switch {
	case size == 0:
		d.fail("truncated")
		return 0
	case size < 0:
		d.fail("number too large")
		return 0
	case size != uvarintLen(n):
		d.fail("overlong number")
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// set reads the ranges of a set and refuses one that has another encoding.
func (d *decoder) set(out *Set, kind byte) {
	known := d.ranges()
	var unknown []Range
	if kind == kindBoth {
		unknown = d.ranges()
	}
	switch {
	case d.err != nil:
		return
	case kind == kindBoth && len(unknown) == 0:
		d.fail("no unknown range")
	case !disjoint(known, unknown):
		d.fail("a number is both known and unknown")
	}
	out.assign(known, unknown)
	if out.kind() != kind {
		d.fail("a shorter kind exists")
	}
}

// ranges reads a list of ranges. Each takes two bytes at least, which bounds the
// memory that a lying count can claim.
func (d *decoder) ranges() []Range {
	n := d.uvarint()
	if n > uint64(len(d.rest)/2) {
		d.fail("truncated")
	}
	if n == 0 || d.err != nil {
		return nil
	}
	rs := make([]Range, n)
	prev := uint64(0)
	for i := range rs {
		rs[i] = d.oneRange(prev, i == 0)
		if d.err != nil {
			return nil
		}
		prev = rs[i].Last
	}
	return rs
}

// oneRange reads one range above prev. Only the first of a list may touch its
// predecessor, which is then the 0 before all numbers.
func (d *decoder) oneRange(prev uint64, first bool) Range {
	gap, length := d.uvarint(), d.uvarint()
	switch {
	case d.err != nil:
		return Range{}
	case gap == 0 && !first:
		d.fail("ranges touch")
		return Range{}
	case length == 0:
		d.fail("empty range")
		return Range{}
	case gap > math.MaxUint64-prev || length > math.MaxUint64-prev-gap:
		d.fail("number too large")
		return Range{}
	}
	return Range{prev + gap + 1, prev + gap + length}
}
