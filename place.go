package rollcall

import (
	"context"
	"slices"
)

// place keeps where the group begins with each partition of the source, before anything
// is done: what is removed from there on, also before the group's first message, is
// lost and not merely old. The first run of a group begins where the partitions begin
// then. A partition that is added later begins at its first offset ever: the group was
// there before it.
func (e *engine[X]) place(ctx context.Context, hold Hold) error {
	measurer, ok := e.source.(Measurer)
	if !ok || !e.can.Positions {
		return nil
	}
	extents, err := measurer.Measure(ctx)
	if err != nil || len(extents) == 0 {
		return err
	}
	scopes := make([]Scope, len(extents))
	for i, x := range extents {
		scopes[i] = PartitionScope(x.Partition, x.Incarnation)
	}
	rows, err := e.store.Rolls(ctx, e.group, scopes)
	if err != nil {
		return err
	}
	rolls, err := openRolls(rows)
	if err != nil || !slices.ContainsFunc(rolls, unplaced) {
		return err
	}
	return e.placeAll(ctx, hold, extents)
}

func unplaced(r *Roll) bool { return !r.placed && r.High() == 0 }

// placeAll writes the places that are missing, in one transaction, so that no other
// worker takes the first of them for those of a group that runs already. Offsets below
// a place carry no message for this group, and are counted as that.
func (e *engine[X]) placeAll(ctx context.Context, hold Hold, extents []Extent) error {
	slices.SortFunc(extents, func(a, b Extent) int {
		return PartitionScope(a.Partition, a.Incarnation).Compare(PartitionScope(b.Partition, b.Incarnation))
	})
	scopes := make([]Scope, len(extents))
	for i, x := range extents {
		scopes[i] = PartitionScope(x.Partition, x.Incarnation)
	}
	tx, err := e.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := tx.Fence(ctx, hold); err != nil {
		return err
	}
	rows, err := tx.Records().Lock(ctx, e.group, scopes)
	if err != nil {
		return err
	}
	rolls, err := openRolls(rows)
	if err != nil {
		return err
	}
	began := make(map[string]bool) // destinations, of which the group has a place already
	for i, r := range rolls {
		if !unplaced(r) {
			began[extents[i].Partition.Destination] = true
		}
	}
	var written []RollRow
	for i, r := range rolls {
		if !unplaced(r) {
			continue
		}
		x := extents[i]
		r.placed = true
		if !began[x.Partition.Destination] && x.First > 0 {
			r.begun = uint64(x.First)
			r.set.AddRange(1, uint64(x.First))
			if err := tx.Records().Count(ctx, e.group, x.Partition.Destination, e.slot(hold), Counts{Void: x.First}); err != nil {
				return err
			}
		}
		row, err := r.Row()
		if err != nil {
			return err
		}
		written = append(written, row)
	}
	if err := tx.Records().Write(ctx, e.group, written); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
