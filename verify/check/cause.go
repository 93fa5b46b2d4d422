package check

import (
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall/verify/history"
)

// Unexplained is the cause of a finding that no event explains. That is a
// finding in itself.
const Unexplained = "no fault of the run explains it"

func (r *Run) causeOfLoss(id string) string {
	if e := r.struck(id); e != nil {
		return tell(e, "")
	}
	return Unexplained
}

// causeOfDouble also says whether a repeated send is all that is behind it.
func (r *Run) causeOfDouble(id string, rejected bool) (cause string, again bool) {
	if rejected {
		return "it was rejected, and what it had written stayed", false
	}
	const twice = ", and it was done again"
	e := r.struck(id)
	if e != nil && e.Target == id {
		return tell(e, twice), false
	}
	if cause := r.sentAgain(id); cause != "" {
		return cause, true
	}
	if e != nil && e.What == history.Sleep {
		return tell(e, twice), false // it was in the sleeper's batch
	}
	if e := r.afterWake(id); e != nil {
		return fmt.Sprintf("worker %d, awake again, set the offset back", e.PID), false
	}
	if e != nil {
		return tell(e, twice), false
	}
	return Unexplained, false
}

// struck is the fault that was aimed at an order, else one that had it in hand.
func (r *Run) struck(id string) *history.Event {
	var near *history.Event
	for i := range r.Worker {
		e := &r.Worker[i]
		switch e.What {
		case history.Kill, history.Sleep, history.ReplyLost, history.CommitLost, history.AckLost:
		default:
			continue
		}
		if e.Target == id {
			return e
		}
		if slices.Contains(e.Orders, id) {
			near = e
		}
	}
	return near
}

// sentAgain tells why an order lies in the log twice.
func (r *Run) sentAgain(id string) string {
	if tried := fates(r.Sender)[id].tried; tried < 2 {
		return ""
	}
	for _, e := range r.Sender {
		if e.What == history.Kill && slices.Contains(e.Orders, id) {
			return fmt.Sprintf("sender %d was killed after the broker had stored it and before it knew; it was sent again", e.PID)
		}
	}
	return "the application sent it twice"
}

// afterWake is the wake of a sleeper after which an order took effect again.
func (r *Run) afterWake(id string) *history.Event {
	for i := range r.Worker {
		wake := &r.Worker[i]
		if wake.What != history.Wake {
			continue
		}
		for _, e := range r.Effects {
			if e.ID == id && e.At > wake.Time.UnixNano() {
				return wake
			}
		}
	}
	return nil
}

// tell is an event in words, and what followed.
func tell(e *history.Event, after string) string {
	switch e.What {
	case history.Sleep:
		return fmt.Sprintf("worker %d slept past its lease %s, another did the work, and it woke", e.PID, e.Step)
	case history.ReplyLost:
		return fmt.Sprintf("worker %d got no answer %s, though it had happened%s", e.PID, e.Step, after)
	case history.CommitLost:
		return fmt.Sprintf("worker %d lost its connection before the COMMIT%s", e.PID, after)
	case history.AckLost:
		return fmt.Sprintf("the ack of worker %d was lost%s", e.PID, after)
	}
	return fmt.Sprintf("worker %d was killed %s%s", e.PID, e.Step, after)
}
