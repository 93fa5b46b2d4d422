package audit

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// LaneKey names one run of numbers, within a destination.
type LaneKey struct {
	Life   rollcall.Life
	Origin uint64
	Lane   uint32
}

// keyOf is the lane of a stamp.
func keyOf(s rollcall.Stamp) LaneKey { return LaneKey{s.Life, s.Origin, s.Lane} }

// originText is an origin as it is written for people, and in books.
func originText(origin uint64) string { return fmt.Sprintf("%016x", origin) }

// compare orders lanes for people: by life, then lane.
func (k LaneKey) compare(o LaneKey) int {
	return cmp.Or(slices.Compare(k.Life[:], o.Life[:]), cmp.Compare(k.Origin, o.Origin), cmp.Compare(k.Lane, o.Lane))
}

// lane is what is known of one run of numbers. There may be a million: what most
// do not have is behind pointers.
type lane struct {
	key   LaneKey
	books *account     // what senders say; nil: nothing
	seen  *sighting    // at delivery; nil: nothing
	done  interval.Set // at effect
	begun bool         // the group has a roll
	roll  []byte       // as done was read from
	// waived are numbers that an operator has accepted as missing.
	waived *interval.Set
}

// account is what all keepers say of one lane.
type account struct {
	name   string
	pages  []page // one a keeper
	united *page  // of all; nil: to be made
}

// page is what one keeper said last.
type page struct {
	keeper              rollcall.Life
	number              uint64 // of the record
	at                  time.Time
	given               uint64
	stored, void, maybe interval.Set
	marks               []rollcall.Mark
}

// enter takes a record over, unless a later one of the keeper is there.
func (a *account) enter(b *rollcall.Book, l *rollcall.BookLane) {
	i := slices.IndexFunc(a.pages, func(p page) bool { return p.keeper == b.Keeper })
	if i >= 0 && a.pages[i].number >= b.Number {
		return
	}
	p := page{keeper: b.Keeper, number: b.Number, at: b.Time, given: l.Given, marks: slices.Clone(l.Marks)}
	if i >= 0 { // a sender keeps few; here is room for those of all its records
		p.marks = append(p.marks, a.pages[i].marks...)
	}
	p.marks = thin(p.marks)
	for _, s := range []struct {
		to   *interval.Set
		from []rollcall.NumberRange
	}{{&p.stored, l.Stored}, {&p.void, l.Void}, {&p.maybe, l.Maybe}} {
		for _, r := range s.from {
			s.to.AddRange(r.First, r.Last)
		}
	}
	if i < 0 {
		a.pages = append(a.pages, p)
	} else {
		a.pages[i] = p
	}
	a.name, a.united = cmp.Or(l.Name, a.name), nil
}

// all unites what the keepers say: stored for one is stored, then void, then maybe.
func (a *account) all() *page {
	if a.united != nil {
		return a.united
	}
	u := &page{}
	for i := range a.pages {
		p := &a.pages[i]
		u.given = max(u.given, p.given)
		u.stored.Merge(&p.stored)
		u.void.Merge(&p.void)
		u.maybe.Merge(&p.maybe)
		u.marks = append(u.marks, p.marks...)
		if p.at.After(u.at) {
			u.at = p.at
		}
	}
	slices.SortStableFunc(u.marks, bySequence)
	a.united = u
	return u
}

// keptMarks is how many marks of a page are kept.
const keptMarks = 512

// thin sorts marks, one a number, and drops every second while there are too many; the
// last one stays.
func thin(marks []rollcall.Mark) []rollcall.Mark {
	slices.SortStableFunc(marks, bySequence)
	marks = slices.CompactFunc(marks, func(x, y rollcall.Mark) bool { return x.Sequence == y.Sequence })
	for len(marks) > keptMarks {
		kept := marks[:0:0]
		for i, m := range marks {
			if i%2 == 1 || i == len(marks)-1 {
				kept = append(kept, m)
			}
		}
		marks = kept
	}
	return slices.Clip(marks)
}

func bySequence(x, y rollcall.Mark) int { return cmp.Compare(x.Sequence, y.Sequence) }

// sighting is what the detector at delivery saw of one lane.
type sighting struct {
	numbers interval.Set
	last    place // of the number seen last
	repeats uint64
	again   []Sighted // the first few repeats
	gaps    []gap     // where a number was followed by another than the next
	// disorder counts numbers that came after a higher one.
	disorder uint64
}

// place is where and when a number was seen.
type place struct {
	number uint64
	at     Spot
}

// Spot is a place in a destination, for people.
type Spot struct {
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"` // -1: the broker tells no positions
	Time      time.Time `json:"time"`   // of the message
}

// Sighted is a number that was seen again.
type Sighted struct {
	Number uint64 `json:"number"`
	At     Spot   `json:"at"`
}

// gap is a jump in the numbers as they came.
type gap struct{ before, after place }

// Most repeats and jumps of a lane that are kept with their places: what is behind
// is still counted, without them.
const (
	keptRepeats = 16
	keptGaps    = 1024
)

// see enters one number.
func (s *sighting) see(n uint64, at Spot) {
	switch {
	case n == s.last.number+1:
		if !s.numbers.Add(n) {
			s.repeat(n, at)
		}
	case !s.numbers.Add(n):
		s.repeat(n, at)
		return // a copy says nothing of the order
	case n < s.last.number:
		if at.Partition == s.last.at.Partition { // lanes of files lie over several
			s.disorder++
		}
		return
	case len(s.gaps) < keptGaps:
		s.gaps = append(s.gaps, gap{s.last, place{n, at}})
	}
	s.last = place{n, at}
}

func (s *sighting) repeat(n uint64, at Spot) {
	s.repeats++
	if len(s.again) < keptRepeats {
		s.again = append(s.again, Sighted{n, at})
	}
}

// around are the neighbours of a missing number, as they were seen.
func (s *sighting) around(n uint64) (before, after place, ok bool) {
	i, found := slices.BinarySearchFunc(s.gaps, n, func(g gap, n uint64) int {
		switch {
		case g.after.number <= n:
			return -1
		case g.before.number >= n:
			return 1
		}
		return 0
	})
	if !found {
		return place{}, place{}, false
	}
	return s.gaps[i].before, s.gaps[i].after, true
}
