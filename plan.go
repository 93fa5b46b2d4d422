package rollcall

import (
	"fmt"
	"hash/maphash"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// fate is what the protocol decided about one message of a batch.
type fate uint8

const (
	fateRun      fate = iota // New: the handler decides
	fateDropped              // Known, or the same message earlier in the batch: no effect
	fateRepeated             // another message with this DedupKey took effect, or will
	fateUnknown              // nobody knows: parked, its number never enters a roll
	fateBehind               // an earlier message of its Key waits
	fateDead                 // cannot be run: set aside dead
	fateApplied              // the handler's effect is in the transaction
	fateStale                // handled on purpose
	fateFiltered             // handled on purpose
	fateEarly                // an earlier version or state must come first
	fateWaiting              // failed, to be tried again
)

// mark is one number of a message in one roll.
type mark struct {
	scope  Scope
	number uint64
	// decides: a Known number means "done". Else the roll is only the place
	// to resume from.
	decides bool
}

// item is one message on its way through the protocol.
type item struct {
	delivery *Delivery
	identity Identity
	marks    [2]mark
	nmarks   int
	key      DedupKey
	hasKey   bool

	// planned is what holds before the transaction: the fate from step 1, or
	// what a hit taught. fate is what this transaction made of it.
	planned, fate fate
	cause         string // why it is set aside
	attempts      int    // attempts spent so far
	suspect       bool   // an attempt row was written for it
	again         againDelay
	copied        bool  // its position was new though the message was not
	counted       bool  // all its numbers were in their rolls before
	original      *item // the same message earlier in the batch
	hand          int
}

// plan is step 1: what the loaded rolls call Known, and what repeats a stamp or
// position earlier in the same batch, is dropped; Unknown is parked; what
// carries nothing to record is set aside. It takes no locks.
func (e *engine[X]) plan(b *Batch, rolls *rollCache) []*item {
	items := make([]item, len(b.Deliveries))
	out := make([]*item, len(items))
	seen := make(map[mark]*item, len(items))
	for i := range items {
		it := &items[i]
		out[i] = it
		e.describe(it, &b.Deliveries[i])
		for _, m := range it.marks[:it.nmarks] {
			if !m.decides {
				continue
			}
			switch {
			case seen[m] != nil:
				it.planned, it.original = fateDropped, seen[m]
			case rolls.answer(m) == interval.Known:
				it.planned = fateDropped
			case rolls.answer(m) == interval.Unknown && it.planned == fateRun:
				it.planned, it.cause = fateUnknown, causeUnknown
			}
			if seen[m] == nil {
				seen[m] = it
			}
		}
	}
	return out
}

const causeUnknown = "in doubt: the roll that held its number outgrew its size; redrive it if it has not taken effect, else discard it"

// describe finds what a delivery can be recognised by.
func (e *engine[X]) describe(it *item, d *Delivery) {
	it.delivery = d
	r := e.recorder
	if !d.Stamp.IsZero() {
		it.addMark(mark{SenderScope(d.Stamp), d.Stamp.Sequence, r.stamp})
	}
	if !d.Position.IsZero() {
		p := Partition{d.Destination, d.Message.Partition}
		it.addMark(mark{PartitionScope(p, d.Position.Incarnation), d.Position.Number(), r.position})
	}
	var missing string
	it.key, it.hasKey, missing = r.dedupKey(&d.Message)
	switch {
	case r.none:
		return
	case missing != "":
		it.dead(fmt.Sprintf("no identity: dedup.key has %q, and this message has none or an empty one", missing))
	case !it.hasKey && !it.decided():
		it.dead("no identity: it has no stamp, no position and no key; set dedup.key, or send it with rollcall")
	}
	if _, left := d.Header(StampHeader); left && d.Stamp.IsZero() {
		it.dead("bad envelope: its stamp cannot be read; it is not taken for an unstamped message")
	}
}

func (it *item) dead(cause string) { it.planned, it.cause = fateDead, cause }

func (it *item) addMark(m mark) {
	it.marks[it.nmarks] = m
	it.nmarks++
}

// decided reports whether a roll decides about the message.
func (it *item) decided() bool {
	for _, m := range it.marks[:it.nmarks] {
		if m.decides {
			return true
		}
	}
	return false
}

// id computes the identity when it is first needed: most messages never need one.
func (it *item) id() Identity {
	if it.identity == (Identity{}) {
		it.identity = identify(&it.delivery.Message, it.delivery.Position)
	}
	return it.identity
}

// begin puts the items back to what was planned: a transaction starts anew.
func begin(items []*item) {
	for _, it := range items {
		it.fate = it.planned
		it.copied, it.counted = false, false
		it.again = againDelay{}
		if it.planned == fateRun {
			it.cause = ""
		}
	}
}

// merge adds the item's numbers to the locked rolls.
func (it *item) merge(locked lockedRolls) {
	it.counted = it.nmarks > 0
	for _, m := range it.marks[:it.nmarks] {
		if !locked.add(m) {
			continue
		}
		it.counted = false
		it.copied = it.copied || it.fate == fateDropped && m.scope.Kind == ScopePartition
	}
}

// deal splits work by Key. A copy goes where its original goes: its numbers
// must not enter a roll before the original's effect is in a transaction.
func (w *work) deal(hands int) []work {
	if hands <= 1 || len(w.items) < 2 {
		return []work{*w}
	}
	out := make([]work, hands)
	for i := range out {
		out[i] = *w
		out[i].items = nil
		out[i].covered = w.covered && i == 0
	}
	for i, it := range w.items {
		first := it
		for first.original != nil {
			first = first.original
		}
		if it.original == nil {
			it.hand = i % hands
			if key := it.delivery.Key; key != "" {
				it.hand = int(maphash.String(dealSeed, key) % uint64(hands))
			}
		} else {
			it.hand = first.hand
		}
		out[it.hand].items = append(out[it.hand].items, it)
	}
	return out
}

var dealSeed = maphash.MakeSeed()

// runnable are the items that still are to take effect.
func runnable(items []*item) []*item {
	out := make([]*item, 0, len(items))
	for _, it := range items {
		if it.fate == fateRun {
			out = append(out, it)
		}
	}
	return out
}
