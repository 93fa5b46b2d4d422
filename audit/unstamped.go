package audit

import (
	"context"
	"slices"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Repeat is a message without a stamp that came twice.
type Repeat struct {
	MessageID string `json:"message_id"`
	First     Spot   `json:"first"`
	Again     Spot   `json:"again"`
}

// mostRepeats is how many are kept with their places; all are counted.
const mostRepeats = 100

// unstamped looks for a repeat by key: of what nobody numbers, nothing else can be
// seen.
func (a *Audit) unstamped(d *rollcall.Delivery) {
	key, ok := a.config.Key(&d.Message)
	if !ok {
		a.counts.Unkeyed++
		return
	}
	first, again := a.keys[key]
	switch {
	case again:
		a.counts.Keyed++
		a.counts.Repeated++
		if len(a.repeats) < mostRepeats {
			a.repeats = append(a.repeats, Repeat{string(d.ID), first, spotOf(d)})
		}
	case len(a.keys) >= a.config.MaxKeys:
		a.counts.Unkeyed++
	default:
		a.counts.Keyed++
		a.keys[key] = spotOf(d)
	}
}

// HoleReport is offsets without a message, and why.
type HoleReport struct {
	Cause   rollcall.HoleCause `json:"cause"` // empty: nobody can explain them
	Offsets uint64             `json:"offsets"`
}

// Holes explains the offsets that the tap passed without a message, as far as the
// broker can: of logs without stamps it is all that says whether something is
// missing. Compacted and removed ones were messages once.
func (w *Watch) Holes(ctx context.Context) ([]HoleReport, error) {
	explainer, ok := w.in.Log.(rollcall.Explainer)
	if !ok || w.tap == nil {
		return nil, nil
	}
	count := make(map[rollcall.HoleCause]uint64)
	for n, passed := range w.audit.tap.passed {
		budget := uint64(mostLooked)
		for r := range passed.Ranges() {
			size := r.Last - r.First + 1
			if size > budget {
				count[""] += size
				continue
			}
			budget -= size
			holes, err := explainer.Explain(ctx, rollcall.Partition{Destination: w.audit.destination, Number: n}, int64(r.First)-1, int64(r.Last)-1)
			if err != nil {
				return nil, err
			}
			explained := &interval.Set{}
			for _, h := range holes {
				explained.AddRange(uint64(h.First)+1, uint64(h.Last)+1)
				count[h.Cause] += uint64(h.Last - h.First + 1)
			}
			count[""] += size - explained.Count()
		}
	}
	var out []HoleReport
	for cause, offsets := range count {
		if offsets > 0 {
			out = append(out, HoleReport{cause, offsets})
		}
	}
	slices.SortFunc(out, func(x, y HoleReport) int { return int(y.Offsets) - int(x.Offsets) })
	return out, nil
}
