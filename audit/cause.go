package audit

import (
	"iter"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// causes divides a piece that is not there by why it is not.
func (j *judging) causes(p piece, at where) iter.Seq2[interval.Range, Cause] {
	if at == gone {
		return one(p.Range, j.whyGone(p))
	}
	known := true
	for _, b := range p.in {
		known = j.a.want(b.partition, b.first, b.end, j.by == AtEffect && !j.a.tap.on) && known
		known = known && (!j.a.tap.on || j.a.tap.next[b.partition] >= b.end)
	}
	if !known {
		return one(p.Range, CauseUnseen)
	}
	return func(yield func(interval.Range, Cause) bool) {
		for q, aborted := range among(p.Range, j.a.log.aborted[j.l.key]) {
			if aborted {
				if !yield(q, CauseAborted) {
					return
				}
				continue
			}
			for r, there := range j.a.inLog(j.l, q) {
				cause := CauseSkipped
				if !there || j.by == AtDelivery {
					cause = j.whyNot(p)
				}
				if !yield(r, cause) {
					return
				}
			}
		}
	}
}

func one(r interval.Range, c Cause) iter.Seq2[interval.Range, Cause] {
	return func(yield func(interval.Range, Cause) bool) { yield(r, c) }
}

// among divides a range by whether its numbers are in a set; nil is empty.
func among(r interval.Range, in *interval.Set) iter.Seq2[interval.Range, bool] {
	return func(yield func(interval.Range, bool) bool) {
		if in == nil {
			yield(r, false)
			return
		}
		next := r.First
		out := interval.Of([]interval.Range{r}, nil)
		for left := range out.Without(in) {
			if left.First > next && !yield(interval.Range{First: next, Last: left.First - 1}, true) {
				return
			}
			if !yield(left, false) || left.Last == r.Last {
				return
			}
			next = left.Last + 1
		}
		yield(interval.Range{First: next, Last: r.Last}, true)
	}
}

// inLog divides a range by whether its numbers were seen in the destination: by the
// tap if there is one, else where they were looked up.
func (a *Audit) inLog(l *lane, r interval.Range) iter.Seq2[interval.Range, bool] {
	if a.tap.on && l.seen != nil {
		return among(r, &l.seen.numbers)
	}
	if f := a.log.found[l.key]; f != nil {
		return among(r, &f.numbers)
	}
	return among(r, nil)
}

// whyGone is the cause of a piece that cannot be looked at any more.
func (j *judging) whyGone(p piece) Cause {
	cause := CauseCutOff
	for _, b := range p.in {
		switch {
		case b.recreated:
			return CauseRecreated
		case b.back:
			return CauseCutOff
		case max(b.first, j.next(b.partition)) < j.a.log.extents[b.partition].First:
			cause = CauseRemoved
		}
	}
	return cause
}

// whyNot is the cause of a piece whose brackets were read, without it.
func (j *judging) whyNot(p piece) Cause {
	cause := CauseBroker
	for _, b := range p.in {
		x := j.a.log.extents[b.partition]
		switch {
		case b.back:
			return CauseCutOff
		case b.first < x.First:
			return CauseRemoved
		case b.end > x.End:
			return CauseCutOff
		}
		for _, h := range j.a.log.holes[b.partition] {
			if h.Cause == rollcall.HoleCompacted && h.First < b.end && h.Last >= b.first {
				cause = CauseCompacted
			}
		}
	}
	return cause
}
