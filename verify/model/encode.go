package model

import (
	"maps"
	"slices"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// encode writes all of a state that decides what can happen next. Two states
// that write the same are one.
func (w *world) encode(b []byte) []byte {
	b = append(b, byte(w.sent), byte(w.owner), byte(w.faults), byte(w.redrives), byte(w.discards), byte(w.sweeps), byte(w.deaths), bit(w.clean))
	for _, e := range w.entries {
		b = append(b, byte(e.holder), bit(e.settled)|bit(e.redelivered)<<1)
	}
	for _, r := range w.rolls {
		b = r.encode(b)
	}
	b = encodeKeys(b, w.keys)
	b = encodeRows(b, w.rows)
	for i := range w.effects {
		b = append(b, byte(w.effects[i]), bit(w.excused[i])|bit(w.discarded[i])<<1, byte(w.fails[i]), byte(w.kills[i]))
	}
	b = append(b, byte(len(w.orphans)))
	for i := range w.orphans {
		b = w.orphans[i].tx.encode(append(b, bit(w.orphans[i].commit)))
	}
	for i := range w.workers {
		b = w.encodeWorker(b, i)
	}
	return append(b, w.bad...)
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func (r roll) encode(b []byte) []byte {
	return append(b, bit(r.exists), byte(r.known), byte(r.known>>8), byte(r.unknown))
}

func encodeKeys(b []byte, keys map[int8]int8) []byte {
	b = append(b, byte(len(keys)))
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		b = append(b, byte(k), byte(keys[k]))
	}
	return b
}

func encodeRows(b []byte, rows []row) []byte {
	b = append(b, byte(len(rows)))
	for _, r := range rows {
		b = append(b, byte(r.id), byte(r.message), byte(r.state), byte(r.attempts), bit(r.early)|bit(r.due)<<1|bit(r.ownsKey)<<2|bit(r.redriven)<<3)
	}
	return b
}

func (tx *txn) encode(b []byte) []byte {
	b = append(b, bit(tx.open)|bit(tx.dead)<<1, byte(tx.holder))
	if !tx.open {
		return b
	}
	b = encodeKeys(b, tx.keys)
	for i := range tx.rolls {
		b = tx.rolls[i].encode(append(b, bit(tx.locked[i])))
	}
	b = encodeRows(b, tx.rows)
	b = append(b, byte(len(tx.effects)))
	for _, m := range tx.effects {
		b = append(b, byte(m))
	}
	for _, saved := range []*txn{tx.claim, tx.last} {
		b = append(b, bit(saved != nil))
		if saved != nil {
			b = saved.encode(b)
		}
	}
	return b
}

// encodeWorker writes of tokens and sessions only how they compare: nothing else
// decides. What an owner read does not matter to one that owns nothing.
func (w *world) encodeWorker(b []byte, i int) []byte {
	k := &w.workers[i]
	b = append(b, bit(k.frozen)|bit(k.owns)<<1|bit(k.assigned)<<2|bit(k.revoking)<<3|bit(k.stale)<<4|bit(k.settle)<<5|bit(k.batch != nil)<<6,
		bit(w.tokens[1+i] == k.own))
	if k.owns || k.batch != nil || w.s.Shape == Shared {
		b = append(b, bit(w.tokens[partition] == k.token), byte(k.next), byte(k.budget))
		for i := range k.cache {
			b = append(b, bit(k.cached[i]))
			if k.cached[i] {
				b = k.cache[i].encode(b)
			}
		}
	}
	if k.batch != nil {
		current := w.tokens[partition]
		if w.s.Shape == Shared {
			current = w.tokens[1+i]
		}
		b = append(b, bit(current == k.fetched)|bit(k.fetched < k.token)<<1|bit(w.session[i] == k.session)<<2)
		b = append(b, byte(k.batch.Stage), byte(k.batch.Part), byte(len(k.batch.Parts)), byte(len(k.batch.Covered)))
		b = encodeItems(b, k.batch.Items)
		for p := k.batch.Part; p < len(k.batch.Parts); p++ {
			part := &k.batch.Parts[p]
			b = append(b, byte(part.Row.ID), byte(part.Row.Attempts), byte(len(part.Items)))
		}
		for _, e := range k.entries {
			b = append(b, byte(e))
		}
	}
	b = append(b, byte(len(k.hands)))
	for j := range k.hands {
		b = k.hands[j].encode(b, w.tokens[w.holder(i, &k.hands[j])])
	}
	return k.aside.encode(b, w.tokens[1+i])
}

func (t *thread) encode(b []byte, current int8) []byte {
	b = append(b, bit(t.on)|bit(t.lost)<<1)
	if !t.on {
		return b
	}
	b = append(b, byte(t.taken), bit(current == t.token))
	for _, a := range t.heard {
		b = append(b, bit(a.Fresh)|bit(a.Own)<<1|bit(a.Held)<<2)
	}
	for _, item := range t.held {
		b = append(b, 0x80|byte(item))
	}
	b = t.tx.encode(b)
	w := &t.work
	b = append(b, byte(w.Kind), byte(w.At), bit(w.Careful)|bit(w.Singly)<<1|bit(w.Doubted)<<2|bit(w.Parted)<<3, byte(w.Row.ID), byte(w.Row.Attempts),
		bit(w.Row.Early)|bit(w.Row.OwnsKey)<<1, byte(len(w.Covered)))
	b = encodeItems(b, w.Items)
	f := &w.Effects
	b = append(b, bit(f.Begun)|bit(f.Chunk)<<1|bit(f.Undoing)<<2|bit(f.Single)<<3)
	for _, list := range [][]int{f.Todo, f.Singles, f.Asked, w.Fresh} {
		b = append(b, byte(len(list)))
		for _, i := range list {
			b = append(b, byte(i))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.Blocked)) {
		b = append(b, key...)
	}
	b = append(b, byte(len(w.Wake)))
	for _, i := range slices.Sorted(maps.Keys(w.Alone)) {
		b = append(b, byte(i), byte(w.Alone[i].ID), byte(w.Alone[i].Attempts))
	}
	return append(b, 0xff)
}

func encodeItems(b []byte, items []protocol.Item) []byte {
	b = append(b, byte(len(items)))
	for i := range items {
		it := &items[i]
		b = append(b, it.Identity[0], byte(it.Planned), byte(it.Fate), byte(it.Attempts), byte(it.Original+1), byte(it.Hand),
			bit(it.Suspect)|bit(it.HasDedup)<<1|bit(it.Redelivered)<<2|bit(it.Beside)<<5|bit(it.Apart)<<6|bit(it.Marks[0].Known)<<3|bit(it.Marks[1].Known)<<4)
		if it.NMarks > 1 {
			b = append(b, byte(it.Marks[1].Number))
		}
	}
	return b
}
