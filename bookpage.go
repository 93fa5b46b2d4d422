package rollcall

import (
	"container/list"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// outcome is what became of one message, for the books.
type outcome struct {
	message  *Message
	fate     bookFate
	position Position
}

// bookFate is what books say of a number.
type bookFate uint8

const (
	bookMaybe  bookFate = iota // it was sent, and nobody knows
	bookStored                 // the broker has acknowledged it
	bookVoid                   // it is surely not stored
)

// bookFateOf a result. What was refused is surely not stored only if no try of it had
// an answer that was lost, here or in another process.
func bookFateOf(fate Fate, doubt bool) bookFate {
	switch {
	case fate == Stored:
		return bookStored
	case fate == Refused && !doubt:
		return bookVoid
	}
	return bookMaybe
}

type pageKey struct {
	life        Life
	destination string
}

type laneKey struct {
	origin uint64
	lane   uint32
}

// page is what is known of the numbers of one life in one destination.
type page struct {
	key     pageKey
	keeper  Life
	origin  uint64 // of the destination
	lanes   map[laneKey]*bookLane
	lanesOf Lanes
	marks   int                     // of a lane, at most
	given   func() map[int32]uint64 // nil: they are given out elsewhere, or told by gave
	element *list.Element           // of a page of another life

	changed []*bookLane // not written yet
	noted   time.Time   // when something changed last
	written time.Time   // when a record was stored last
	stated  time.Time   // when all of it was
	born    bool        // a record is stored
	ended   bool        // and the last one says so
}

// lane of a page.
func (p *page) lane(key laneKey) *bookLane {
	l := p.lanes[key]
	if l == nil {
		l = &bookLane{page: p, key: key, spacing: 1}
		if p.lanesOf != nil && key.origin == p.origin {
			l.name = p.lanesOf.Name(int32(key.lane))
		}
		p.lanes[key] = l
	}
	return l
}

// change puts a lane among those to be written.
func (p *page) change(l *bookLane, now time.Time) {
	p.noted = now
	if !l.changed {
		l.changed = true
		p.changed = append(p.changed, l)
	}
}

// gave out numbers, up to these.
func (p *page) gave(highest map[int32]uint64, now time.Time) {
	for lane, n := range highest {
		if l := p.lane(laneKey{p.origin, uint32(lane)}); l.given < n {
			l.given = n
			p.change(l, now)
		}
	}
}

// bookLane is what is known of one lane.
type bookLane struct {
	page                *page
	key                 laneKey
	name                string
	given               uint64
	stored, void, maybe interval.Set
	marks               []Mark // ascending; the last is the last that was stored
	spacing             uint64 // at least so many numbers lie between two marks
	changed, touched    bool
	run                 run
}

// run is numbers that follow each other, of one fate: a batch is mostly a few of them.
type run struct {
	interval.Range
	fate     bookFate
	from, to int // of the outcomes
}

// note one outcome.
func (l *bookLane) note(outcomes []outcome, i int, now time.Time) {
	n, fate := outcomes[i].message.Stamp.Sequence, outcomes[i].fate
	if l.run.Last != 0 && l.run.fate == fate && l.run.Last+1 == n {
		l.run.Last, l.run.to = n, i
		return
	}
	l.flush(outcomes, now)
	l.run = run{interval.Range{First: n, Last: n}, fate, i, i}
}

// flush enters the run.
func (l *bookLane) flush(outcomes []outcome, now time.Time) {
	r := l.run
	if r.Last == 0 {
		return
	}
	l.run = run{}
	switch r.fate {
	case bookStored:
		l.stored.AddRange(r.First, r.Last)
		if len(l.marks) == 0 {
			l.mark(&outcomes[r.from], now)
		}
		l.mark(&outcomes[r.to], now)
	case bookVoid:
		l.void.AddRange(r.First, r.Last)
	default:
		l.maybe.AddRange(r.First, r.Last)
	}
}

// mark where a number lies, if the broker says so. The last one stays movable until it
// is far enough from the one before.
func (l *bookLane) mark(o *outcome, now time.Time) {
	m := Mark{Sequence: o.message.Stamp.Sequence, Partition: o.message.Partition, Position: o.position, Time: now}
	n := len(l.marks)
	switch {
	case m.Position.IsZero() || n > 0 && m.Sequence <= l.marks[n-1].Sequence:
	case n >= 2 && l.marks[n-1].Sequence-l.marks[n-2].Sequence < l.spacing:
		l.marks[n-1] = m
	default:
		l.marks = append(l.marks, m)
		if len(l.marks) > l.page.marksMost() {
			l.thin()
		}
	}
}

const (
	laneMarks = 32
	pageMarks = 64 // of all lanes, where there are so few that each has its share
)

// marksMost is how many marks a lane has at most: every record has them all.
func (p *page) marksMost() int { return min(p.marks, max(2, pageMarks/len(p.lanes))) }

// thin drops every second mark, but never the last one.
func (l *bookLane) thin() {
	last := l.marks[len(l.marks)-1]
	kept := l.marks[:0]
	for i := 0; i < len(l.marks)-1; i += 2 {
		kept = append(kept, l.marks[i])
	}
	if most := l.page.marksMost(); len(kept) >= most {
		kept = kept[:most-1]
	}
	l.marks = append(kept, last)
	l.spacing *= 2
}

// limit keeps the sets small. What they give up is nobody knows what.
func (l *bookLane) limit(most int) {
	for _, s := range []*interval.Set{&l.stored, &l.void, &l.maybe} {
		if s.Size() > most {
			s.Limit(most * 3 / 4)
		}
	}
}

// book is the lane as it is written. What was acknowledged is stored, whatever else was
// heard of it; what nobody knows is not void.
func (l *bookLane) book() BookLane {
	b := BookLane{Lane: l.key.lane, Origin: l.key.origin, Name: l.name, Given: l.given, Marks: slices.Clone(l.marks)}
	stored := slices.Collect(l.stored.Ranges())
	b.Stored = numberRanges(stored)
	maybe := interval.Of(nil, stored)
	for _, s := range []*interval.Set{&l.stored, &l.void, &l.maybe} {
		for r := range s.UnknownRanges() {
			maybe.AddRange(r.First, r.Last)
		}
	}
	for r := range l.maybe.Ranges() {
		maybe.AddRange(r.First, r.Last)
	}
	doubtful := slices.Collect(maybe.Ranges())
	b.Maybe = numberRanges(doubtful)
	b.Void = numberRanges(l.surelyVoid(stored, doubtful))
	return b
}

// surelyVoid are the numbers of which nothing else was heard.
func (l *bookLane) surelyVoid(heard ...[]interval.Range) []interval.Range {
	var other interval.Set
	for _, ranges := range heard {
		for _, r := range ranges {
			other.AddRange(r.First, r.Last)
		}
	}
	void := interval.Of(nil, slices.Collect(other.Ranges()))
	for r := range l.void.Ranges() {
		void.AddRange(r.First, r.Last)
	}
	return slices.Collect(void.Ranges())
}

func numberRanges(ranges []interval.Range) []NumberRange {
	if len(ranges) == 0 {
		return nil
	}
	out := make([]NumberRange, len(ranges))
	for i, r := range ranges {
		out[i] = NumberRange(r)
	}
	return out
}
