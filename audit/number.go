package audit

import (
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Said is what the records say of one number.
type Said struct {
	Sender       string
	Stored, Void bool      // as the books say
	Since        time.Time // it was acknowledged by then
	// Done is Present, Unknown, or empty: not in the group's roll.
	Done Verdict
}

// Number is what the records read by the last Step say of one number.
func (w *Watch) Number(s rollcall.Stamp) Said {
	var out Said
	if from := w.audit.senders[s.Life]; from != nil {
		out.Sender = from.name
	}
	l := w.audit.lanes[keyOf(s)]
	if l == nil {
		return out
	}
	switch l.done.Answer(s.Sequence) {
	case interval.Known:
		out.Done = Present
	case interval.Unknown:
		out.Done = Unknown
	}
	if l.books != nil {
		all := l.books.all()
		out.Stored = all.stored.Answer(s.Sequence) == interval.Known
		out.Void = all.void.Answer(s.Sequence) == interval.Known
		out.Since = all.since(s.Sequence)
	}
	return out
}

// Named reports whether an id is a finding's: as it stands, or as it was while it was
// open, suspected or lost.
func (w *Watch) Named(f *Finding, id string) bool {
	return slices.ContainsFunc([]Verdict{f.Verdict, Open, Suspected, Lost}, func(v Verdict) bool {
		return w.audit.id(string(f.By), f.Key, f.First, f.Last, string(v)) == id
	})
}

// Lies is where a missing number was found to lie in the destination.
func (w *Watch) Lies(key LaneKey, number uint64) (Spot, bool) {
	f := w.audit.log.found[key]
	if f == nil {
		return Spot{}, false
	}
	spots := f.at[number]
	if len(spots) == 0 {
		return Spot{}, false
	}
	return spots[0], true
}
