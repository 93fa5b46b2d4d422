package model

import (
	"slices"

	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// The store: what one statement does, what it waits for.

// every calls f for all transactions that are open at the server.
func (w *world) every(f func(tx *txn, worker int, t *thread)) {
	for i := range w.workers {
		k := &w.workers[i]
		for j := range k.hands {
			if t := &k.hands[j]; t.on && t.tx.open && !t.tx.dead {
				f(&t.tx, i, t)
			}
		}
		if t := &k.aside; t.on && t.tx.open && !t.tx.dead {
			f(&t.tx, i, t)
		}
	}
	for i := range w.orphans {
		f(&w.orphans[i].tx, -1, nil)
	}
}

// other finds another open transaction that satisfies is.
func (w *world) other(mine *txn, is func(*txn) bool) (found *txn) {
	w.every(func(tx *txn, _ int, _ *thread) {
		if tx != mine && is(tx) {
			found = tx
		}
	})
	return found
}

// rowIn is a row as a transaction sees it.
func (w *world) rowIn(tx *txn, is func(*row) bool) *row {
	for i := range tx.rows {
		if is(&tx.rows[i]) {
			return &tx.rows[i]
		}
	}
	for i := range w.rows {
		r := &w.rows[i]
		if is(r) && !slices.ContainsFunc(tx.rows, func(x row) bool { return x.id == r.id }) {
			return r
		}
	}
	return nil
}

// allRows are the rows as a transaction sees them.
func (w *world) allRows(tx *txn) []row {
	var out []row
	for _, r := range w.rows {
		if !slices.ContainsFunc(tx.rows, func(x row) bool { return x.id == r.id }) {
			out = append(out, r)
		}
	}
	for _, r := range tx.rows {
		if r.state != 0 {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b row) int { return int(a.id) - int(b.id) })
	return out
}

// rowWait: another transaction has changed or locked the row.
func (w *world) rowWait(tx *txn, id int8) *txn {
	return w.other(tx, func(o *txn) bool { return slices.ContainsFunc(o.rows, func(r row) bool { return r.id == id }) })
}

// insertWait: another transaction has inserted a row of that identity.
func (w *world) insertWait(tx *txn, message int8) *txn {
	if w.without("row unique by stamp") {
		return nil
	}
	return w.other(tx, func(o *txn) bool {
		return slices.ContainsFunc(o.rows, func(r row) bool { return r.message == message })
	})
}

// held: a dead or parked row owns the key.
func (w *world) held(tx *txn, key int8) bool {
	for _, r := range w.allRows(tx) {
		if r.ownsKey && int8(w.s.Messages[r.message].Dedup) == key && (r.state == protocol.RowDead || r.state == protocol.RowParked) {
			return true
		}
	}
	return false
}

// claim is the insert of one key.
func (w *world) claim(t *thread, c protocol.KeyClaim) protocol.KeyAnswer {
	key, me := int8(c.Key[0]), int8(t.work.Items[c.Item].Identity[0])-1
	owner, taken := w.keys[key]
	if mine, ok := t.tx.keys[key]; ok {
		owner, taken = mine, true
	}
	if !taken {
		t.tx.setKey(key, me)
		return protocol.KeyAnswer{Fresh: true}
	}
	a := protocol.KeyAnswer{Own: owner == me, Held: w.held(&t.tx, key)}
	switch {
	case a.Own:
	case a.Held:
		w.sees(sawHeld)
	default:
		w.sees(sawRepeated)
	}
	return a
}

func (tx *txn) setKey(key, owner int8) {
	keys := make(map[int8]int8, len(tx.keys)+1)
	for k, v := range tx.keys {
		keys[k] = v
	}
	keys[key] = owner
	tx.keys = keys
}

// lockRoll creates a roll that is missing, locks and reads it.
func (w *world) lockRoll(t *thread, r int) {
	t.tx.rolls[r] = w.rolls[r]
	if w.rolls[r].exists || !w.without("rows created first") {
		t.tx.locked[r] = true
	}
	t.tx.rolls[r].exists = true
}

// set is a roll as the protocol sees it.
func (r roll) set() *interval.Set { return interval.Of(ranges(r.known), ranges(r.unknown)) }

func ranges(bits uint16) (out []interval.Range) {
	for n := uint64(1); n < 16; n++ {
		switch {
		case bits&(1<<n) == 0:
		case len(out) > 0 && out[len(out)-1].Last == n-1:
			out[len(out)-1].Last = n
		default:
			out = append(out, interval.Range{First: n, Last: n})
		}
	}
	return out
}

func (r *roll) take(s *interval.Set) {
	r.known = 0
	for n := uint64(1); n < 16; n++ {
		if s.Answer(n) == interval.Known {
			r.known |= 1 << n
		}
	}
}

// floor is the first number that is missing.
func (r roll) floor() int8 {
	n := int8(1)
	for r.known&(1<<n) != 0 {
		n++
	}
	return n
}

// turn is a compare-and-set of a row.
func (w *world) turn(t *thread, c protocol.Change) bool {
	r := w.rowIn(&t.tx, func(r *row) bool { return int64(r.id) == c.Row })
	from := c.From
	if r == nil || r.state != from && !(w.without("claim only from waiting") && from == protocol.RowWaiting && r.state == protocol.RowDead) &&
		!(w.without("failed run compares") && c.Fate != 0 && t.work.Kind == protocol.OfRow) {
		return false
	}
	changed := *r
	changed.state, changed.attempts, changed.early, changed.ownsKey = c.To, int8(c.Attempts), c.Early, c.OwnsKey
	changed.due = !c.Early
	t.tx.setRow(changed)
	return true
}

// setRow writes a row in the transaction. Slices are never shared: savepoints
// and clones keep the old one.
func (tx *txn) setRow(r row) {
	rows := make([]row, 0, len(tx.rows)+1)
	for _, x := range tx.rows {
		if x.id != r.id {
			rows = append(rows, x)
		}
	}
	tx.rows = append(rows, r)
}

// put inserts a row: unique by identity, an attempt is replaced.
func (w *world) put(t *thread, p protocol.Put) {
	message := t.message(p.Item)
	old := w.rowIn(&t.tx, func(r *row) bool { return r.message == message && r.state != 0 })
	if w.without("row unique by stamp") {
		old = nil
	}
	r := row{message: message, state: p.State, attempts: int8(p.Attempts), early: p.Early, due: !p.Early || p.Now, ownsKey: p.OwnsKey}
	if old != nil && old.state != protocol.RowAttempt {
		return // rows are unique by identity: the one that is there stays
	}
	if old != nil {
		r.id = old.id
	} else {
		r.id = w.nextRow
		w.nextRow++
	}
	if p.State == protocol.RowAttempt && w.without("an attempt is not due") {
		r.state = protocol.RowWaiting
	}
	t.tx.setRow(r)
}

// queue is what waits for a Key.
func (w *world) queue(tx *txn, key string) (q protocol.Queue, ok bool) {
	for _, r := range w.allRows(tx) {
		if r.state != protocol.RowWaiting || w.s.Messages[r.message].Key != key {
			continue
		}
		ok = true
		if r.early && !w.without("early holds nobody back") {
			q.Early = true
		} else if q.First == 0 {
			q.First = int64(r.id)
		}
	}
	return q, ok
}

// commit makes a transaction visible, and judges what it did.
func (w *world) commit(tx *txn) {
	for _, m := range tx.effects {
		w.takeEffect(m)
	}
	for k, owner := range tx.keys {
		w.keys = withKey(w.keys, k, owner)
	}
	for i := range tx.rolls {
		if tx.rolls[i].exists {
			w.rolls[i] = tx.rolls[i]
		}
	}
	for _, r := range tx.rows {
		w.setRow(r)
	}
	*tx = txn{holder: -1}
}

func withKey(keys map[int8]int8, key, owner int8) map[int8]int8 {
	out := make(map[int8]int8, len(keys)+1)
	for k, v := range keys {
		out[k] = v
	}
	out[key] = owner
	return out
}

func (w *world) setRow(r row) {
	rows := slices.DeleteFunc(slices.Clone(w.rows), func(x row) bool { return x.id == r.id })
	if r.state == 0 {
		w.rows = rows
		return
	}
	if r.state == protocol.RowParked {
		w.sees(sawParked)
	}
	if r.early || r.redriven {
		w.excused[r.message] = true
	}
	if slices.ContainsFunc(rows, func(x row) bool { return x.message == r.message }) {
		w.bad = "heap of rows"
	}
	w.rows = append(rows, r)
	slices.SortFunc(w.rows, func(a, b row) int { return int(a.id) - int(b.id) })
}

// takeEffect counts an effect that is durable.
func (w *world) takeEffect(m int8) {
	w.effects[m]++
	total := int8(0)
	for _, b := range w.s.business(int(m)) {
		total += w.effects[b]
	}
	if total > 1 {
		w.bad = "doubled"
	}
	if key := w.s.Messages[m].Key; key != "" && w.s.Shape != Shared && !w.excused[m] {
		for later := int(m) + 1; later < len(w.s.Messages); later++ {
			if w.s.Messages[later].Key == key && w.effects[later] > 0 {
				w.bad = "order"
			}
		}
	}
}
