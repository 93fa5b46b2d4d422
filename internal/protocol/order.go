// Package protocol is the decision core of the engine: which step comes next,
// and what becomes of each message. It is pure functions
//
//	next(state, event) → (state, action)
//
// without input or output, clock or chance, so that production and the
// exhaustive explorer (verify/model) run the very same decisions. The engine
// carries the actions out (perform.go in the root); the explorer carries them
// out on a model of broker, store and workers.
//
// A function that takes a state by value owns it, memory behind it included,
// as append does: the explorer clones before it asks.
package protocol

import "slices"

// Step is one thing to do. Its name is the name of the failpoint before it.
type Step uint8

// The steps. The numbers are those of docs/how-it-works.md.
const (
	Done     Step = iota // finished: durable, or nothing to do
	Gone                 // a row that another worker has decided
	Lost                 // fenced: settle nothing
	Again                // roll back what is open, wait if told to, then again from BEGIN
	Begin                // 2 a transaction on a connection that is not in doubt
	Token                // 2 share-lock the token of the fetch, compare
	Claim                //   a row set aside: compare and set waiting → done
	Keys                 // 3 insert DedupKeys, sorted
	Queues               // 4 which Keys have a row waiting
	Effects              // 5 run handlers
	Undo                 // 5 back to the savepoint
	Rolls                // 6 create, lock in sorted order, read again
	Write                // 6 write the merged rolls
	Asides               // 7 rows set aside
	Turn                 // 7 a row's own change of state
	Known                //   rows of suspect messages
	Attempts             //   rows of attempts, before suspects run
	Counts               //   the books
	Commit               // 8
)

// String is the name of the step.
func (s Step) String() string {
	return [...]string{"done", "gone", "lost", "again", "begin", "token", "claim", "keys", "behind", "effects", "undo",
		"rolls", "write", "asides", "turn", "known", "attempts", "counts", "commit"}[s]
}

// Kind is which transaction a Work is.
type Kind uint8

// The kinds of transactions.
const (
	OfBatch      Kind = iota // a part of a batch
	OfRow                    // a row set aside, under the worker's own token
	OfRowAttempt             // the attempt of such a row, before it runs
	OfSuspects               // the attempts of suspect messages, before they run
	OfAlone                  // one more attempt of a message that will run alone
)

// step is one entry of an order: what it asks for, and what it makes of the
// answer. Without ask it is asked for as it is; without hear the answer is only
// that it was done.
type step struct {
	do   Step
	ask  func(*Work) Action
	hear func(*Work, Event) verdict
}

// verdict is what an answer means for the transaction.
type verdict uint8

const (
	goOn  verdict = iota // to the next step
	stay                 // the step has more to ask
	again                // the plan changed: from BEGIN, at once
	gone                 // another worker has decided the row
)

// orders is the commit protocol: with lockFirst the only place that orders its
// steps.
var orders = map[Kind][]step{
	OfBatch: {
		{do: Begin},
		{do: Token},
		{do: Keys, ask: askKeys, hear: hearKeys},
		{do: Queues, ask: askQueues, hear: hearQueues},
		{do: Effects, ask: askEffects, hear: hearEffects},
		{do: Rolls, ask: askRolls, hear: hearRolls},
		{do: Write, ask: askWrite},
		{do: Asides, ask: askAsides},
		{do: Counts},
		{do: Commit},
	},
	// A row set aside goes through the same steps: its claim is the row itself,
	// and its numbers are in their rolls already.
	OfRow: {
		{do: Begin},
		{do: Token},
		{do: Claim, ask: askClaim, hear: hearTurn},
		{do: Keys, ask: askRowKeys, hear: hearKeys},
		{do: Queues, ask: askRowQueues, hear: hearRowQueues},
		{do: Effects, ask: askEffects, hear: hearEffects},
		{do: Turn, ask: askTurn, hear: hearTurn},
		{do: Counts},
		{do: Commit},
	},
	OfRowAttempt: {
		{do: Begin},
		{do: Token},
		{do: Queues, ask: askRowQueues, hear: hearRowQueues},
		{do: Known, ask: askRow, hear: hearRow},
		{do: Turn, ask: askRowAttempt},
		{do: Commit},
	},
	OfSuspects: {
		{do: Begin},
		{do: Token},
		{do: Rolls, ask: askRolls, hear: hearSuspectRolls},
		{do: Known, ask: askKnown, hear: hearKnown},
		{do: Attempts, ask: askAttempts},
		{do: Commit},
	},
	OfAlone: {
		{do: Begin},
		{do: Token},
		{do: Turn, ask: askAlone},
		{do: Commit},
	},
}

// lockFirst is the order of a batch whose rolls are locked first. What the rolls
// get does not depend on the effects: every number of the batch enters them, or
// none; and a lock that is held longer only makes others wait (ADR 0009).
var lockFirst = earlier(orders[OfBatch], Rolls, Effects)

// earlier is an order with a step moved before another.
func earlier(order []step, what, before Step) []step {
	from := slices.IndexFunc(order, func(s step) bool { return s.do == what })
	to := slices.IndexFunc(order, func(s step) bool { return s.do == before })
	if from < 0 {
		return order
	}
	moved := slices.Delete(slices.Clone(order), from, from+1)
	return slices.Insert(moved, to, order[from])
}

func (w *Work) order() []step {
	if w.Kind == OfBatch && w.Config.LockFirst {
		return lockFirst
	}
	return orders[w.Kind]
}

// Next says what to do after event. The first call takes the zero Event.
// Whatever fails, hits or is in doubt leads to the same: again from BEGIN.
// Nothing is guessed.
func (w Work) Next(e Event) (Work, Action) {
	switch e.Kind {
	case Fenced:
		return w, Action{Do: Lost}
	case Outdated:
		w.At = 0
		return w, Action{Do: Again}
	case Failed, Conflict, InDoubt:
		w.Careful = w.Careful || e.Kind == Conflict
		w.Doubted = w.Doubted || e.Kind == InDoubt
		w.At = 0
		return w, Action{Do: Again, Wait: true}
	}
	if w.At > 0 {
		if s := w.order()[w.At-1]; s.hear != nil {
			switch s.hear(&w, e) {
			case stay:
				w.At--
			case again:
				w.At = 0
				return w, Action{Do: Again, Hits: w.Hits}
			case gone:
				return w, Action{Do: Gone}
			}
		}
	} else {
		w.start()
		if w.Kind == OfBatch && !w.anythingNew() {
			return w, Action{Do: Done}
		}
	}
	if w.At == len(w.order()) {
		return w, Action{Do: Done}
	}
	s := w.order()[w.At]
	w.At++
	if s.ask == nil {
		return w, Action{Do: s.do}
	}
	return w, s.ask(&w)
}

// start is the beginning of a transaction, the first or another one.
func (w *Work) start() {
	reset(w.Items)
	w.Hits = 0
	w.Effects = effects{}
	w.Locked, w.Sets, w.Changed = nil, nil, nil
	w.Claims, w.Wake = nil, nil
	w.Fresh, w.Alone = nil, nil
}
