package model

import (
	"slices"

	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// The worker's life around the protocol, and the broker's.

// acquire raises the partition's token, then reads the rolls, which the
// previous owner can no longer change.
func (w *world) acquire(i int) {
	k := &w.workers[i]
	k.assigned = false
	w.tokens[partition]++
	k.token = w.tokens[partition]
	k.budget = int8(w.s.Batch)
	if w.clean && !w.without("clean release") {
		k.budget = 0
	}
	w.clean = false
	k.owns = true
	k.cached = [rolls]bool{}
	if w.s.Shape == Replayable {
		k.cached[placeRoll], k.cache[placeRoll] = true, w.rolls[placeRoll]
		k.next = w.rolls[placeRoll].floor() - 1
	} else {
		w.giveBack(i)
	}
	if w.s.Shape != Replayable {
		k.budget = 0 // there the broker says what it hands over again
	}
}

// giveBack: what a worker holds of a queue is ready again.
func (w *world) giveBack(i int) {
	w.session[i]++
	for e := range w.entries {
		if w.entries[e].holder == int8(i) {
			w.entries[e].holder = -1
			w.entries[e].redelivered = true
		}
	}
}

// mayFetch: the worker has nothing in hand and believes the partition its own.
func (w *world) mayFetch(i int) bool {
	k := &w.workers[i]
	if k.batch != nil || k.revoking || k.assigned || k.stale && w.s.Shape == Shared {
		return false
	}
	if w.s.Shape != Shared && !k.owns {
		return false
	}
	return len(w.ready(i)) > 0
}

// ready are the entries of the next batch.
func (w *world) ready(i int) (out []int8) {
	k := &w.workers[i]
	first := int8(0)
	if w.s.Shape == Replayable {
		first = k.next
	} else if w.s.Shape == Exclusive && w.owner != int8(i) {
		return nil
	}
	for e := first; e < w.sent && len(out) < w.s.Batch; e++ {
		if w.s.Shape != Replayable && (w.entries[e].settled || w.entries[e].holder >= 0) {
			continue
		}
		out = append(out, e)
	}
	return out
}

// fetch hands over a batch and begins its first transaction.
func (w *world) fetch(i int) {
	k := &w.workers[i]
	entries := w.ready(i)
	b := &protocol.Batch{Config: w.s.config(), CoveredRoll: -1, Budget: int(k.budget)}
	k.entries = nil
	for _, e := range entries {
		if w.s.Entries[e].Hole {
			n := uint64(e) + 1
			b.Covered = append(b.Covered, protocol.Cover{Range: interval.Range{First: n, Last: n}})
			b.CoveredRoll = placeRoll
			continue
		}
		it := w.describe(i, e)
		it.Index = len(b.Items)
		b.Items = append(b.Items, it)
		k.entries = append(k.entries, e)
		if w.s.Shape != Replayable {
			w.entries[e].holder = int8(i)
		}
	}
	if w.s.Shape == Replayable {
		k.next = entries[len(entries)-1] + 1
	}
	k.batch, k.session = b, w.session[i]
	k.fetched = k.token
	if w.s.Shape == Shared {
		k.fetched = k.own
	}
	w.advance(i, protocol.Answer{})
	if w.without("settle last") {
		w.settleEntries(i)
	}
}

// settleEntries is step 9. A receipt of an older session settles nothing.
func (w *world) settleEntries(i int) {
	k := &w.workers[i]
	if w.s.Shape != Replayable && k.session == w.session[i] {
		for _, e := range k.entries {
			if w.entries[e].holder == int8(i) {
				w.entries[e].settled, w.entries[e].holder = true, -1
			}
		}
	}
}

// finish ends a batch that is settled, or whose settlement got lost.
func (w *world) finish(i int) {
	k := &w.workers[i]
	k.batch, k.entries, k.settle = nil, nil, false
}

// fenced: nothing is settled. A batch older than the token we hold is dropped;
// else the token is acquired again, as long as the broker says that the
// partition is ours.
func (w *world) fenced(i int) {
	k := &w.workers[i]
	w.finish(i)
	switch {
	case w.s.Shape == Shared:
		k.stale = true
	case k.fetched < k.token:
	case w.without("fenced and still ours: acquire again"):
		k.owns = false
	case w.owner == int8(i):
		k.assigned = true
	default:
		k.owns = false
	}
}

// again is the worker's own token, acquired anew: everything held is given back.
func (w *world) again(i int) {
	k := &w.workers[i]
	w.tokens[1+i]++
	k.own = w.tokens[1+i]
	k.stale = false
	if w.s.Shape == Shared {
		w.giveBack(i)
	}
}

// due are the rows that a worker may run: waiting, the first of their Key.
func (w *world) due() (out []row) {
	for _, r := range w.rows {
		if r.state != protocol.RowWaiting {
			continue
		}
		m := w.s.Messages[r.message]
		if r.early && !r.due && (m.After == 0 || w.effects[m.After-1] == 0) {
			continue // it can only wait for what is to come
		}
		if q, _ := w.queue(&txn{}, m.Key); !r.early && m.Key != "" && q.First != 0 && q.First < int64(r.id) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// runRow begins the transactions of a due row.
func (w *world) runRow(i int, r row) {
	k := &w.workers[i]
	m := w.s.Messages[r.message]
	it := protocol.Item{Identity: protocol.ID{byte(r.message) + 1}, Key: m.Key}
	if w.s.Keyed && m.Dedup != 0 {
		it.HasDedup, it.Dedup = true, protocol.ID{byte(m.Dedup)}
	}
	w.start(i, &k.aside, protocol.RowWork(w.s.config(), it,
		protocol.Row{ID: int64(r.id), Attempts: int(r.attempts), Early: r.early, OwnsKey: r.ownsKey}), k.own)
}

// crash is SIGKILL: open transactions stay at the server for a while, what was
// held of a queue is ready again, another process takes the worker's place.
func (w *world) crash(i int) {
	k := &w.workers[i]
	for j := range k.hands {
		w.orphan(&k.hands[j].tx, false)
	}
	w.orphan(&k.aside.tx, false)
	w.giveBack(i)
	if w.owner == int8(i) {
		w.owner = -1
	}
	w.workers[i] = newWorker(w, i)
}

// orphan leaves a transaction without its client.
func (w *world) orphan(tx *txn, commit bool) {
	if tx.open && !tx.dead {
		left := *tx
		left.claim, left.last = nil, nil
		w.orphans = append(slices.Clone(w.orphans), orphan{left, commit})
	}
	*tx = txn{holder: -1}
}

// endOrphan: the server notices.
func (w *world) endOrphan(at int, commit bool) {
	o := w.orphans[at]
	w.orphans = slices.Delete(slices.Clone(w.orphans), at, at+1)
	if commit {
		w.sees(sawRedone)
		w.commit(&o.tx)
	}
}

// moveAway: the broker gives the partition to another without asking.
func (w *world) moveAway(i int) {
	w.giveBack(i)
	if w.owner == int8(i) {
		w.owner = -1
	}
}

// release is the end of a clean rebalance.
func (w *world) release(i int) {
	k := &w.workers[i]
	k.revoking, k.owns = false, false
	if w.tokens[partition] == k.token {
		w.clean = true
	}
	if w.owner == int8(i) {
		w.giveBack(i)
		w.owner = -1
	}
}

// maySweep: the window has passed for everything that is done. Nothing can be
// brought again, and whoever is not stopped has nothing in hand.
func (w *world) maySweep() bool {
	for e := range w.sent {
		if w.s.Shape == Replayable && w.rolls[placeRoll].floor() <= e+1 || w.s.Shape != Replayable && !w.entries[e].settled {
			return false
		}
	}
	for i := range w.workers {
		k := &w.workers[i]
		if !k.frozen && (k.batch != nil || k.aside.on) {
			return false
		}
		if k.frozen && (w.fencedOut(int8(1+i)) || w.fencedOut(partition)) {
			return false // raising a token waits for the transaction that share-locks it
		}
	}
	// What comes after the window is new, but for what lies aside.
	aside := slices.ContainsFunc(w.rows, func(r row) bool { return r.state == protocol.RowDead || r.state == protocol.RowParked })
	return len(w.orphans) == 0 && (int(w.sent) == len(w.entries) || aside)
}

// sweep forgets keys and rolls of senders, never those of a message aside;
// first the tokens of silent workers are raised.
func (w *world) sweep() {
	w.sees(sawSwept)
	for i := range w.workers {
		if w.workers[i].frozen && !w.without("sweep raises tokens") {
			w.tokens[1+i]++
			if w.workers[i].owns {
				w.tokens[partition]++
			}
		}
	}
	keys := map[int8]int8{}
	for k, owner := range w.keys {
		if w.held(&txn{}, k) && !w.without("no sweep of held keys") || slices.ContainsFunc(w.rows, func(r row) bool {
			return r.state == protocol.RowWaiting && int8(w.s.Messages[r.message].Dedup) == k
		}) {
			keys[k] = owner
		}
	}
	w.keys = keys
	if !slices.ContainsFunc(w.rows, func(r row) bool { return r.state != protocol.RowDone && r.state != protocol.RowDiscarded }) {
		for s := range senders {
			w.rolls[s] = roll{}
			for i := range w.workers {
				if !w.workers[i].frozen {
					w.workers[i].cached[s] = false
				}
			}
		}
	}
}

// redrive is an operator's compare-and-set.
func (w *world) redrive(r row) {
	w.sees(sawRedriven)
	r.state, r.attempts, r.early, r.due, r.redriven = protocol.RowWaiting, 0, false, true, true
	w.setRow(r)
}

// discard gives a row up, and frees the key that it owns.
func (w *world) discard(r row) {
	if r.ownsKey && !w.without("discard frees the key") {
		keys := map[int8]int8{}
		for k, owner := range w.keys {
			if k != int8(w.s.Messages[r.message].Dedup) {
				keys[k] = owner
			}
		}
		w.keys = keys
	}
	r.state, r.ownsKey = protocol.RowDiscarded, false
	w.setRow(r)
	w.discarded[r.message] = true
}
