package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall"
)

// book is what became of all messages of a destination, in all processes, as
// the store and the log know it: counters are committed with the effect, so
// that no kill can make them wrong.
type book struct {
	Destination string `json:"destination"`
	// Stored is distinct messages; Copies are further stored copies of them.
	Stored    int64 `json:"stored"`
	Copies    int64 `json:"copies"`
	Applied   int64 `json:"applied"`
	Repeated  int64 `json:"repeated"`
	Stale     int64 `json:"stale"`
	Filtered  int64 `json:"filtered"`
	Discarded int64 `json:"discarded"`
	Waiting   int64 `json:"waiting"`
	Dead      int64 `json:"dead"`
	Parked    int64 `json:"parked"`
	// Missing were removed by retention before they were worked off.
	Missing int64 `json:"missing"`
	// ToGo are stored and not finished; when there are none it is Drained.
	ToGo     int64 `json:"to_go"`
	Drained  bool  `json:"drained"`
	Balanced bool  `json:"balanced"`
	// Uncounted: the source does not say how many it had; Stored is what became of
	// something, and nothing can be balanced.
	Uncounted bool `json:"uncounted,omitempty"`
}

// accounted is the right side of the conservation line.
func (b *book) accounted() int64 {
	return b.Applied + b.Repeated + b.Stale + b.Filtered + b.Discarded + b.Waiting + b.Dead + b.Parked + b.Missing
}

func (b *book) difference() string {
	d := b.Stored - b.accounted()
	if d > 0 {
		return fmt.Sprintf("%s is not balanced: %d messages are stored and nothing became of %d of them", b.Destination, b.Stored, d)
	}
	return fmt.Sprintf("%s is not balanced: %d messages are stored and %d more were counted", b.Destination, b.Stored, -d)
}

// snapshots is how often the books are read until nothing moves in between.
const snapshots = 5

// takeBook reads log and store at one moment. They are two files: the counters
// are read between two readings of everything else, and taken when those two
// are equal. While another process is at work they never are; then there is
// something to go, too, or there will be.
func takeBook[X any](ctx context.Context, store rollcall.Store[X], group string, m rollcall.Measurer, destination string) (book, error) {
	if m == nil {
		tallies, err := store.Upkeep().Tally(ctx, group)
		return uncounted(destination, tallies), err
	}
	for try := 1; ; try++ {
		before, err := takePositions(ctx, store, group, m, destination)
		if err != nil {
			return book{}, err
		}
		tallies, err := store.Upkeep().Tally(ctx, group)
		if err != nil {
			return book{}, err
		}
		after, err := takePositions(ctx, store, group, m, destination)
		if err != nil {
			return book{}, err
		}
		b := newBook(destination, before, tallies)
		if before == after {
			return b, nil
		}
		if try == snapshots {
			b.Drained, b.Balanced = false, false
			return b, nil
		}
	}
}

// positions is how far a destination is worked off.
type positions struct {
	end     int64  // sum of the ends: stored copies, whatever retention removed
	missing int64  // removed before they were worked off
	toGo    int64  // there and not finished
	done    uint64 // in the rolls
}

func takePositions[X any](ctx context.Context, store rollcall.Store[X], group string, m rollcall.Measurer, destination string) (positions, error) {
	var p positions
	extents, err := m.Measure(ctx)
	if err != nil {
		return p, err
	}
	extents = slices.DeleteFunc(extents, func(x rollcall.Extent) bool { return x.Partition.Destination != destination })
	scopes := make([]rollcall.Scope, len(extents))
	for i, x := range extents {
		scopes[i] = rollcall.PartitionScope(x.Partition, x.Incarnation)
	}
	rows, err := store.Rolls(ctx, group, scopes)
	if err != nil {
		return p, err
	}
	for i, row := range rows {
		roll, err := rollcall.OpenRoll(row)
		if err != nil {
			return p, err
		}
		p.add(&extents[i], roll)
	}
	return p, nil
}

// add counts the positions of one partition that are in no roll. A roll counts
// from 1, offsets from 0: offset n is number n+1.
func (p *positions) add(x *rollcall.Extent, roll *rollcall.Roll) {
	p.end += x.End
	p.done += roll.High() - roll.Missing()
	open := func(first, last int64) {
		removed := max(0, min(last, x.First)-first+1)
		p.missing += removed
		p.toGo += last - first + 1 - removed
	}
	roll.Gaps(func(first, last uint64) bool {
		open(int64(first), int64(last))
		return true
	})
	if high := int64(roll.High()); high < x.End {
		open(high+1, x.End)
	}
}

// uncounted is the book of a queue, which keeps no count of what it had.
func uncounted(destination string, tallies []rollcall.Tally) book {
	b := newBook(destination, positions{}, tallies)
	b.Stored, b.Drained, b.Balanced, b.Uncounted = b.accounted(), false, false, true
	return b
}

func newBook(destination string, p positions, tallies []rollcall.Tally) book {
	b := book{Destination: destination, Stored: p.end, Missing: p.missing, ToGo: p.toGo, Drained: p.toGo == 0}
	for _, t := range tallies {
		if t.Destination != destination {
			continue
		}
		c := t.Counts
		b.Stored -= c.Copies + c.Void
		b.Missing += c.Lost
		b.Copies = c.Copies
		b.Applied, b.Repeated, b.Stale, b.Filtered, b.Discarded = c.Applied, c.Repeated, c.Stale, c.Filtered, c.Discarded
		b.Waiting, b.Dead, b.Parked = t.Waiting, t.Dead, t.Parked
	}
	b.Balanced = b.Drained && b.Stored == b.accounted()
	return b
}
