package audit

import (
	"context"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// mostLooked bounds how many offsets one look reads: a bracket beyond it stays
// "not looked up".
const mostLooked = 200_000

// want notes that offsets from first up to, not including, end are to be explained,
// and looked at too if look, and reports whether they were.
func (a *Audit) want(partition int32, first, end int64, look bool) bool {
	if first >= end {
		return true
	}
	r := interval.Range{First: uint64(first) + 1, Last: uint64(end)}
	known := holds(a.log.explained[partition], r)
	if look {
		known = holds(a.log.looked[partition], r) && known
	}
	if !known {
		a.wanted = append(a.wanted, wanted{partition, r, look})
	}
	return known
}

// wanted is offsets (+ 1) of a partition to be explained, and looked at.
type wanted struct {
	partition int32
	interval.Range
	look bool
}

func holds(s *interval.Set, r interval.Range) bool {
	if s == nil {
		return false
	}
	for range interval.Of([]interval.Range{r}, nil).Without(s) {
		return false
	}
	return true
}

// look reads the places of what was found missing. What is too much stays "not
// looked up", and so suspected.
func (a *Audit) look(ctx context.Context, source rollcall.Source) error {
	budget := int64(mostLooked)
	for _, w := range a.wanted {
		n := int64(w.Last - w.First + 1)
		if n > budget {
			continue
		}
		budget -= n
		if err := a.explain(ctx, source, w); err != nil {
			return err
		}
		if w.look {
			if err := a.peek(ctx, source, w); err != nil {
				return err
			}
		}
	}
	a.wanted = nil
	return nil
}

func (a *Audit) explain(ctx context.Context, source rollcall.Source, w wanted) error {
	set := a.log.explained[w.partition]
	if set == nil {
		set = &interval.Set{}
		a.log.explained[w.partition] = set
	}
	if e, ok := source.(rollcall.Explainer); ok && !holds(set, w.Range) {
		p := rollcall.Partition{Destination: a.destination, Number: w.partition}
		holes, err := e.Explain(ctx, p, int64(w.First)-1, int64(w.Last)-1)
		if err != nil {
			return err
		}
		a.log.holes[w.partition] = append(a.log.holes[w.partition], holes...)
		for _, h := range holes {
			for _, s := range h.Stamps {
				a.abort(keyOf(s), s.Sequence)
			}
		}
	}
	set.AddRange(w.First, w.Last)
	return nil
}

func (a *Audit) abort(key LaneKey, n uint64) {
	if a.log.aborted[key] == nil {
		a.log.aborted[key] = &interval.Set{}
	}
	a.log.aborted[key].Add(n)
}

// peek looks which numbers lie at offsets, from the last to the first: a Peeker
// reads what is before, too.
func (a *Audit) peek(ctx context.Context, source rollcall.Source, w wanted) error {
	p, ok := source.(rollcall.Peeker)
	x, there := a.log.extents[w.partition]
	if !ok || !there {
		return nil
	}
	set := a.log.looked[w.partition]
	if set == nil {
		set = &interval.Set{}
		a.log.looked[w.partition] = set
	}
	partition := rollcall.Partition{Destination: a.destination, Number: w.partition}
	for n := w.Last; n >= w.First; n-- {
		offset := int64(n) - 1
		if offset >= x.First && offset < x.End && set.Answer(n) == interval.New {
			m, err := p.Peek(ctx, partition, rollcall.Position{Incarnation: x.Incarnation, Offset: offset})
			if err != nil {
				return err
			}
			if !m.Stamp.IsZero() {
				a.find(m.Stamp, Spot{Partition: w.partition, Offset: offset, Time: m.Time})
			}
		}
		set.Add(n)
	}
	return nil
}

// located is where numbers of one lane were looked up.
type located struct {
	numbers interval.Set
	at      map[uint64]Spot
}

func (a *Audit) find(s rollcall.Stamp, at Spot) {
	key := keyOf(s)
	f := a.log.found[key]
	if f == nil {
		f = &located{at: make(map[uint64]Spot)}
		a.log.found[key] = f
	}
	f.numbers.Add(s.Sequence)
	f.at[s.Sequence] = at
}
