package rollcall

import (
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// subject is what a transaction is about, a batch or a row set aside: what the
// protocol's indexes stand for.
type subject struct {
	partition  Partition
	deliveries []Delivery
	identities []Identity // computed when first needed: most messages never need one
	scopes     []Scope    // the table of rolls, sorted: every worker locks in this order
	cache      *rollCache
	row        *Aside
}

// subject finds the rolls of a batch.
func (e *engine[X]) subject(b *Batch, rolls *rollCache) *subject {
	s := &subject{partition: b.Partition, deliveries: b.Deliveries, identities: make([]Identity, len(b.Deliveries)), cache: rolls}
	seen := make(map[Scope]bool)
	var last Scope
	add := func(scope Scope) {
		if scope != last && !seen[scope] {
			seen[scope] = true
			s.scopes = append(s.scopes, scope)
		}
		last = scope
	}
	if rolls.partition != (Scope{}) {
		add(rolls.partition)
	}
	for i := range b.Deliveries {
		if d := &b.Deliveries[i]; !d.Stamp.IsZero() {
			add(SenderScope(d.Stamp))
		}
	}
	slices.SortFunc(s.scopes, Scope.Compare)
	return s
}

// roll is the index of a scope in the table, -1 if it is not there.
func (s *subject) roll(scope Scope) int {
	if at, ok := slices.BinarySearchFunc(s.scopes, scope, Scope.Compare); ok {
		return at
	}
	return -1
}

// identity computes the identity of a delivery when it is first needed.
func (s *subject) identity(index int) Identity {
	if s.identities[index] == (Identity{}) {
		d := &s.deliveries[index]
		s.identities[index] = identify(&d.Message, d.Position)
	}
	return s.identities[index]
}

// nameless: there is nothing to tell this message from others by, equal ones least of all.
// Each gets a row of its own; the same one when the batch runs again.
func (s *subject) nameless(index int) {
	d := &s.deliveries[index]
	if d.Stamp.IsZero() && d.Position.IsZero() && d.ID == "" {
		_, _ = rand.Read(s.identities[index][:]) // it never fails
	}
}

// covered are the offsets that the broker never delivers, as numbers.
func covered(b *Batch) []protocol.Cover {
	out := make([]protocol.Cover, len(b.Covered))
	for i, c := range b.Covered {
		out[i] = protocol.Cover{Range: interval.Range{First: uint64(c.First) + 1, Last: uint64(c.Last) + 1}, Lost: c.Lost}
	}
	return out
}

// describe finds what the deliveries can be recognised by.
func (e *engine[X]) describe(s *subject) []protocol.Item {
	items := make([]protocol.Item, len(s.deliveries))
	for i := range items {
		e.describeOne(s, &items[i], i)
	}
	return items
}

func (e *engine[X]) describeOne(s *subject, it *protocol.Item, index int) {
	d := &s.deliveries[index]
	it.Index, it.Original = index, -1
	it.Key, it.Redelivered, it.Positioned = d.Key, d.Redelivered, !d.Position.IsZero()
	r := e.recorder
	if !d.Stamp.IsZero() {
		it.AddMark(protocol.Mark{Roll: s.roll(SenderScope(d.Stamp)), Number: d.Stamp.Sequence, Decides: r.stamp})
	}
	if it.Positioned {
		it.AddMark(protocol.Mark{Roll: s.roll(s.cache.partition), Number: d.Position.Number(), Decides: r.position, Place: true})
	}
	key, has, missing := r.dedupKey(&d.Message)
	if it.HasDedup = has; has {
		it.Dedup, it.Identity = protocol.ID(key), protocol.ID(s.identity(index))
	}
	switch {
	case r.none:
		return
	case missing != "":
		s.nameless(index)
		it.Kill(fmt.Sprintf("no identity: dedup.key has %q, and this message has none or an empty one", missing))
	case !it.HasDedup && !it.Decided():
		s.nameless(index)
		it.Kill("no identity: it has no stamp, no position and no key; set dedup.key, or send it with rollcall")
	}
	if _, left := d.Header(StampHeader); left && d.Stamp.IsZero() {
		it.Kill("bad envelope: its stamp cannot be read; it is not taken for an unstamped message")
	}
}
