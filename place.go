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
	if err := e.remade(ctx, extents); err != nil {
		return err
	}
	return e.placeAll(ctx, hold, extents)
}

// remade tells if the group has done something of the same destination in another
// incarnation: it was deleted and made again, or somebody runs on another log.
func (e *engine[X]) remade(ctx context.Context, extents []Extent) error {
	here, names := make(map[Scope]bool), make(map[uint64]string)
	for _, x := range extents {
		here[PartitionScope(x.Partition, x.Incarnation)] = true
		names[OriginOf(x.Partition.Destination)] = x.Partition.Destination
	}
	done := make(map[string]uint64)
	for after := (Scope{Kind: ScopePartition}); ; {
		rows, err := e.store.Upkeep().Scan(ctx, e.group, after, scanPage)
		if err != nil {
			return err
		}
		for _, row := range rows {
			after = row.Scope
			name, same := names[row.Scope.Origin]
			if !same || here[row.Scope] {
				continue
			}
			roll, err := OpenRoll(row)
			if err != nil {
				return err
			}
			done[name] += roll.High() - roll.Missing()
		}
		if len(rows) < scanPage {
			break
		}
	}
	for name, n := range done {
		if n > 0 {
			e.observe(Remade{name, n})
		}
	}
	return nil
}

// scanPage is how many rolls are read at a time.
const scanPage = 1000

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
	if len(written) == 0 {
		return nil // another worker was faster
	}
	if err := tx.Records().Write(ctx, e.group, written); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
