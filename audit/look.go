package audit

import (
	"context"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// mostLooked is how many offsets one look reads; the next one goes on behind them.
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

// look reads the places of what was found missing: until all of a place was read, it is
// "not looked up", and what is missing there suspected or to go.
func (a *Audit) look(ctx context.Context, source rollcall.Source) error {
	budget := uint64(mostLooked)
	for _, w := range a.wanted {
		for _, r := range a.unknown(a.log.explained, w, &budget) {
			if err := a.explain(ctx, source, w.partition, r); err != nil {
				return err
			}
		}
		if !w.look {
			continue
		}
		for _, r := range a.unknown(a.log.looked, w, &budget) {
			if err := a.peek(ctx, source, w.partition, r); err != nil {
				return err
			}
		}
	}
	a.wanted = nil
	return nil
}

// unknown are the parts of what is wanted that were not read before, as far as the
// budget goes, which they use up: the next look goes on behind them.
func (a *Audit) unknown(known map[int32]*interval.Set, w wanted, budget *uint64) (out []interval.Range) {
	if known[w.partition] == nil {
		known[w.partition] = &interval.Set{}
	}
	for r := range interval.Of([]interval.Range{w.Range}, nil).Without(known[w.partition]) {
		if *budget == 0 {
			break
		}
		r.Last = min(r.Last, r.First+*budget-1)
		*budget -= r.Last - r.First + 1
		out = append(out, r)
	}
	return out
}

func (a *Audit) explain(ctx context.Context, source rollcall.Source, partition int32, r interval.Range) error {
	if e, ok := source.(rollcall.Explainer); ok {
		holes, err := e.Explain(ctx, rollcall.Partition{Destination: a.destination, Number: partition}, int64(r.First)-1, int64(r.Last)-1)
		if err != nil {
			return err
		}
		a.log.holes[partition] = append(a.log.holes[partition], holes...)
		for _, h := range holes {
			for _, s := range h.Stamps {
				a.abort(keyOf(s), s.Sequence)
			}
		}
	}
	a.log.explained[partition].AddRange(r.First, r.Last)
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
func (a *Audit) peek(ctx context.Context, source rollcall.Source, partition int32, r interval.Range) error {
	p, ok := source.(rollcall.Peeker)
	x, there := a.log.extents[partition]
	if !ok || !there {
		return nil
	}
	for n := r.Last; n >= r.First; n-- {
		offset := int64(n) - 1
		if offset < x.First || offset >= x.End {
			continue
		}
		m, err := p.Peek(ctx, rollcall.Partition{Destination: a.destination, Number: partition}, rollcall.Position{Incarnation: x.Incarnation, Offset: offset})
		if err != nil {
			return err
		}
		if !m.Stamp.IsZero() {
			a.find(m.Stamp, Spot{Partition: partition, Offset: offset, Time: m.Time})
		}
	}
	a.log.looked[partition].AddRange(r.First, r.Last)
	return nil
}

// located is where numbers of one lane were looked up.
type located struct {
	numbers interval.Set
	at      map[uint64][]Spot // each copy
}

// find keeps where a number lies, unless it is done: of those nobody asks.
func (a *Audit) find(s rollcall.Stamp, at Spot) {
	key := keyOf(s)
	if l := a.lanes[key]; l == nil || l.done.Answer(s.Sequence) == interval.Known {
		return
	}
	f := a.log.found[key]
	if f == nil {
		f = &located{at: make(map[uint64][]Spot)}
		a.log.found[key] = f
	}
	f.numbers.Add(s.Sequence)
	f.at[s.Sequence] = append(f.at[s.Sequence], at)
}
