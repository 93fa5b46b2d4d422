package audit

import (
	"iter"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Detector is where the audit looks.
type Detector string

// The detectors.
const (
	AtDelivery Detector = "delivery" // what lies in the destination, as a tap reads it
	AtEffect   Detector = "effect"   // what took effect in a group, or was set aside, as its rolls say
)

// where a piece is, as one detector sees it.
type where uint8

const (
	ahead  where = iota // not looked at yet: nothing is wrong
	before              // below where the detector began: not its own
	passed              // looked at, and not found
	gone                // it cannot be looked at any more: removed, cut off, made again
	askLog              // to be looked up first
)

// judging is one lane, one detector, at one time.
type judging struct {
	a    *Audit
	l    *lane
	by   Detector
	have *interval.Set
	now  time.Time
	sum  *Sums
	out  *collector
	// first is what lowest found; 0: it has not looked yet.
	first uint64
}

// judge sums a lane up, and collects what is to be told of it.
func (j *judging) judge() {
	j.sum.Present += j.have.Count()
	if s := j.l.seen; s != nil && j.by == AtDelivery {
		j.sum.Duplicates += s.repeats
		j.sum.Disorder += s.disorder
	}
	if j.l.books == nil && j.a.senders[j.l.key.Life] == nil {
		j.unbooked()
		return
	}
	all := &page{} // its sender keeps books, and ended before it wrote of this lane
	if j.l.books != nil {
		all = j.l.books.all()
	}
	j.sum.Stored += all.stored.Count()
	for r := range all.stored.Without(j.have) {
		j.missing(r)
	}
	j.unsure(all)
}

// own reports whether the sender of the lane keeps books itself.
func (j *judging) own() bool {
	s := j.a.senders[j.l.key.Life]
	return s != nil && s.own
}

// unbooked judges a lane whose sender keeps no books: a hole is suspected, for the
// number may never have been used.
func (j *judging) unbooked() {
	var open []interval.Range
	for g := range j.have.Gaps() {
		open = append(open, g)
	}
	for _, g := range open {
		if g.First == 1 && j.by == AtEffect { // a roll is not audited below its first number
			j.sum.Before += g.Last
			continue
		}
		for r := range j.unwaived(g) {
			j.hole(r)
		}
	}
}

// hole is one of an unbooked lane.
func (j *judging) hole(r interval.Range) {
	if done := j.a.log.aborted[j.l.key]; done != nil && done.Answer(r.First) == interval.Known && done.Answer(r.Last) == interval.Known {
		j.tell(r, Void, CauseAborted, time.Time{})
		return
	}
	if !j.passedAll(r) {
		j.sum.ToGo += r.Last - r.First + 1
		return
	}
	since := j.noticed(r)
	if s := j.l.seen; s != nil {
		if _, after, ok := s.around(r.First); ok && after.at.Time.Before(since) {
			since = after.at.Time
		}
	}
	if s := j.l.seen; s != nil && j.by == AtDelivery {
		if before, after, ok := s.around(r.First); ok && before.number > 0 && before.at.Partition == after.at.Partition {
			j.a.want(after.at.Partition, before.at.Offset+1, after.at.Offset, false)
		}
		if r.First == 1 { // what was before the tap began is not its own
			j.sum.Before += r.Last
			return
		}
	}
	if j.now.Sub(since) < j.a.config.Grace {
		j.tell(r, Open, CauseNoBooks, since)
		return
	}
	j.tell(r, Suspected, CauseNoBooks, since)
}

// passedAll reports whether the detector has passed everything that lay in the
// destination when a hole was first seen: what it has not come to may fill it.
func (j *judging) passedAll(r interval.Range) bool {
	p := piece{Range: r}
	for n, x := range j.a.log.extents {
		if j.next(bracket{partition: n, first: x.First}) < j.limit(&p, n) {
			return false
		}
	}
	return true
}

// noticed is when this audit first saw a hole.
func (j *judging) noticed(r interval.Range) time.Time {
	key := noticedKey{laneOf{j.l.key, j.by}, r.First}
	at, ok := j.a.noticed[key]
	if !ok {
		at = j.now
		j.a.noticed[key] = at
	}
	return at
}

// unsure counts numbers that the broker did not acknowledge.
func (j *judging) unsure(all *page) {
	rest := all.void.Clone()
	for r := range rest.Without(j.have) {
		j.tell(r, Void, CauseNeverAcked, all.at)
	}
	known := all.stored.Clone()
	known.Merge(&all.void)
	known.Merge(j.have)
	for r := range all.maybe.Without(known) {
		j.tell(r, Unknown, CauseNeverAcked, all.at)
	}
	known.Merge(&all.maybe)
	last := max(all.given, j.have.High()) // of the last numbers it may not have written
	if !j.own() || last == 0 {
		return
	}
	silent := j.a.state(j.l.key.Life, j.now)
	given := interval.Of([]interval.Range{{First: 1, Last: last}}, nil)
	for r := range given.Without(known) {
		if silent == SenderAlive {
			j.sum.InFlight += r.Last - r.First + 1
		} else {
			j.tell(r, Unknown, CauseSenderGone, all.at)
		}
	}
}

// unwaived are the parts of a range that nobody accepted; what is waived is told.
func (j *judging) unwaived(r interval.Range) func(func(interval.Range) bool) {
	whole := interval.Of([]interval.Range{r}, nil)
	if j.l.waived == nil {
		return whole.Ranges()
	}
	open := &interval.Set{}
	for left := range whole.Without(j.l.waived) {
		open.AddRange(left.First, left.Last)
	}
	for w := range whole.Without(open) {
		j.tell(w, Waived, "", time.Time{})
	}
	return open.Ranges()
}

// missing judges numbers that were acknowledged and are not there.
func (j *judging) missing(r interval.Range) {
	for left := range j.unwaived(r) {
		for _, p := range j.a.pieces(j.l, left) {
			for _, q := range j.cuts(p) {
				j.piece(q)
			}
		}
	}
}

// cuts divides a piece where its parts fare differently.
func (j *judging) cuts(p piece) []piece {
	if !p.straight {
		return []piece{p}
	}
	b := p.in[0]
	at := []int64{j.a.log.extents[b.partition].First, j.a.log.extents[b.partition].End}
	if j.by == AtDelivery {
		at = append(at, j.a.tap.begin[b.partition].First, j.a.tap.next[b.partition])
	} else if r := j.a.group.done[b.partition]; r != nil {
		at = append(at, j.a.group.begin[b.partition], int64(r.Floor()), j.a.group.reached[b.partition], int64(r.High()))
	}
	out := []piece{p}
	for _, offset := range at {
		var next []piece
		for _, q := range out {
			next = append(next, q.cut(offset)...)
		}
		out = next
	}
	return out
}

// piece gives a verdict.
func (j *judging) piece(p piece) {
	n := p.Last - p.First + 1
	if p.since.After(j.now) { // its clock is ahead
		p.since = j.noticed(p.Range)
	}
	if p.since.Before(j.a.config.Since) || j.swept(p) {
		j.sum.Before += n
		return
	}
	if len(p.in) == 0 {
		j.unplaced(p)
		return
	}
	at, some := ahead, false
	for _, b := range p.in {
		switch w := j.where(&p, b); {
		case w == ahead:
			some = true
		case w == before:
			at = before
		case at != before:
			at = max(at, w)
		}
	}
	if some && at > passed { // it is where the detector comes yet, or gone
		at = askLog
	}
	switch {
	case at == before:
		j.sum.Before += n
		return
	case some && at <= passed:
		j.sum.ToGo += n
		return
	}
	switch at {
	case askLog:
		j.ask(p)
	default:
		j.absent(p, at)
	}
}

// swept reports whether the group's roll of the lane can have been removed since, by
// age, or begins behind the piece.
func (j *judging) swept(p piece) bool {
	if j.by != AtEffect || j.now.Sub(p.since) < j.a.config.Window {
		return false
	}
	for g := range j.have.Gaps() {
		return g.First == 1 && p.Last <= g.Last
	}
	return j.have.Count() == 0
}

// where a bracket is, as the detector sees it.
func (j *judging) where(p *piece, b bracket) where {
	x := j.a.log.extents[b.partition]
	begin, next := j.begin(b.partition), j.next(b)
	switch {
	case b.recreated && j.by == AtDelivery && j.a.tap.begin[b.partition].Incarnation == x.Incarnation:
		return before // that log was gone when the tap began
	case b.recreated:
		return gone
	case b.end <= begin && b.end > b.first, b.first < begin && p.Last < j.lowest():
		return before
	case next >= b.end && (p.straight || next >= j.limit(p, b.partition)):
		return passed
	}
	first := max(b.first, next, begin) // below that it is not
	switch {
	case b.end <= x.First || first > x.End || first == x.End && first < b.end:
		return gone
	case j.by == AtEffect && (next >= b.end || first < x.First || b.end > x.End):
		return askLog
	}
	return ahead
}

// lowest is the first number of the lane that is the detector's own, as far as is known:
// it was found, or a mark says that it lay behind the beginning. What was sent after it
// is the detector's own, too.
func (j *judging) lowest() uint64 {
	if j.first > 0 {
		return j.first
	}
	j.first = 1<<64 - 1
	for r := range j.have.Ranges() {
		j.first = r.First
		break
	}
	if j.l.books == nil {
		return j.first
	}
	for _, m := range j.l.books.all().marks {
		x := j.a.log.extents[m.Partition]
		if m.Sequence < j.first && m.Position.Incarnation == x.Incarnation && m.Position.Offset >= j.begin(m.Partition) {
			j.first = m.Sequence
		}
	}
	return j.first
}

// limit is the end of a partition when a piece was first missed: what was sent again
// may lie behind the marks that bracket it, but not behind that.
func (j *judging) limit(p *piece, partition int32) int64 {
	key := limitKey{noticedKey{laneOf{j.l.key, j.by}, p.First}, partition}
	end, ok := j.a.limits[key]
	if !ok {
		end = j.a.log.extents[partition].End
		j.a.limits[key] = end
	}
	return end
}

// begin is the offset below which nothing is the detector's own.
func (j *judging) begin(partition int32) int64 {
	if j.by == AtDelivery {
		return j.a.tap.begin[partition].First
	}
	return j.a.group.begin[partition]
}

// next is the offset below which the detector has passed everything from the
// beginning of a bracket on. What was removed undone stays a hole of the group's roll
// for ever: it holds nothing up that lies behind it.
func (j *judging) next(b bracket) int64 {
	switch r := j.a.group.done[b.partition]; {
	case j.by == AtDelivery:
		return j.a.tap.next[b.partition]
	case r == nil:
		return 0
	case b.first >= j.a.log.extents[b.partition].First:
		return j.a.group.reached[b.partition]
	default:
		return int64(r.Floor())
	}
}

// unplaced judges where the broker tells no positions: a number is passed when a
// later one of its lane was found. It is lost when nobody can hold it any more: until
// then another worker may have it in hand, however long ago it was stored.
func (j *judging) unplaced(p piece) {
	switch age := j.now.Sub(p.since); {
	case p.First > j.have.High():
		j.sum.ToGo += p.Last - p.First + 1
	case age < j.a.config.Grace:
		j.tell(p.Range, Open, CauseNotFound, p.since)
	case age < 2*j.a.config.Grace+j.a.config.Hold:
		j.tell(p.Range, Suspected, CauseNotFound, p.since)
	default:
		j.tell(p.Range, Lost, CauseNotFound, p.since)
	}
}

// ask judges a piece by what lies in the log: a part of its place is gone, or its
// numbers may have been sent again and lie behind it. What is there is to come.
func (j *judging) ask(p piece) {
	at, known := passed, true
	for _, b := range p.in {
		x := j.a.log.extents[b.partition]
		end := b.end
		if j.next(b) >= end {
			end = j.limit(&p, b.partition)
		} else {
			at = gone
		}
		known = j.a.want(b.partition, max(b.first, x.First), min(end, x.End), true) && known
	}
	if !known {
		j.sum.ToGo += p.Last - p.First + 1 // until it was looked up
		return
	}
	for q, there := range j.a.inLog(j.l, p.Range) {
		for r, coming := range j.coming(q, there) {
			left := piece{Range: r, since: p.since, in: p.in}
			switch {
			case coming:
				j.sum.ToGo += r.Last - r.First + 1
			case there: // each copy of it was passed by
				j.absent(left, passed)
			default:
				j.absent(left, at)
			}
		}
	}
}

// coming divides numbers by whether they lie where the group has not come yet, as far
// as that is known. there: they lie in the log.
func (j *judging) coming(r interval.Range, there bool) iter.Seq2[interval.Range, bool] {
	f := j.a.log.found[j.l.key]
	if !there || f == nil {
		return func(yield func(interval.Range, bool) bool) { yield(r, there) }
	}
	passed := &interval.Set{}
	for n := r.First; n <= r.Last; n++ { // not more than were looked up
		ahead := slices.ContainsFunc(f.at[n], func(at Spot) bool {
			return at.Offset >= j.next(bracket{partition: at.Partition, first: at.Offset})
		})
		if len(f.at[n]) > 0 && !ahead {
			passed.Add(n)
		}
	}
	return func(yield func(interval.Range, bool) bool) {
		for q, isPassed := range among(r, passed) {
			if !yield(q, !isPassed) {
				return
			}
		}
	}
}

// absent gives a verdict of a piece that was looked at and not found, or cannot be.
func (j *judging) absent(p piece, at where) {
	stood := j.now.Sub(j.noticed(p.Range))
	for q, cause := range j.causes(p, at) {
		switch {
		case cause == CauseAborted:
			j.tell(q, Void, cause, p.since)
		case cause == CauseRemoved && j.by == AtDelivery: // a group may have had it before: its rolls tell
			j.tell(q, Unknown, cause, p.since)
		case j.now.Sub(p.since) < j.a.config.Grace:
			j.tell(q, Open, cause, p.since)
		case cause == CauseUnseen, stood < min(confirm, j.a.config.Grace) && at != passed:
			j.tell(q, Suspected, cause, p.since)
		default:
			j.tell(q, Lost, cause, p.since)
		}
	}
}
