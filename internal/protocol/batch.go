package protocol

import (
	"slices"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Batch is one batch on its way from fetch to settle: the state.
type Batch struct {
	Config Config
	Items  []Item
	// Covered are the offsets inside the batch that the broker never delivers,
	// as numbers of CoveredRoll (-1: none).
	Covered     []Cover
	CoveredRoll int
	// Budget is how many messages can still have been in work when the
	// partition's previous owner ended.
	Budget int

	Stage Stage
	Parts []Work // what runs together, and what runs alone, in order
	Part  int
}

// Stage is one thing that a batch needs.
type Stage uint8

// The stages, in order.
const (
	Load     Stage = iota // the rolls of the batch's table, without locks
	Suspect               // one transaction: attempts of suspect messages
	Bump                  // one transaction: one more attempt of a message that runs alone
	Complete              // transactions side by side, each until it is durable
	Settle                // 9
	Finished
)

// Answer is what became of a stage. A stage that was given up (fenced,
// stopped) has no answer: the batch ends with it.
type Answer struct {
	Rolls []*interval.Set // Load: the batch's table
	Works []Work          // Suspect, Complete: as they ended
}

// Next says what the batch needs after the answer. The first call takes the
// zero Answer. Settle comes only when every part is durable.
func (b Batch) Next(a Answer) (Batch, Stage, []Work) {
	switch b.Stage {
	case Load:
		if a.Rolls == nil {
			return b, Load, nil
		}
		Plan(b.Items, a.Rolls)
		if suspects := b.suspects(); len(suspects) > 0 {
			b.Stage = Suspect
			return b, Suspect, []Work{{Kind: OfSuspects, Config: b.Config, Items: suspects, CoveredRoll: -1}}
		}
		b.Parts = b.split(nil)
		return b.part()
	case Suspect:
		b.absorb(a.Works[0].Items)
		b.Parts = b.split(a.Works[0].Alone)
		return b.part()
	case Bump:
		b.Stage = Complete
		return b, Complete, b.deal(b.Parts[b.Part])
	case Complete:
		for _, w := range a.Works {
			b.absorb(w.Items)
		}
		b.Part++
		return b.part()
	}
	return b, Finished, nil // Settle was the last
}

// part begins the next part, or settles when there is none left.
func (b Batch) part() (Batch, Stage, []Work) {
	if b.Part == len(b.Parts) {
		b.Stage = Settle
		return b, Settle, nil
	}
	p := &b.Parts[b.Part]
	if p.Row.ID != 0 && p.oneMore() {
		b.Stage = Bump
		bump := *p
		bump.Kind = OfAlone
		bump.Items = slices.Clone(p.Items)
		return b, Bump, []Work{bump}
	}
	b.Stage = Complete
	return b, Complete, b.deal(*p)
}

// absorb takes over what a transaction taught.
func (b *Batch) absorb(items []Item) {
	for _, it := range items {
		b.Items[it.Index] = it
	}
}

// split makes the parts: those with an attempt alone, the others together. The
// covered offsets go with the last part.
func (b *Batch) split(alone map[int]Found) []Work {
	part := func(items []Item) Work {
		return Work{Kind: OfBatch, Config: b.Config, Items: items, CoveredRoll: b.CoveredRoll}
	}
	var parts []Work
	var together []Item
	if len(alone) == 0 {
		together = make([]Item, 0, len(b.Items)) // it is always so, but for the first batch after a crash
	}
	flush := func() {
		if len(together) > 0 {
			parts = append(parts, part(together))
		}
		together = nil
	}
	for _, it := range b.Items {
		row, ok := alone[it.Index]
		if !ok {
			together = append(together, it)
			continue
		}
		flush()
		single := part([]Item{it})
		single.Row = Row{ID: row.ID, Attempts: row.Attempts, Cause: row.Cause}
		parts = append(parts, single)
	}
	flush()
	if len(parts) == 0 {
		parts = []Work{part(nil)} // a batch of nothing but covered offsets
	}
	parts[len(parts)-1].Covered = b.Covered
	return parts
}
