package rollcall

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// ScopeKind is what a roll counts.
type ScopeKind uint8

// The two scopes of a roll.
const (
	ScopeSender    ScopeKind = 1 // numbers of a sender: life, original destination, lane
	ScopePartition ScopeKind = 2 // positions of a partition: destination, incarnation, partition
)

// Scope names one roll within a group. It is comparable.
type Scope struct {
	Kind   ScopeKind
	ID     [16]byte // Life, or Incarnation
	Origin uint64   // OriginOf the destination
	Number uint32   // lane, or partition
}

// ScopeSize is the length of Scope.Bytes.
const ScopeSize = 29

// Bytes is the scope as a key that sorts like Compare.
func (s Scope) Bytes() []byte {
	b := make([]byte, 0, ScopeSize)
	b = append(b, byte(s.Kind))
	b = append(b, s.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, s.Origin)
	return binary.BigEndian.AppendUint32(b, s.Number)
}

// ParseScope reads Scope.Bytes.
func ParseScope(b []byte) (Scope, error) {
	if len(b) != ScopeSize {
		return Scope{}, fmt.Errorf("rollcall: scope of %d bytes, want %d", len(b), ScopeSize)
	}
	s := Scope{Kind: ScopeKind(b[0])}
	copy(s.ID[:], b[1:17])
	s.Origin = binary.BigEndian.Uint64(b[17:25])
	s.Number = binary.BigEndian.Uint32(b[25:])
	return s, nil
}

// Compare orders scopes; locks are taken in this order.
func (s Scope) Compare(o Scope) int {
	if c := cmp.Compare(s.Kind, o.Kind); c != 0 {
		return c
	}
	if c := bytes.Compare(s.ID[:], o.ID[:]); c != 0 {
		return c
	}
	if c := cmp.Compare(s.Origin, o.Origin); c != 0 {
		return c
	}
	return cmp.Compare(s.Number, o.Number)
}

// SenderScope is the scope of a stamp.
func SenderScope(s Stamp) Scope {
	return Scope{Kind: ScopeSender, ID: s.Life, Origin: s.Origin, Number: s.Lane}
}

// PartitionScope is the scope of the positions of a partition.
func PartitionScope(p Partition, incarnation Incarnation) Scope {
	return Scope{Kind: ScopePartition, ID: incarnation, Origin: OriginOf(p.Destination), Number: uint32(p.Number)}
}

// Roll is the set of numbers done for a group in one scope.
type Roll struct {
	Scope Scope
	set   interval.Set
	// The last message done, of a partition whose broker has leader epochs: they tell
	// whether its log was cut off since. 0: none.
	seen  uint64
	epoch int32
	// placed: the group has a place in this partition, even if nothing of it is done,
	// and begun is the offset at which it began.
	placed bool
	begun  uint64
}

// What the data of a roll can begin with, in this order: where the group began, and
// the epoch of the last message done. Sets begin with their version, below both.
const (
	withBegin = 0xE2
	withEpoch = 0xE1
)

// OpenRoll reads a roll as the store gave it.
func OpenRoll(row RollRow) (*Roll, error) {
	r := &Roll{Scope: row.Scope}
	if row.Data == nil {
		return r, nil
	}
	if err := r.set.UnmarshalBinary(r.readEpoch(r.readBegin(row.Data))); err != nil {
		return nil, fmt.Errorf("rollcall: roll %x is damaged, restore the store from a backup: %w", row.Scope.Bytes(), err)
	}
	return r, nil
}

// readBegin returns what follows it. What is cut short is left for the set to refuse.
func (r *Roll) readBegin(data []byte) []byte {
	if len(data) == 0 || data[0] != withBegin {
		return data
	}
	begun, n := binary.Uvarint(data[1:])
	if n <= 0 || begun > 1<<62 {
		return nil
	}
	r.placed, r.begun = true, begun
	return data[1+n:]
}

// readEpoch returns what follows it. What is cut short is left for the set to refuse.
func (r *Roll) readEpoch(data []byte) []byte {
	if len(data) == 0 || data[0] != withEpoch {
		return data
	}
	seen, n := binary.Uvarint(data[1:])
	epoch, k := binary.Uvarint(data[1+max(n, 0):])
	if n <= 0 || k <= 0 || epoch > 1<<31-1 {
		return nil
	}
	r.seen, r.epoch = seen, int32(epoch)
	return data[1+n+k:]
}

// done notes the epochs of messages that entered the roll.
func (r *Roll) done(deliveries []Delivery) {
	for i := range deliveries {
		if at := deliveries[i].Position; at.LeaderEpoch > 0 && at.Number() > r.seen {
			r.seen, r.epoch = at.Number(), at.LeaderEpoch
		}
	}
}

// last is the position of the last message done; zero where it has no epoch.
func (r *Roll) last() Position {
	if r.epoch == 0 {
		return Position{}
	}
	return Position{Incarnation: r.Scope.ID, Offset: int64(r.seen) - 1, LeaderEpoch: r.epoch}
}

// Row is the roll as the store keeps it.
func (r *Roll) Row() (RollRow, error) {
	var data []byte
	if r.placed {
		data = binary.AppendUvarint(append(data, withBegin), r.begun)
	}
	if r.epoch != 0 {
		data = binary.AppendUvarint(append(data, withEpoch), r.seen)
		data = binary.AppendUvarint(data, uint64(r.epoch))
	}
	data, err := r.set.AppendBinary(data)
	return RollRow{Scope: r.Scope, Data: data}, err
}

// Begun is the offset at which the group began with a partition: what was below was
// gone already, and never its own. 0: at the first.
func (r *Roll) Begun() uint64 { return r.begun }

// Placed reports whether the group has a place in the partition, even if nothing of
// it is done.
func (r *Roll) Placed() bool { return r.placed }

// Floor is the number up to which everything is done.
func (r *Roll) Floor() uint64 { return r.set.Floor() }

// High is the largest number seen.
func (r *Roll) High() uint64 { return r.set.High() }

// Missing is how many numbers lie open between Floor and High.
func (r *Roll) Missing() uint64 {
	var n uint64
	for g := range r.set.Gaps() {
		n += g.Last - g.First + 1
	}
	return n
}

// Gaps are the numbers missing between Floor and High, in order, as ranges
// first, last.
func (r *Roll) Gaps(yield func(first, last uint64) bool) {
	for g := range r.set.Gaps() {
		if !yield(g.First, g.Last) {
			return
		}
	}
}

// Done are the numbers done, in order, as ranges first, last.
func (r *Roll) Done(yield func(first, last uint64) bool) {
	for d := range r.set.Ranges() {
		if !yield(d.First, d.Last) {
			return
		}
	}
}

// GivenUp are the numbers that the roll cannot tell any more, in order, as ranges.
func (r *Roll) GivenUp(yield func(first, last uint64) bool) {
	for d := range r.set.UnknownRanges() {
		if !yield(d.First, d.Last) {
			return
		}
	}
}

// Holds reports whether no number from first to last is New. An empty range is
// held.
func (r *Roll) Holds(first, last uint64) bool {
	if first > last {
		return true
	}
	if r.set.High() < last {
		return false
	}
	for g := range r.set.Gaps() {
		if g.First <= last && g.Last >= first {
			return false
		}
	}
	return true
}
