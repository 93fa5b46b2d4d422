package protocol

import (
	"slices"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// askRolls is step 6: lock all rolls of numbers that are not known to be Known.
// The batch's table is sorted, so every worker locks in this order.
func askRolls(w *Work) Action {
	w.Locked = w.rollsToLock()
	return Action{Do: Rolls, Rolls: w.Locked}
}

func (w *Work) rollsToLock() []int {
	var out []int
	for i := range w.Items {
		it := &w.Items[i]
		if it.Fate == Unknown {
			continue
		}
		for _, m := range it.Marks[:it.NMarks] {
			if !m.Known && !slices.Contains(out, m.Roll) {
				out = append(out, m.Roll)
			}
		}
	}
	if len(w.Covered) > 0 && !slices.Contains(out, w.CoveredRoll) {
		out = append(out, w.CoveredRoll)
	}
	slices.Sort(out)
	return out
}

// hearRolls: test the numbers against what the locking read returned, then
// merge every number of the work but the Unknown ones: applied, dropped,
// repeated, hit or set aside. A hit means another worker was faster: its effect
// must go, so again from BEGIN; or there is none yet, and no key that goes with
// it, and it is simply dropped.
func hearRolls(w *Work, e Event) verdict {
	w.Sets = e.Sets
	if w.Hits = w.retest(); w.Hits > 0 {
		if !w.Config.LockFirst || len(w.Claims) > 0 {
			return again
		}
		w.dropHits()
	}
	w.Changed = make([]bool, len(w.Sets))
	for i := range w.Items {
		if it := &w.Items[i]; it.Fate != Unknown {
			w.merge(it)
		}
	}
	if at := slices.Index(w.Locked, w.CoveredRoll); at >= 0 {
		w.cover(at)
	}
	return goOn
}

// cover enters what never comes into the roll, and counts what is new in it.
func (w *Work) cover(at int) {
	w.Void, w.Lost = 0, 0
	for _, c := range w.Covered {
		before := w.Sets[at].Count()
		w.Sets[at].AddRange(c.First, c.Last)
		w.Changed[at] = true
		if fresh := w.Sets[at].Count() - before; c.Lost {
			w.Lost += fresh
		} else {
			w.Void += fresh
		}
	}
}

// retest compares the items with what the locking read returned, changes the
// plan of those that another worker has done, and says how many those are.
func (w *Work) retest() (hits int) {
	for i := range w.Items {
		it := &w.Items[i]
		if it.Fate == Unknown {
			continue
		}
		for j := range it.Marks[:it.NMarks] {
			m := &it.Marks[j]
			at := slices.Index(w.Locked, m.Roll)
			if at < 0 {
				continue // all its numbers in this work were Known already
			}
			says := w.Sets[at].Answer(m.Number)
			m.Known = says == interval.Known
			if !m.Decides || it.Planned == Dropped {
				continue
			}
			switch says {
			case interval.New:
				continue
			case interval.Known:
				it.Planned = Dropped
			case interval.Unknown:
				it.Planned, it.Cause = Unknown, CauseUnknown
			}
			if it.Fate != Dropped {
				hits++
			}
		}
	}
	return hits
}

// dropHits takes over what retest planned.
func (w *Work) dropHits() {
	for i := range w.Items {
		if it := &w.Items[i]; it.Planned == Dropped || it.Planned == Unknown {
			it.Fate = it.Planned
		}
	}
}

// merge adds the item's numbers to the locked rolls.
func (w *Work) merge(it *Item) {
	it.Counted = it.NMarks > 0
	for _, m := range it.Marks[:it.NMarks] {
		at := slices.Index(w.Locked, m.Roll)
		if at < 0 || w.Sets[at].Answer(m.Number) != interval.New {
			continue
		}
		w.Sets[at].Add(m.Number)
		w.Changed[at] = true
		it.Counted = false
		it.Copied = it.Copied || it.Fate == Dropped && m.Place
	}
}

func askWrite(w *Work) Action {
	var out []int
	for i, changed := range w.Changed {
		if changed {
			out = append(out, i)
		}
	}
	return Action{Do: Write, Rolls: out}
}

// anythingNew reports whether a transaction would change anything.
func (w *Work) anythingNew() bool {
	for i := range w.Items {
		if it := &w.Items[i]; it.Planned != Dropped || it.Suspect {
			return true
		}
	}
	return len(w.rollsToLock()) > 0
}
