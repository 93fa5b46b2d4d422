// Package check judges a run from outside: the ledger of effects against what
// the sender itself wrote down. It names each order that was lost or doubled
// and the event that caused it.
package check

import (
	"slices"

	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/history"
)

// Effect is one row of the ledger.
type Effect struct {
	ID    string
	Cents int64
	PID   int
	At    int64 // nanoseconds
}

// Run is what one pattern left behind.
type Run struct {
	Name     string
	Plan     *fault.Plan
	Effects  []Effect
	Balance  int64
	Rejected []string        // set aside for all to see, with a cause
	Parked   []string        // in doubt, and says so
	Sender   []history.Event // of all lives of the sender
	Worker   []history.Event // of the workers, and what was done to them
	Stuck    string          // why it did not work off its queue
}

// What became of an order that has a finding.
const (
	Lost    = "lost"
	Doubled = "doubled"
)

// Finding is one order that did not take effect once.
type Finding struct {
	Order string `json:"order"`
	What  string `json:"what"`
	Cause string `json:"cause"`
	// Sent: the order was sent twice, and no other fault is behind it.
	Sent bool `json:"sent_twice,omitempty"`
}

// Verdict is the judgement of a run.
type Verdict struct {
	Name                           string
	Sent, Effects                  int
	Lost, Doubled, InDoubt, Killed int
	Rejected                       int
	Findings                       []Finding
	Marks                          []byte // one an order: see the constants
	Problem                        string // the books of the run itself do not agree
}

// The marks of a Verdict.
const (
	MarkOnce     = '.'
	MarkLost     = 'x'
	MarkDoubled  = '2'
	MarkRejected = '-'
	MarkDoubt    = '?'
)

// Safe: nothing lost, nothing doubled.
func (v *Verdict) Safe() bool { return v.Lost == 0 && v.Doubled == 0 && v.Problem == "" }

// Judge compares. An order whose send has no answer may have taken effect or
// not; one that is stored must have, once; one that was refused must not. An
// order set aside for all to see is not lost, but an effect of it is one too
// many. So is an effect of an order that nobody sent.
func Judge(r *Run) Verdict {
	v := Verdict{Name: r.Name, Effects: len(r.Effects), Problem: r.Stuck}
	times := make(map[string]int)
	var sum int64
	for _, e := range r.Effects {
		times[e.ID]++
		sum += e.Cents
	}
	if sum != r.Balance && v.Problem == "" {
		v.Problem = "the balance is not the sum of the ledger"
	}
	sent := fates(r.Sender)
	for _, e := range r.Worker {
		if e.What == history.Kill && len(e.Orders) > 0 {
			v.Killed++
		}
	}
	for _, o := range r.Plan.Orders {
		v.mark(r, o.ID, times[o.ID], sent[o.ID])
		delete(times, o.ID)
	}
	for id := range times {
		v.Doubled++
		v.Findings = append(v.Findings, Finding{Order: id, What: Doubled, Cause: "nobody sent it"})
	}
	return v
}

// fate is what a sender knows of an order.
type fate struct{ tried, stored, refused int }

func fates(events []history.Event) map[string]fate {
	out := make(map[string]fate)
	for _, e := range events {
		for _, id := range e.Orders {
			f := out[id]
			switch e.What {
			case history.Send:
				f.tried++
			case history.Stored:
				f.stored++
			case history.Refused:
				f.refused++
			}
			out[id] = f
		}
	}
	return out
}

func (v *Verdict) mark(r *Run, id string, times int, sent fate) {
	if sent.tried > 0 {
		v.Sent++
	}
	most := 1
	rejected := slices.Contains(r.Rejected, id)
	if rejected || sent.tried == sent.refused {
		most = 0
	}
	mark := byte(MarkOnce)
	switch {
	case times > most:
		mark = MarkDoubled
		v.Doubled++
		cause, again := r.causeOfDouble(id, rejected)
		v.Findings = append(v.Findings, Finding{id, Doubled, cause, again})
	case rejected:
		mark = MarkRejected
		v.Rejected++
	case times == 1 || sent.stored == 0:
	case slices.Contains(r.Parked, id):
		mark = MarkDoubt
		v.InDoubt++
	default:
		mark = MarkLost
		v.Lost++
		v.Findings = append(v.Findings, Finding{Order: id, What: Lost, Cause: r.causeOfLoss(id)})
	}
	v.Marks = append(v.Marks, mark)
}
