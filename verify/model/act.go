package model

import (
	"slices"

	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// One transaction on its way: what it waits for, and what its next statement
// does.

// config is what the decisions depend on.
func (s *Scenario) config() protocol.Config {
	return protocol.Config{Attempts: s.Attempts, Chunk: 2, Traces: true, Hands: max(1, s.Hands), LockFirst: s.LockFirst}
}

// start begins a thread at its first statement.
func (w *world) start(i int, t *thread, work protocol.Work, token int8) {
	*t = thread{on: true, work: work, token: token, tx: txn{holder: -1}}
	w.step(i, t, protocol.Event{})
}

// step tells the protocol an answer and goes on to the next statement that
// another worker could notice. What needs no server happens at once.
func (w *world) step(i int, t *thread, e protocol.Event) {
	for {
		t.work, t.act = t.work.Next(e)
		t.taken, t.heard = 0, nil
		e = protocol.Event{}
		switch t.act.Do {
		case protocol.Done, protocol.Gone, protocol.Lost:
			w.ended(i, t)
			return
		case protocol.Again:
			if t.act.Hits > 0 {
				w.sees(sawHit)
				w.learn(i, t)
			}
			t.tx = txn{holder: -1}
		case protocol.Begin:
			t.held = nil
			t.tx = txn{open: true, holder: -1}
		case protocol.Counts, protocol.Write:
			w.write(t)
		case protocol.Undo:
			if w.s.Allow&UndoLost != 0 {
				return // it may fail: its own statement
			}
			w.undo(t)
		case protocol.Token, protocol.Claim, protocol.Commit:
			return
		case protocol.Turn:
			if t.act.Turn.To == 0 && len(t.act.Wake) == 0 {
				e.Turned = true
				continue
			}
			return
		default:
			if !t.act.Nothing() {
				return
			}
		}
	}
}

// undo goes back to the last savepoint.
func (w *world) undo(t *thread) {
	if !w.without("savepoint") {
		t.tx = *t.tx.last
	}
}

// write puts merged rolls into the transaction. The lock is held, so nobody
// sees when.
func (w *world) write(t *thread) {
	for _, at := range t.act.Rolls {
		r := t.work.Locked[at]
		t.tx.rolls[r].take(t.work.Sets[at])
		t.tx.rolls[r].exists = true
	}
}

// learn: what was read under a lock enters the cache.
func (w *world) learn(i int, t *thread) {
	k := &w.workers[i]
	for at, r := range t.work.Locked {
		if at < len(t.work.Sets) && t.work.Sets[at] != nil {
			k.cached[r], k.cache[r].exists = true, true
			k.cache[r].take(t.work.Sets[at])
			k.cache[r].unknown = w.rolls[r].unknown
		}
	}
}

// waitsFor is the transaction that the next statement of a thread waits for.
func (w *world) waitsFor(t *thread) *txn {
	if t.tx.dead {
		return nil // it will only be told so
	}
	switch t.act.Do {
	case protocol.Keys:
		key := int8(t.act.Claims[t.taken].Key[0])
		return w.other(&t.tx, func(o *txn) bool { _, has := o.keys[key]; return has })
	case protocol.Rolls:
		r := t.act.Rolls[t.taken]
		if !w.rolls[r].exists && w.without("rows created first") {
			return nil
		}
		return w.other(&t.tx, func(o *txn) bool { return o.locked[r] })
	case protocol.Asides, protocol.Attempts:
		for _, p := range t.act.Put {
			if o := w.insertWait(&t.tx, t.message(p.Item)); o != nil {
				return o
			}
		}
		for _, item := range t.act.Drop {
			if o := w.insertWait(&t.tx, t.message(item)); o != nil {
				return o
			}
		}
		return w.wakeWait(t)
	case protocol.Known:
		for _, item := range t.act.Items {
			if o := w.insertWait(&t.tx, t.message(item)); o != nil {
				return o
			}
		}
	case protocol.Claim, protocol.Turn:
		if t.act.Turn.Row != 0 && (!t.act.Undo || t.taken == 1) {
			return w.rowWait(&t.tx, int8(t.act.Turn.Row))
		}
		return w.wakeWait(t)
	}
	return nil
}

// wakeWait: another transaction has changed a row that is to be woken.
func (w *world) wakeWait(t *thread) *txn {
	for _, r := range w.rows {
		if w.wakes(&r, t.act.Wake) {
			if o := w.rowWait(&t.tx, r.id); o != nil {
				return o
			}
		}
	}
	return nil
}

// wakes: the row is one of those that came too early and wait for one of keys.
func (w *world) wakes(r *row, keys []string) bool {
	return r.state == protocol.RowWaiting && r.early && !r.due && slices.Contains(keys, w.s.Messages[r.message].Key)
}

// message is the message of an item.
func (t *thread) message(item int) int8 { return int8(t.work.Items[item].Identity[0]) - 1 }

// statement carries out the next statement of a thread, which waits for nobody.
// outcomes are what the handlers will say.
func (w *world) statement(i int, t *thread, outcomes []protocol.Outcome) {
	var e protocol.Event
	if t.tx.dead {
		t.tx = txn{holder: -1}
		w.sees(sawDeadline)
		w.step(i, t, protocol.Event{Kind: protocol.Failed})
		return
	}
	a := t.act
	switch a.Do {
	case protocol.Token:
		holder := w.holder(i, t)
		t.tx.holder = holder
		if token := w.checked(i, t); w.tokens[holder] != token && !w.without("token compared") {
			w.sees(sawFenced)
			e.Kind = protocol.Fenced
		}
	case protocol.Keys:
		answer := w.claim(t, a.Claims[t.taken])
		t.heard = append(slices.Clone(t.heard), answer)
		if answer.Held && !answer.Own {
			t.held = append(slices.Clone(t.held), a.Claims[t.taken].Item)
		}
		if t.taken++; t.taken < len(a.Claims) {
			return
		}
		e.Keys, t.heard = t.heard, nil
	case protocol.Queues:
		e.Queues = map[string]protocol.Queue{}
		for _, key := range a.Keys {
			if q, ok := w.queue(&t.tx, key); ok {
				e.Queues[key] = q
				w.sees(sawBehind)
			}
		}
	case protocol.Effects:
		if a.Savepoint {
			saved := t.tx
			t.tx.last = &saved
		}
		t.tx.effects = slices.Clone(t.tx.effects)
		for n, item := range a.Items[:ran(outcomes)] {
			m := t.message(item)
			t.tx.effects = append(t.tx.effects, m) // a failing handler has written before it fails
			if outcomes[n].Kind == protocol.Fails {
				w.failed(m)
			}
		}
		e.Outcomes = outcomes
	case protocol.Undo:
		w.undo(t)
	case protocol.Rolls:
		w.lockRoll(t, a.Rolls[t.taken])
		if t.taken++; t.taken < len(a.Rolls) {
			return
		}
		for _, r := range a.Rolls {
			e.Sets = append(e.Sets, t.tx.rolls[r].set())
		}
	case protocol.Asides, protocol.Attempts:
		w.setAside(t, a)
	case protocol.Known:
		for _, item := range a.Items {
			e.Rows = append(e.Rows, w.found(t, t.message(item)))
			if r := w.rowIn(&t.tx, func(r *row) bool { return r.message == t.message(item) && r.state != 0 }); r != nil {
				t.tx.setRow(*r) // locked
			}
		}
	case protocol.Claim, protocol.Turn:
		if a.Undo && t.taken == 0 {
			if !w.without("savepoint") {
				t.tx = *t.tx.claim // and with it the lock of the row
			}
			t.taken = 1
			return
		}
		e.Turned = w.change(t, a)
		if !e.Turned {
			w.sees(sawGone)
		}
	case protocol.Commit:
		if slices.ContainsFunc(t.held, func(item int) bool { return t.work.Items[item].Fate == protocol.Repeated }) {
			w.bad = "lost: counted as a repeat of one that is dead"
		}
		w.learn(i, t)
		w.commit(&t.tx)
	}
	w.step(i, t, e)
}

// ran is how many handlers were called: the first that fails is the last.
func ran(outcomes []protocol.Outcome) int {
	for i, o := range outcomes {
		if o.Kind == protocol.Fails {
			return i + 1
		}
	}
	return len(outcomes)
}

func (w *world) failed(m int8) {
	if w.fails[m] > 0 {
		w.fails = slices.Clone(w.fails)
		w.fails[m]--
	}
}

// holder is whose token a thread commits under.
func (w *world) holder(i int, t *thread) int8 {
	if t.work.Kind == protocol.OfRow || t.work.Kind == protocol.OfRowAttempt || w.s.Shape == Shared {
		return int8(1 + i)
	}
	return partition
}

// checked is the token that is compared: that of the fetch.
func (w *world) checked(i int, t *thread) int8 {
	if w.without("token of the fetch") && w.holder(i, t) == partition && w.workers[i].owns {
		return w.workers[i].token
	}
	return t.token
}

func (w *world) found(t *thread, message int8) protocol.Found {
	r := w.rowIn(&t.tx, func(r *row) bool { return r.message == message && r.state != 0 })
	if r == nil {
		return protocol.Found{}
	}
	return protocol.Found{ID: int64(r.id), State: r.state, Attempts: int(r.attempts)}
}

// setAside inserts rows and drops attempts that are decided.
func (w *world) setAside(t *thread, a protocol.Action) {
	w.wake(t, a.Wake)
	for _, p := range a.Put {
		w.put(t, p)
	}
	for _, item := range a.Drop {
		m := t.message(item)
		if r := w.rowIn(&t.tx, func(r *row) bool { return r.message == m && r.state == protocol.RowAttempt }); r != nil {
			gone := *r
			gone.state = 0
			t.tx.setRow(gone)
		}
	}
}

func (w *world) wake(t *thread, keys []string) {
	for _, r := range w.allRows(&t.tx) {
		if w.wakes(&r, keys) {
			r.due = true
			t.tx.setRow(r)
		}
	}
}

// change is the statement of Claim and Turn.
func (w *world) change(t *thread, a protocol.Action) bool {
	if len(a.Wake) > 0 {
		w.wake(t, a.Wake)
	}
	if a.Turn.To == 0 {
		return true
	}
	if a.Savepoint {
		saved := t.tx
		t.tx.claim = &saved
	}
	return w.turn(t, a.Turn)
}

// ended is the end of a thread's transaction.
func (w *world) ended(i int, t *thread) {
	k := &w.workers[i]
	switch {
	case t.act.Do == protocol.Lost:
		t.lost = true
	case t.act.Do == protocol.Done && t.work.Kind == protocol.OfRowAttempt:
		w.start(i, t, t.work.Effect(), t.token)
		return
	}
	t.on = false
	t.tx = txn{holder: -1}
	if t == &k.aside {
		lost := t.lost
		*t = thread{tx: txn{holder: -1}}
		k.stale = k.stale || lost
		return
	}
	if !slices.ContainsFunc(k.hands, func(h thread) bool { return h.on }) {
		w.stageDone(i)
	}
}

// stageDone: all transactions of a stage have ended.
func (w *world) stageDone(i int) {
	k := &w.workers[i]
	var answer protocol.Answer
	for _, h := range k.hands {
		if h.lost {
			k.hands = nil
			w.fenced(i)
			return
		}
		answer.Works = append(answer.Works, h.work)
	}
	k.hands = nil
	w.advance(i, answer)
}

// advance tells the batch an answer and starts what it needs next.
func (w *world) advance(i int, answer protocol.Answer) {
	k := &w.workers[i]
	batch, stage, works := k.batch.Next(answer)
	k.batch = &batch
	if k.fetched == k.token {
		k.budget = int8(batch.Budget)
	}
	switch stage {
	case protocol.Load:
		var table []*interval.Set
		for r := range rolls {
			if !k.cached[r] {
				k.cached[r], k.cache[r] = true, w.rolls[r]
			}
			table = append(table, k.cache[r].set())
		}
		w.advance(i, protocol.Answer{Rolls: table})
	case protocol.Settle:
		k.settle = true
	default:
		switch {
		case stage == protocol.Complete && works[0].Row.ID != 0 && works[0].Items[0].Planned == protocol.Dead && w.without("dead through the steps"):
			r := *w.rowIn(&txn{}, func(r *row) bool { return int64(r.id) == works[0].Row.ID })
			r.state = protocol.RowDead
			w.setRow(r)
			k.settle = true
			return
		case stage == protocol.Suspect && w.s.NoSuspects:
			w.bad = "crawl: suspect although nobody died"
		case stage == protocol.Bump:
			w.sees(sawAlone)
		}
		k.hands = make([]thread, len(works))
		for j := range works {
			k.hands[j] = thread{on: true, tx: txn{holder: -1}} // so that the first to end does not end the stage
		}
		for j := range works {
			w.start(i, &w.workers[i].hands[j], works[j], k.fetched)
			if k.hands == nil {
				return
			}
		}
	}
}

func (w *world) describe(i int, e int8) protocol.Item {
	s, entry := w.s, w.s.Entries[e]
	m := s.Messages[entry.Message]
	it := protocol.Item{Original: -1, Key: m.Key, Redelivered: w.entries[e].redelivered, Positioned: s.Shape == Replayable,
		Identity: protocol.ID{byte(entry.Message) + 1}}
	it.AddMark(protocol.Mark{Roll: m.Sender, Number: uint64(s.sequence(entry.Message)), Decides: s.Stamp})
	if s.Shape == Replayable {
		it.AddMark(protocol.Mark{Roll: placeRoll, Number: uint64(e) + 1, Decides: s.Position, Place: true})
	}
	if s.Keyed && m.Dedup != 0 {
		it.HasDedup, it.Dedup = true, protocol.ID{byte(m.Dedup)}
	}
	if w.effects[entry.Message] > 0 {
		w.sees(sawDropped)
	}
	return it
}
