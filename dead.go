package rollcall

import (
	"context"
	"time"
)

// Redrive makes rows that are dead or parked due again, with all their attempts
// before them, and returns how many. Doing it twice is harmless: the second
// time they are waiting, in work or done.
func Redrive[X any](ctx context.Context, store Store[X], group string, rows []Aside, now time.Time) (int, error) {
	return turnAll(ctx, store, group, rows, func(tx Tx[X], row Aside) (bool, error) {
		return tx.Asides().Turn(ctx, group, row.ID, []AsideState{AsideDead, AsideParked}, AsideChange{
			State: AsideWaiting, Cause: "redriven; before: " + row.Cause, OwnsKey: row.OwnsKey, Due: now, Updated: now})
	})
}

// Discard gives up rows that are waiting, dead or parked, frees the DedupKey
// that a row owns, counts them as discarded, and returns how many. Their bytes
// are gone afterwards.
func Discard[X any](ctx context.Context, store Store[X], group string, rows []Aside, now time.Time) (int, error) {
	return turnAll(ctx, store, group, rows, func(tx Tx[X], row Aside) (bool, error) {
		ok, err := tx.Asides().Turn(ctx, group, row.ID, []AsideState{AsideWaiting, AsideDead, AsideParked}, AsideChange{
			State: AsideDiscarded, Cause: row.Cause, Attempts: row.Attempts, Due: now, Updated: now})
		if err != nil || !ok {
			return false, err
		}
		if row.OwnsKey {
			if err := tx.Records().Free(ctx, group, []DedupKey{row.DedupKey}); err != nil {
				return false, err
			}
		}
		return true, tx.Records().Count(ctx, group, row.Message.Destination, operatorSlot, Counts{Discarded: 1})
	})
}

// operatorSlot is the counter row of what operators do.
const operatorSlot = -1 - asideSlots

// turnAll changes rows in one transaction: all of them or none.
func turnAll[X any](ctx context.Context, store Store[X], group string, rows []Aside, turn func(Tx[X], Aside) (bool, error)) (n int, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	tx, err := store.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			n = 0
			_ = tx.Rollback()
		}
	}()
	for _, row := range rows {
		ok, err := turn(tx, row)
		if err != nil {
			return 0, err
		}
		if ok {
			n++
		}
	}
	return n, tx.Commit(ctx)
}
