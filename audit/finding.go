package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Finding is numbers of one lane with one verdict that is not Present, and its
// evidence.
type Finding struct {
	// ID is the same whenever, and by whomever, the same is found.
	ID          string
	By          Detector
	Key         LaneKey
	Sender      string
	Lane        string
	First, Last uint64
	Verdict     Verdict
	Cause       Cause
	// Since is when the broker had acknowledged them, or when the hole was noticed;
	// zero where neither is known.
	Since time.Time
	// Before and After are the nearest numbers on both sides whose place is known.
	Before, After *Neighbour
	// Lies is where the first of them lies, of those that do: Skipped.
	Lies *Spot
}

// Neighbour is a number beside those missing.
type Neighbour struct {
	Number uint64 `json:"number"`
	Spot
}

// Count is how many numbers it is.
func (f *Finding) Count() uint64 { return f.Last - f.First + 1 }

// Numbers is the range for people.
func (f *Finding) Numbers() string {
	if f.First == f.Last {
		return fmt.Sprint(f.First)
	}
	return fmt.Sprintf("%d-%d", f.First, f.Last)
}

// Transition is numbers that went from one verdict to another.
type Transition struct {
	ID          string
	Time        time.Time
	By          Detector
	Key         LaneKey
	First, Last uint64
	From, To    Verdict // From is empty where nothing was wrong before
}

// collector gathers the findings of one lane and detector.
type collector struct {
	a            *Audit
	lane         *lane
	by           Detector
	sender, name string
	found        []Finding
	states       map[Verdict]*interval.Set // of those whose transitions are told
}

// tell adds a finding, joined with the one before it if they are alike.
func (j *judging) tell(r interval.Range, v Verdict, cause Cause, since time.Time) {
	c := j.out
	j.sum.count(v, r.Last-r.First+1)
	if v.missing() {
		if c.states == nil {
			c.states = make(map[Verdict]*interval.Set)
		}
		if c.states[v] == nil {
			c.states[v] = &interval.Set{}
		}
		c.states[v].AddRange(r.First, r.Last)
	}
	if k := len(c.found) - 1; k >= 0 && c.found[k].Verdict == v && c.found[k].Cause == cause && c.found[k].Last == r.First-1 {
		c.found[k].Last = r.Last
		return
	}
	c.found = append(c.found, Finding{By: c.by, Key: c.lane.key, Sender: c.sender, Lane: c.name, First: r.First, Last: r.Last, Verdict: v, Cause: cause, Since: since})
}

// done adds ids and neighbours.
func (c *collector) done() []Finding {
	for i := range c.found {
		f := &c.found[i]
		f.ID = c.a.id(string(f.By), f.Key, f.First, f.Last, string(f.Verdict))
		f.Before, f.After = c.lane.neighbours(f.First, f.Last)
		if at := c.a.log.found[f.Key]; at != nil && f.Cause == CauseSkipped {
			if spots := at.at[f.First]; len(spots) > 0 {
				f.Lies = &spots[0]
			}
		}
	}
	return c.found
}

// id is a hash of what a finding is about.
func (a *Audit) id(by string, key LaneKey, first, last uint64, what string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s %x %d %d %d %d %s", a.destination, a.config.Group, by, key.Life, key.Origin, key.Lane, first, last, what))
	return hex.EncodeToString(sum[:8])
}

// neighbours are the nearest numbers whose place is known: as they were seen, or by
// the marks of the books.
func (l *lane) neighbours(first, last uint64) (before, after *Neighbour) {
	if l.seen != nil {
		if b, a, ok := l.seen.around(first); ok {
			if b.number > 0 {
				before = &Neighbour{b.number, b.at}
			}
			after = &Neighbour{a.number, a.at}
			if a.number > last {
				return before, after
			}
			after = nil
		}
	}
	if l.books == nil {
		return before, after
	}
	for _, m := range l.books.all().marks {
		n := &Neighbour{m.Sequence, Spot{Partition: m.Partition, Offset: -1, Time: m.Time}}
		if !m.Position.IsZero() {
			n.Offset = m.Position.Offset
		}
		switch {
		case m.Sequence < first && (before == nil || before.Number < m.Sequence):
			before = n
		case m.Sequence > last && after == nil:
			after = n
		}
	}
	return before, after
}

// transitions compares with the last judgement: what is told is the change.
func (a *Audit) transitions(r *Report, current map[laneOf]map[Verdict]*interval.Set) {
	for key, was := range a.previous {
		a.resolved(r, key, was, current[key])
	}
	for key, now := range current {
		for to, set := range now {
			for from, numbers := range a.came(key, to, set) {
				r.change(a, key, numbers, from, to)
			}
		}
	}
	for i := range r.Lanes {
		r.Lanes[i].Sums.Late = a.late[laneOf{r.Lanes[i].Key, r.Lanes[i].By}]
	}
	a.previous = current
}

// came are the numbers of a set that had another verdict before, by that.
func (a *Audit) came(key laneOf, to Verdict, set *interval.Set) func(func(Verdict, interval.Range) bool) {
	return func(yield func(Verdict, interval.Range) bool) {
		fresh := set
		for from, was := range a.previous[key] {
			stayed := &interval.Set{}
			for left := range fresh.Without(was) {
				stayed.AddRange(left.First, left.Last)
			}
			if from != to {
				for moved := range fresh.Without(stayed) {
					if !yield(from, moved) {
						return
					}
				}
			}
			fresh = stayed
		}
		for left := range fresh.Ranges() {
			if !yield("", left) {
				return
			}
		}
	}
}

// resolved tells of numbers that were missing and are not any more: found late, or
// waived, or void after all.
func (a *Audit) resolved(r *Report, key laneOf, was, now map[Verdict]*interval.Set) {
	missing := &interval.Set{}
	for _, set := range now {
		missing.Merge(set)
	}
	l := a.lanes[key.key]
	have := &l.done
	if key.by == AtDelivery && l.seen != nil {
		have = &l.seen.numbers
	}
	for from, set := range was {
		for gone := range set.Without(missing) {
			for part, there := range among(gone, have) {
				switch {
				case there && from == Open:
					r.change(a, key, part, from, Present)
				case there:
					a.late[key] += part.Last - part.First + 1
					r.change(a, key, part, from, Late)
				default:
					r.change(a, key, part, from, a.lapsed(l, part))
				}
			}
		}
	}
}

// lapsed is the verdict of numbers that are not missing any more, and not there.
func (a *Audit) lapsed(l *lane, r interval.Range) Verdict {
	if l.waived != nil && l.waived.Answer(r.First) == interval.Known {
		return Waived
	}
	return Void
}

func (r *Report) change(a *Audit, key laneOf, n interval.Range, from, to Verdict) {
	r.Transitions = append(r.Transitions, Transition{ID: a.id(string(key.by), key.key, n.First, n.Last, string(from)+">"+string(to)),
		Time: r.Time, By: key.by, Key: key.key, First: n.First, Last: n.Last, From: from, To: to})
}
