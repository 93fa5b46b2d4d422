package model

import (
	"maps"
	"slices"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// clone is a state that may be changed. Key maps, rows and savepoints are
// replaced, never changed, so they are shared.
func (w *world) clone() *world {
	n := *w
	n.entries = slices.Clone(w.entries)
	n.effects = slices.Clone(w.effects)
	n.excused = slices.Clone(w.excused)
	n.discarded = slices.Clone(w.discarded)
	for i := range n.workers {
		k := &n.workers[i]
		k.hands = slices.Clone(k.hands)
		for j := range k.hands {
			k.hands[j].work = cloneWork(k.hands[j].work)
		}
		k.aside.work = cloneWork(k.aside.work)
		if k.batch != nil {
			b := *k.batch
			b.Items = slices.Clone(b.Items)
			b.Parts = slices.Clone(b.Parts)
			for p := range b.Parts {
				b.Parts[p] = cloneWork(b.Parts[p])
			}
			k.batch = &b
		}
	}
	return &n
}

// cloneWork copies what Next changes in place.
func cloneWork(w protocol.Work) protocol.Work {
	w.Items = slices.Clone(w.Items)
	w.Effects.Blocked = maps.Clone(w.Effects.Blocked)
	return w
}
