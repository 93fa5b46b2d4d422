package rollcall

import (
	"context"
	"slices"
)

// place keeps where the group begins with partitions that it has no roll of, before
// anything of them is done: what is removed from there on, also before the group's
// first message, is lost and not merely old. rolls are changed to what the store
// has then.
func (e *engine[X]) place(ctx context.Context, assignments []Assignment, holds []Hold, rolls []*Roll) error {
	fresh := func(i int) bool { return rolls[i] != nil && rolls[i].High() == 0 && !rolls[i].placed }
	measurer, ok := e.source.(Measurer)
	if !ok || !slices.ContainsFunc(upTo(len(rolls)), fresh) {
		return nil
	}
	extents, err := measurer.Measure(ctx)
	if err != nil {
		return err
	}
	for i, a := range assignments {
		at := slices.IndexFunc(extents, func(x Extent) bool { return x.Partition == a.Partition && x.Incarnation == a.Incarnation })
		if at < 0 || !fresh(i) {
			continue // made again just now: the driver finds out
		}
		if rolls[i], err = e.placeOne(ctx, holds[i], rolls[i].Scope, extents[at].First); err != nil {
			return err
		}
	}
	return nil
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// placeOne writes the place, under the partition's token. Offsets below it carry no
// message for this group, and are counted as that.
func (e *engine[X]) placeOne(ctx context.Context, hold Hold, scope Scope, first int64) (roll *Roll, err error) {
	tx, err := e.store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	if err := tx.Fence(ctx, hold); err != nil {
		return nil, err
	}
	rows, err := tx.Records().Lock(ctx, e.group, []Scope{scope})
	if err != nil {
		return nil, err
	}
	if roll, err = OpenRoll(rows[0]); err != nil || roll.High() > 0 || roll.placed {
		return roll, err
	}
	roll.placed, roll.begun = true, uint64(first)
	roll.set.AddRange(1, uint64(first))
	row, err := roll.Row()
	if err == nil {
		err = tx.Records().Write(ctx, e.group, []RollRow{row})
	}
	if err == nil && first > 0 {
		err = tx.Records().Count(ctx, e.group, hold.Holder.Partition.Destination, e.slot(hold), Counts{Void: first})
	}
	if err != nil {
		return nil, err
	}
	return roll, tx.Commit(ctx)
}
