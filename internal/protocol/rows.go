package protocol

import (
	"fmt"
	"strings"
)

// askAsides is step 7: what failed, waits, is dead or parked goes aside in the
// transaction in which its numbers enter their rolls.
func askAsides(w *Work) Action {
	a := Action{Do: Asides, Wake: w.Wake}
	applied := make(map[string]bool)
	for i := range w.Items {
		if it := &w.Items[i]; it.Fate == Applied {
			applied[it.Key] = true
		}
	}
	for i := range w.Items {
		it := &w.Items[i]
		if state, ok := it.Fate.Aside(); ok {
			early := it.Fate == Early
			a.Put = append(a.Put, Put{Item: i, State: state, Attempts: it.Spent(), Early: early,
				Now: early && applied[it.Key], OwnsKey: it.HasDedup && !it.Beside && state != RowParked})
		} else if it.Suspect {
			a.Drop = append(a.Drop, i)
		}
	}
	return a
}

// askClaim takes the row from waiting to done before the effect, so that two
// workers, or two redrives, cannot both run it. If the effect fails that is
// undone: hence the savepoint.
func askClaim(w *Work) Action {
	return Action{Do: Claim, Savepoint: true, Turn: Change{Row: w.Row.ID, From: RowWaiting, To: RowDone,
		Attempts: w.Row.Attempts, OwnsKey: w.Row.OwnsKey}}
}

func hearTurn(_ *Work, e Event) verdict {
	if !e.Turned {
		return gone
	}
	return goOn
}

// askRowKeys: the row that owns its key does not look at keys; one that does
// not own it claims it like a new message.
func askRowKeys(w *Work) Action {
	if w.Row.OwnsKey {
		return Action{Do: Keys}
	}
	return askKeys(w)
}

// askRowQueues: not before earlier rows of its Key. A row that came too early
// waits for nobody here.
func askRowQueues(w *Work) Action {
	if w.Items[0].Key == "" || w.Row.Early {
		return Action{Do: Queues}
	}
	return Action{Do: Queues, Keys: []string{w.Items[0].Key}}
}

func hearRowQueues(w *Work, e Event) verdict {
	if q := e.Queues[w.Items[0].Key]; q.First != 0 && q.First < w.Row.ID {
		return gone
	}
	return goOn
}

// askTurn writes what became of the row. A failure is the same compare and set,
// from waiting: the claim is undone first.
func askTurn(w *Work) Action {
	it := &w.Items[0]
	if it.Fate == Early && w.Row.Late != "" {
		it.Fate, it.Cause = Dead, w.Row.Late+": "+it.Cause
	}
	state, aside := it.Fate.Aside()
	if !aside {
		a := Action{Do: Turn}
		if it.Fate == Applied && it.Key != "" {
			a.Wake = []string{it.Key} // what came too early is due when another of its Key commits
		}
		return a
	}
	return Action{Do: Turn, Undo: true, Turn: Change{Row: w.Row.ID, From: RowWaiting, To: state, Attempts: it.Spent(),
		Early: it.Fate == Early, OwnsKey: w.Row.OwnsKey, Cause: it.Cause, Fate: it.Fate, Again: it.Again}}
}

// inWork marks the cause of a row whose attempt is written and not decided yet.
const inWork = "in work; before: "

// IsInWork reports whether a waiting row has an attempt under way, or one whose
// worker ended.
func IsInWork(cause string) bool { return strings.HasPrefix(cause, inWork) }

func before(cause string) string { return strings.TrimPrefix(cause, inWork) }

// askRowAttempt writes the attempt down before the row runs, so that a message
// that kills its worker is given up in the end.
func askRowAttempt(w *Work) Action {
	return Action{Do: Turn, Turn: Change{Row: w.Row.ID, From: RowWaiting, To: RowWaiting, Attempts: w.Row.Attempts + 1,
		Early: w.Row.Early, OwnsKey: w.Row.OwnsKey, Cause: inWork + before(w.Row.Cause), Fate: Waiting}}
}

// RowWork is the first transaction of a due row: the attempt. A row that has had
// all its attempts is not run: it is declared dead, through the same steps as
// any failure, so its first transaction is the effect's.
func RowWork(c Config, it Item, row Row) Work {
	it.Original = -1
	it.Attempts = row.Attempts
	w := Work{Kind: OfRowAttempt, Config: c, Items: []Item{it}, Row: row, CoveredRoll: -1}
	if row.Attempts < c.Attempts {
		return w
	}
	w.Items[0].Attempts--
	w.Items[0].Kill(fmt.Sprintf("its worker ended while it was in work, after %d attempts: %s", row.Attempts, before(row.Cause)))
	w.Kind = OfRow
	return w
}

// Effect is the transaction that follows when the attempt is durable.
func (w *Work) Effect() Work {
	next := Work{Kind: OfRow, Config: w.Config, Items: w.Items, Row: w.Row, CoveredRoll: -1}
	next.Row.Attempts++
	return next
}

// askRow reads and locks the row. It must be as it was when it was found due,
// or another worker has been at it since: then its attempts are not ours to count.
func askRow(*Work) Action { return Action{Do: Known, Items: []int{0}} }

func hearRow(w *Work, e Event) verdict {
	row, counted := e.Rows[0], w.Row.Attempts
	if w.Doubted && row.Attempts == counted+1 {
		counted++ // the COMMIT in doubt had happened
	}
	if row.State != RowWaiting || row.Attempts != counted {
		return gone
	}
	return goOn
}
