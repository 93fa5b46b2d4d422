package model

import (
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// move is one thing that may happen next.
type move struct {
	label string
	do    func(*world)
	may   bool // it may never happen: a fault, an operator, a stopped worker that wakes
}

// moves are all things that may happen in a state.
func (w *world) moves() []move {
	var out []move
	will := func(label string, do func(*world)) { out = append(out, move{label, do, false}) }
	may := func(label string, do func(*world)) { out = append(out, move{label, do, true}) }
	w.brokerMoves(will)
	for i := range w.workers {
		k := &w.workers[i]
		if k.frozen {
			may(name(i, "wakes"), func(n *world) { n.workers[i].frozen = false })
			if w.owner == int8(i) || w.holds(i) {
				will(name(i, "is taken for dead by the broker"), func(n *world) { n.moveAway(i) })
			}
			continue
		}
		w.workerMoves(i, will)
		w.threadMoves(i, will)
		w.faultMoves(i, may)
	}
	w.serverMoves(will)
	w.operatorMoves(may)
	return out
}

// holds: the broker counts entries as handed over to the worker.
func (w *world) holds(i int) bool {
	return slices.ContainsFunc(w.entries, func(e entry) bool { return e.holder == int8(i) })
}

type adder func(label string, do func(*world))

func name(i int, what string) string { return string(rune('A'+i)) + " " + what }

func (w *world) brokerMoves(add adder) {
	if int(w.sent) < len(w.entries) {
		add("another message is stored", func(n *world) { n.sent++ })
	}
	if w.s.Shape == Shared {
		return
	}
	for i := range w.workers {
		if w.owner == -1 {
			add(name(i, "is assigned the partition"), func(n *world) {
				n.owner = int8(i)
				n.workers[i].assigned = true
			})
		}
	}
}

func (w *world) workerMoves(i int, add adder) {
	k := &w.workers[i]
	if k.assigned && (k.batch == nil || !k.owns) && !w.fencedOut(partition) {
		add(name(i, "acquires and reads the rolls"), func(n *world) { n.acquire(i) })
	}
	if k.owns && w.owner != int8(i) && !k.assigned {
		add(name(i, "learns that it has lost the partition"), func(n *world) {
			n.workers[i].owns, n.workers[i].revoking = false, false
		})
	}
	if w.mayFetch(i) {
		add(name(i, "fetches"), func(n *world) { n.fetch(i) })
	}
	if k.settle {
		add(name(i, "settles"), func(n *world) {
			n.settleEntries(i)
			n.finish(i)
		})
	}
	if k.revoking && k.batch == nil {
		add(name(i, "releases the partition"), func(n *world) { n.release(i) })
	}
	if k.stale && k.batch == nil && !k.aside.on && !w.fencedOut(int8(1+i)) {
		add(name(i, "acquires its own token again"), func(n *world) { n.again(i) })
	}
	if !k.aside.on && !k.stale {
		for _, r := range w.due() {
			add(name(i, fmt.Sprintf("takes row %d", r.id)), func(n *world) { n.runRow(i, r) })
		}
	}
}

// fencedOut: an open transaction share-locks the token, so raising it waits.
func (w *world) fencedOut(holder int8) bool {
	return w.other(nil, func(tx *txn) bool { return tx.holder == holder }) != nil
}

// threadMoves are the next statements of a worker's transactions.
func (w *world) threadMoves(i int, add adder) {
	w.threads(i, func(at int, t *thread) {
		if w.waitsFor(t) != nil {
			return
		}
		what := t.act.Do.String()
		if t.act.Do != protocol.Effects || t.tx.dead {
			add(name(i, what+t.where()), func(n *world) { n.statement(i, n.thread(i, at), nil) })
			return
		}
		for _, outcomes := range w.outcomes(t) {
			add(name(i, what+t.where()+" "+tell(t, outcomes)), func(n *world) { n.statement(i, n.thread(i, at), outcomes) })
		}
		if m, dies := w.killer(t); dies {
			add(name(i, fmt.Sprintf("is killed by message %d", m+1)), func(n *world) {
				n.kills = slices.Clone(n.kills)
				n.kills[m]--
				n.deaths++
				n.orphans = slices.Clip(n.orphans)
				n.crash(i)
				n.orphans = n.orphans[:len(w.orphans)] // rolled back at once: what lingers is the faults' subject
			})
		}
	})
}

func (t *thread) where() string {
	if t.work.Kind == protocol.OfRow || t.work.Kind == protocol.OfRowAttempt {
		return fmt.Sprintf(" (row %d)", t.work.Row.ID)
	}
	return ""
}

// thread finds a thread by its number: hands, then the aside one.
func (w *world) thread(i, at int) *thread {
	if at < 0 {
		return &w.workers[i].aside
	}
	return &w.workers[i].hands[at]
}

func (w *world) threads(i int, f func(at int, t *thread)) {
	k := &w.workers[i]
	for j := range k.hands {
		if k.hands[j].on {
			f(j, &k.hands[j])
		}
	}
	if k.aside.on {
		f(-1, &k.aside)
	}
}

// outcomes are the ways in which the handlers of an action may end.
func (w *world) outcomes(t *thread) (out [][]protocol.Outcome) {
	items := t.act.Items
	good := make([]protocol.Outcome, len(items))
	for n, item := range items {
		m := t.message(item)
		spec := w.s.Messages[m]
		if spec.Kills > 0 && w.kills[m] > 0 {
			return out // it never ends
		}
		if spec.Poison || w.fails[m] > 0 {
			bad := slices.Clone(good)
			bad[n] = protocol.Outcome{Kind: protocol.Fails}
			out = append(out, bad)
		}
		if spec.Poison {
			return out
		}
		if spec.After > 0 && w.effects[spec.After-1] == 0 && !slices.Contains(t.tx.effects, int8(spec.After-1)) && !before(t, items[:n], int8(spec.After-1)) {
			good[n] = protocol.Outcome{Kind: protocol.SaysEarly}
		}
	}
	return append(out, good)
}

func before(t *thread, items []int, message int8) bool {
	return slices.ContainsFunc(items, func(item int) bool { return t.message(item) == message })
}

// killer is the message of an action that kills the worker.
func (w *world) killer(t *thread) (int8, bool) {
	for _, item := range t.act.Items {
		if m := t.message(item); w.kills[m] > 0 {
			return m, true
		}
	}
	return 0, false
}

func tell(t *thread, outcomes []protocol.Outcome) string {
	text := ""
	for n, item := range t.act.Items[:ran(outcomes)] {
		verdict := ""
		switch outcomes[n].Kind {
		case protocol.Fails:
			verdict = " fails"
		case protocol.SaysEarly:
			verdict = " is early"
		}
		text += fmt.Sprintf("m%d%s ", t.message(item)+1, verdict)
	}
	return text
}

func (w *world) faultMoves(i int, add adder) {
	if w.faults == 0 {
		return
	}
	fault := func(kind Fault, label string, do func(*world)) {
		if w.s.Allow&kind != 0 {
			add(name(i, label), func(n *world) {
				n.faults--
				do(n)
			})
		}
	}
	k := &w.workers[i]
	busy := k.batch != nil || k.aside.on
	if busy || k.owns || k.assigned {
		fault(Crash, "is killed", func(n *world) { n.crash(i) })
		fault(Freeze, "is stopped", func(n *world) { n.workers[i].frozen = true })
	}
	w.threads(i, func(at int, t *thread) {
		if t.act.Do == protocol.Commit && w.waitsFor(t) == nil && !t.tx.dead {
			fault(ReplyLost, "commits, without an answer", func(n *world) {
				t := n.thread(i, at)
				n.orphan(&t.tx, true)
				n.doubt(i, t)
			})
		}
		if t.act.Do == protocol.Undo && !t.tx.dead {
			fault(UndoLost, "fails, and its transaction is gone", func(n *world) {
				t := n.thread(i, at)
				t.tx = txn{holder: -1}
				n.step(i, t, protocol.Event{Broken: true})
			})
		}
		if t.act.Do == protocol.Effects || t.act.Do == protocol.Commit {
			fault(Cut, "loses its connection before "+t.act.Do.String(), func(n *world) {
				t := n.thread(i, at)
				n.orphan(&t.tx, false)
				n.step(i, t, protocol.Event{Kind: protocol.Failed})
			})
		}
	})
	if w.s.Shape != Shared && w.owner == int8(i) || w.s.Shape == Shared && w.holds(i) {
		fault(Timeout, "is taken for dead by the broker", func(n *world) { n.moveAway(i) })
	}
	if w.s.Shape != Shared && w.owner == int8(i) && k.owns && !k.revoking {
		fault(Rebalance, "is to give the partition back", func(n *world) { n.workers[i].revoking = true })
	}
	if k.settle && w.s.Shape != Replayable {
		fault(SettleLost, "settles in vain", func(n *world) {
			n.finish(i)
			n.moveAway(i)
		})
	}
}

// doubt: the protocol is told that there is no answer.
func (w *world) doubt(i int, t *thread) {
	switch {
	case w.without("doubt is not taken for done"):
		t.act = protocol.Action{Do: protocol.Done}
		w.ended(i, t)
	case w.without("doubt is not taken for failed") && t.work.Kind == protocol.OfBatch:
		for item := range t.work.Items { // tried again later, whatever comes of the transaction
			if at := slices.IndexFunc(w.rows, func(r row) bool { return r.message == t.message(item) }); at >= 0 {
				if r := w.rows[at]; r.state == protocol.RowAttempt {
					r.state, r.due = protocol.RowWaiting, true
					w.setRow(r)
				}
				continue
			}
			r := row{id: w.nextRow, message: t.message(item), state: protocol.RowWaiting, due: true}
			w.nextRow++
			w.setRow(r)
		}
		t.act = protocol.Action{Do: protocol.Done}
		w.ended(i, t)
	case w.without("the partition stands still") && t.work.Kind == protocol.OfBatch && !w.workers[i].aside.on:
		k := &w.workers[i]
		k.aside = *t // the redo goes on beside the next batch
		k.hands, k.batch, k.entries = nil, nil, nil
		w.step(i, &k.aside, protocol.Event{Kind: protocol.InDoubt})
	default:
		w.step(i, t, protocol.Event{Kind: protocol.InDoubt})
	}
}

// serverMoves: what the server does by itself.
func (w *world) serverMoves(add adder) {
	for at, o := range w.orphans {
		if o.commit {
			add("the server commits what was in doubt", func(n *world) { n.endOrphan(at, true) })
		}
		add("the server rolls back a lost client's transaction", func(n *world) { n.endOrphan(at, false) })
	}
	for i := range w.workers {
		if !w.workers[i].frozen || w.without("deadlines at the server") {
			continue
		}
		w.threads(i, func(at int, t *thread) {
			if t.tx.open && !t.tx.dead {
				add("the server ends the transaction of a stopped worker", func(n *world) {
					t := n.thread(i, at)
					t.tx = txn{open: true, dead: true, holder: -1}
				})
			}
		})
	}
}

func (w *world) operatorMoves(add adder) {
	for _, r := range w.rows {
		if w.rowWait(nil, r.id) != nil {
			continue
		}
		given := r.state == protocol.RowDead || r.state == protocol.RowParked ||
			w.without("redrive only from dead or parked") && r.state == protocol.RowDone
		if w.redrives > 0 && given {
			add(fmt.Sprintf("the operator redrives row %d", r.id), func(n *world) {
				n.redrives--
				n.redrive(r)
			})
		}
		if w.discards > 0 && (r.state == protocol.RowDead || r.state == protocol.RowParked) {
			add(fmt.Sprintf("the operator discards row %d", r.id), func(n *world) {
				n.discards--
				n.discard(r)
			})
		}
	}
	if w.sweeps > 0 && w.maySweep() {
		add("the sweeper runs", func(n *world) {
			n.sweeps--
			n.sweep()
		})
	}
}
