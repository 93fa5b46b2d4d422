package rollcall

import (
	"context"
	"fmt"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Peeker reads one stored message of a Source without touching any group
// (optional, found by type assertion).
type Peeker interface {
	Peek(ctx context.Context, partition Partition, at Position) (Message, error)
}

// sameLog refuses a log that is not the one the store's positions were taken
// from: restored from an older copy and grown since, or another one in its
// place. Its new messages would lie at offsets that count as done and be lost
// without a word. What was done last must still be there, and stamps must be in
// their senders' rolls, which were written in the same transaction: of the last
// recently done messages, and of older ones at growing distances. (The last
// alone would not do: a file that is sent again puts a known stamp there.)
func (e *engine[X]) sameLog(ctx context.Context) error {
	measurer, can := e.source.(Measurer)
	peeker, also := e.source.(Peeker)
	if !can || !also || !e.can.Positions {
		return nil
	}
	extents, err := measurer.Measure(ctx)
	if err != nil {
		return err
	}
	for _, x := range extents {
		rows, err := e.store.Rolls(ctx, e.group, []Scope{PartitionScope(x.Partition, x.Incarnation)})
		if err != nil {
			return err
		}
		roll, err := OpenRoll(rows[0])
		if err != nil {
			return err
		}
		if roll.High() > uint64(x.End) {
			return e.otherLog(x.Partition, fmt.Sprintf("offset %d is done and the log ends at %d", roll.High()-1, x.End))
		}
		if err := e.sameMessages(ctx, peeker, x, int64(roll.Floor())-1); err != nil {
			return err
		}
	}
	return nil
}

// recently is how many of the messages done last are looked at one by one.
const recently = 1000

func (e *engine[X]) sameMessages(ctx context.Context, peeker Peeker, x Extent, last int64) error {
	for at, step := last, int64(1); at >= x.First; at -= step {
		if err := e.sameMessage(ctx, peeker, x, at); err != nil {
			return err
		}
		if last-at >= recently {
			step *= 2
		}
	}
	return nil
}

func (e *engine[X]) sameMessage(ctx context.Context, peeker Peeker, x Extent, last int64) error {
	m, err := peeker.Peek(ctx, x.Partition, Position{Incarnation: x.Incarnation, Offset: last})
	if err != nil {
		return err
	}
	// After half the window the sender's roll may have been swept: no verdict.
	if m.Stamp.IsZero() || e.config.Clock.Now().Sub(m.Time) > e.config.Dedup.Window/2 {
		return nil
	}
	rows, err := e.store.Rolls(ctx, e.group, []Scope{SenderScope(m.Stamp)})
	if err != nil {
		return err
	}
	roll, err := OpenRoll(rows[0])
	if err != nil {
		return err
	}
	if roll.set.Answer(m.Stamp.Sequence) == interval.New {
		return e.otherLog(x.Partition, fmt.Sprintf("message %q at offset %d counts as done and never was", m.ID, last))
	}
	return nil
}

func (e *engine[X]) otherLog(p Partition, what string) error {
	return fmt.Errorf("%w: destination %q, partition %d: this is not the log that group %q worked on: %s; it was restored from an older copy, or replaced. "+
		"Nothing was run. Put the right log back, or send what is in this one to a new destination, or use a new group name", ErrDamaged, p.Destination, p.Number, e.group, what)
}
