package protocol

import "fmt"

// Attempts are data errors and deaths in mid-message, never mere redeliveries.
// A suspect batch writes its attempts down before it runs; only a message that
// already has such an attempt runs alone, so that one that kills its worker is
// found.

// hearSuspectRolls reads the rolls before the rows: what is done already is not
// suspect.
func hearSuspectRolls(w *Work, e Event) verdict {
	w.Sets = e.Sets
	w.retest()
	reset(w.Items)
	return goOn
}

func askKnown(w *Work) Action {
	return Action{Do: Known, Items: runnable(w.Items)}
}

// hearKnown finds which messages have an attempt already. A row in any other
// state says that the message was decided: only its numbers are still to enter
// their rolls.
func hearKnown(w *Work, e Event) verdict {
	w.Alone = make(map[int]Found)
	for i, item := range runnable(w.Items) {
		it := &w.Items[item]
		it.Suspect = true
		switch row := e.Rows[i]; {
		case row.ID == 0:
			w.Fresh = append(w.Fresh, item)
		case row.State == RowAttempt:
			w.Alone[it.Index] = row
		default:
			it.Planned = Dropped
		}
	}
	return goOn
}

func askAttempts(w *Work) Action {
	a := Action{Do: Attempts}
	for _, item := range w.Fresh {
		a.Put = append(a.Put, Put{Item: item, State: RowAttempt, Attempts: 1})
	}
	return a
}

// oneMore reports whether one more attempt is to be counted before the message
// runs alone. Too many: it is declared dead, and goes through the same steps as
// any failure.
func (w *Work) oneMore() bool {
	it := &w.Items[0]
	it.Attempts = w.Row.Attempts
	if w.Row.Attempts >= w.Config.Attempts {
		it.Attempts--
		it.Kill(fmt.Sprintf("its worker ended %d times while it was in work", w.Row.Attempts))
		return false
	}
	return true
}

func askAlone(w *Work) Action {
	return Action{Do: Turn, Turn: Change{Row: w.Row.ID, From: RowAttempt, To: RowAttempt, Attempts: w.Row.Attempts + 1,
		Cause: w.Row.Cause, Fate: Waiting}}
}
