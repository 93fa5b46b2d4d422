package rollcall

import (
	"context"
	"errors"
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
	before, err := e.measure(ctx, measurer)
	if err != nil {
		return err
	}
	done := make(map[Scope]*Roll, len(before))
	for _, x := range before {
		scope := PartitionScope(x.Partition, x.Incarnation)
		if done[scope], err = e.readRoll(ctx, scope); err != nil {
			return err
		}
	}
	// Measured again: what others did and sent meanwhile must not look like a log
	// that is too short.
	extents, err := e.measure(ctx, measurer)
	if err != nil {
		return err
	}
	senders := make(map[Scope]*Roll)
	for _, x := range extents {
		roll := done[PartitionScope(x.Partition, x.Incarnation)]
		if roll == nil {
			continue // it is new
		}
		if roll.High() > uint64(x.End) {
			return e.otherLog(x.Partition, fmt.Sprintf("offset %d is done and the log ends at %d", roll.High()-1, x.End))
		}
		if err := e.sameMessages(ctx, peeker, x, int64(roll.Floor())-1, senders); err != nil {
			return err
		}
	}
	return nil
}

// readRoll waits for a store that is not there; a damaged one ends the run.
func (e *engine[X]) readRoll(ctx context.Context, scope Scope) (*Roll, error) {
	var rows []RollRow
	var damaged error
	err := e.retry(ctx, "read rolls", func() (err error) {
		rows, err = e.store.Rolls(ctx, e.group, []Scope{scope})
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrClosed) {
			damaged, err = err, nil
		}
		return err
	})
	if err = errors.Join(err, damaged); err != nil {
		return nil, err
	}
	return OpenRoll(rows[0])
}

// recently is how many of the messages done last are looked at one by one.
const recently = 200

// sameMessages looks at messages up to the last that is done. The rolls of
// senders are read when first needed, after those of the positions.
func (e *engine[X]) sameMessages(ctx context.Context, peeker Peeker, x Extent, last int64, senders map[Scope]*Roll) error {
	for at, step := last, int64(1); at >= x.First; at -= step {
		var m Message
		err := e.patient(ctx, "peek", func() (err error) {
			m, err = peeker.Peek(ctx, x.Partition, Position{Incarnation: x.Incarnation, Offset: at})
			return err
		})
		if err != nil {
			return err
		}
		if last-at >= recently {
			step *= 2
		}
		// After half the window the sender's roll may have been swept: no verdict.
		if m.Stamp.IsZero() || e.config.Clock.Now().Sub(m.Time) > e.config.Dedup.Window/2 {
			continue
		}
		scope := SenderScope(m.Stamp)
		if senders[scope] == nil {
			if senders[scope], err = e.readRoll(ctx, scope); err != nil {
				return err
			}
		}
		if senders[scope].set.Answer(m.Stamp.Sequence) == interval.New {
			return e.otherLog(x.Partition, fmt.Sprintf("message %q at offset %d counts as done and never was", m.ID, at))
		}
	}
	return nil
}

func (e *engine[X]) otherLog(p Partition, what string) error {
	return fmt.Errorf("%w: destination %q, partition %d: this is not the log that group %q worked on: %s; it was restored from an older copy, or replaced. "+
		"Nothing was run. Put the right log back, or send what is in this one to a new destination, or use a new group name", ErrDamaged, p.Destination, p.Number, e.group, what)
}
