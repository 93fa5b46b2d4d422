package audit

import (
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// places is what is known of the partitions of the destination.
type places struct {
	extents map[int32]rollcall.Extent
	// What was looked up because something is missing there: which offsets (+ 1), and
	// whose numbers lie at them; which offsets were explained, and how.
	looked, explained map[int32]*interval.Set
	found             map[LaneKey]*located
	aborted           map[LaneKey]*interval.Set
	holes             map[int32][]rollcall.Hole
}

func newPlaces() places {
	return places{
		extents: make(map[int32]rollcall.Extent), looked: make(map[int32]*interval.Set), explained: make(map[int32]*interval.Set),
		found: make(map[LaneKey]*located), aborted: make(map[LaneKey]*interval.Set), holes: make(map[int32][]rollcall.Hole),
	}
}

// tapped is how far the tap has read.
type tapped struct {
	on    bool
	begin map[int32]rollcall.Extent // what was there when it began: below is not audited
	next  map[int32]int64
	// passed are offsets (+ 1) that carried no message.
	passed map[int32]*interval.Set
}

func newTapped() tapped {
	return tapped{begin: make(map[int32]rollcall.Extent), next: make(map[int32]int64), passed: make(map[int32]*interval.Set)}
}

func (t *tapped) read(b *rollcall.Batch) {
	n := b.Partition.Number
	if k := len(b.Deliveries); k > 0 {
		t.next[n] = max(t.next[n], b.Deliveries[k-1].Position.Offset+1)
	}
	for _, c := range b.Covered {
		t.next[n] = max(t.next[n], c.Last+1)
		if t.passed[n] == nil {
			t.passed[n] = &interval.Set{}
		}
		t.passed[n].AddRange(uint64(c.First)+1, uint64(c.Last)+1)
	}
}

// worked is how far the group has come.
type worked struct {
	on    bool
	done  map[int32]*rollcall.Roll
	begin map[int32]int64 // where it began: what is below was never its own
	// reached is up to where it has done all that still lies there: the roll's floor,
	// or behind it where what was removed left holes.
	reached map[int32]int64
}

func newWorked() worked {
	return worked{done: make(map[int32]*rollcall.Roll), begin: make(map[int32]int64), reached: make(map[int32]int64)}
}

// reach is the lowest offset, from first on, that a roll does not say is done.
func reach(r *rollcall.Roll, first int64) int64 {
	at := max(first, int64(r.Floor()))
	for from, to := range r.Done { // of offsets + 1
		if int64(from) <= at+1 && int64(to) > at {
			at = int64(to)
		}
	}
	return at
}

// Log takes where the partitions begin and end. Measure after reading books, and
// before the tap reads, or the group's rolls are read.
func (a *Audit) Log(extents []rollcall.Extent) {
	for _, x := range extents {
		if x.Partition.Destination != a.destination {
			continue
		}
		n := x.Partition.Number
		if was, ok := a.log.extents[n]; ok && was.Incarnation != x.Incarnation {
			a.log.forget(n)
		}
		a.log.extents[n] = x
		if _, ok := a.tap.begin[n]; !ok {
			a.tap.begin[n] = x
		}
	}
}

// forget what was looked up in a log that is not there any more.
func (p *places) forget(n int32) {
	delete(p.looked, n)
	delete(p.explained, n)
	delete(p.holes, n)
	clear(p.found)
}

// Tapping says that Deliver is called with all that lies in the destination from
// now on.
func (a *Audit) Tapping() { a.tap.on = true }

// Group takes how far the group has worked off each partition: rolls of the
// partitions that Log named, nil where there is none. They must be read after Log's
// extents, and before the rolls of senders given to Done: what they say is done is
// then in those.
func (a *Audit) Group(rolls map[int32]*rollcall.Roll) {
	a.group.on = true
	began := false
	for _, r := range rolls {
		began = began || r != nil && (r.Placed() || r.High() > 0)
	}
	for n, r := range rolls {
		a.group.done[n] = r
		if r != nil {
			a.group.reached[n] = reach(r, a.log.extents[n].First)
		}
		switch {
		case r != nil && (r.Placed() || r.High() > 0):
			a.group.begin[n] = int64(r.Begun())
		case began: // the partition was added later
			a.group.begin[n] = 0
		default: // it never began: what is gone was never its own
			a.group.begin[n] = a.log.extents[n].First
		}
	}
}

// bracket is offsets of a partition, from First up to, not including, End, among
// which a number lies.
type bracket struct {
	partition  int32
	first, end int64
	recreated  bool // in a log that is not there any more
	back       bool // the log went back between the marks
	anywhere   bool // no mark says where it is
}

// piece is numbers whose places are bracketed alike.
type piece struct {
	interval.Range
	since time.Time // the broker had acknowledged them by then
	in    []bracket // empty: the broker tells no positions
	// straight: each number lies one offset behind the one before it, so the bracket
	// of a part of the piece is known exactly.
	straight bool
}

// cut divides a straight piece at an offset; of another one it returns the whole.
func (p *piece) cut(at int64) []piece {
	b := p.in[0]
	if !p.straight || at <= b.first || at >= b.end {
		return []piece{*p}
	}
	low, high := *p, *p
	n := uint64(at - b.first)
	low.Last, high.First = p.First+n-1, p.First+n
	low.in, high.in = []bracket{b}, []bracket{b}
	low.in[0].end, high.in[0].first = at, at
	return []piece{low, high}
}

// pieces divides numbers of a lane so that those of one piece were sent by the same
// keepers, and lie between the same marks of each.
func (a *Audit) pieces(l *lane, r interval.Range) []piece {
	cuts := []interval.Range{r}
	pages := l.books.pages
	for i := range pages {
		var finer []interval.Range
		for _, c := range cuts {
			for part, sent := range among(c, &pages[i].stored) {
				if sent {
					finer = append(finer, pages[i].atMarks(part)...)
				} else {
					finer = append(finer, part)
				}
			}
		}
		cuts = finer
	}
	out := make([]piece, len(cuts))
	for i, c := range cuts {
		out[i] = a.placed(l, c)
	}
	return out
}

// atMarks divides a range at the marks of a page: a mark is a piece of its own.
func (p *page) atMarks(r interval.Range) []interval.Range {
	var out []interval.Range
	first := r.First
	for _, m := range p.marks {
		if m.Sequence < first || m.Sequence > r.Last {
			continue
		}
		if m.Sequence > first {
			out = append(out, interval.Range{First: first, Last: m.Sequence - 1})
		}
		out = append(out, interval.Range{First: m.Sequence, Last: m.Sequence})
		first = m.Sequence + 1
	}
	if first <= r.Last && first != 0 {
		out = append(out, interval.Range{First: first, Last: r.Last})
	}
	return out
}

// placed brackets a piece by the marks of each keeper that sent it: every copy may
// be the one that is there.
func (a *Audit) placed(l *lane, r interval.Range) piece {
	out := piece{Range: r}
	keepers, known := 0, len(a.log.extents) > 0
	for i := range l.books.pages {
		p := &l.books.pages[i]
		if p.stored.Answer(r.First) != interval.Known {
			continue
		}
		keepers++
		if since := p.since(r.First); out.since.IsZero() || since.Before(out.since) {
			out.since = since
		}
		switch {
		case !known:
		case p.positioned():
			a.bracket(l, p, &out)
		default: // anywhere
			for n, x := range a.log.extents {
				out.in = append(out.in, bracket{partition: n, end: x.End, anywhere: true})
			}
		}
	}
	out.straight = out.straight && keepers == 1
	return out
}

// since is when the broker had acknowledged a number.
func (p *page) since(n uint64) time.Time {
	for _, m := range p.marks {
		if m.Sequence >= n {
			return m.Time
		}
	}
	return p.at
}

// positioned reports whether the marks say where numbers lie.
func (p *page) positioned() bool {
	for _, m := range p.marks {
		if m.Position.IsZero() {
			return false
		}
	}
	return len(p.marks) > 0
}

// bracket adds where the numbers of a piece can lie: in one partition if who keeps
// the page numbers by partitions, else in each.
func (a *Audit) bracket(l *lane, p *page, out *piece) {
	if p.given > 0 && p.only(int32(l.key.Lane)) {
		before, after, b := a.between(p, out, int32(l.key.Lane))
		if before != nil && after != nil && after.Sequence-before.Sequence == uint64(after.Position.Offset-before.Position.Offset) {
			from := before.Position.Offset - int64(before.Sequence)
			b.first, b.end, out.straight = from+int64(out.First), from+int64(out.Last)+1, true
		}
		out.in = append(out.in, b)
		return
	}
	for n := range a.log.extents {
		_, _, b := a.between(p, out, n)
		out.in = append(out.in, b)
	}
}

// only reports whether all marks lie in one partition.
func (p *page) only(partition int32) bool {
	for _, m := range p.marks {
		if m.Partition != partition {
			return false
		}
	}
	return true
}

// between are the marks of a partition on both sides of a piece, or on it, and the
// offsets that they leave.
func (a *Audit) between(p *page, out *piece, partition int32) (before, after *rollcall.Mark, b bracket) {
	x := a.log.extents[partition]
	b = bracket{partition: partition, end: x.End}
	for i := range p.marks {
		m := &p.marks[i]
		other := m.Position.Incarnation != x.Incarnation
		switch {
		case m.Partition != partition:
		case m.Sequence < out.First && other:
			before, b.first = nil, 0 // it lies in the old log behind that one, or in this one
		case m.Sequence < out.First:
			before, b.first = m, m.Position.Offset+1
		case m.Sequence == out.First: // the piece is this mark
			return m, m, bracket{partition: partition, first: m.Position.Offset, end: m.Position.Offset + 1, recreated: other}
		case after == nil:
			after, b.end, b.recreated = m, m.Position.Offset, other
		}
	}
	if b.end < b.first { // sent again, or the log was cut off in between: anywhere
		b.first, b.end, b.back, b.anywhere = 0, x.End, true, true
	}
	return before, after, b
}
