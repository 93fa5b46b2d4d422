package rollcall

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// expirePage is how many rows are given up in one transaction.
const expirePage = 100

// expiring are the states that a row does not stay in for ever. What is parked may
// have taken effect: only somebody who looked can decide.
var expiring = []AsideState{AsideDead}

// tooOld reports whether a row has been in its state since before old.
func tooOld(row Aside, old time.Time) bool { return row.Updated.Before(old) }

// expire gives up what is dead for longer than DeadKeep, with an entry of the
// operator log that keeps the body: nothing disappears silently. It does one page,
// and returns the row to go on behind, 0 when there is no more. Several workers may
// do it at once.
func (e *engine[X]) expire(ctx context.Context, after int64) (next int64) {
	old := e.config.Clock.Now().Add(-e.config.DeadKeep)
	rows, err := e.store.Asides().List(ctx, e.group, AsideFilter{States: expiring, After: after, Max: expirePage})
	n := 0
	if err == nil {
		n, err = e.giveUpOld(ctx, rows, old)
	}
	if err != nil && ctx.Err() == nil {
		e.observe(Paused{"expire dead letters", err, 0})
	}
	if n > 0 {
		e.observe(Expired{n})
	}
	// Behind a row that was made later than that none is older.
	if err != nil || len(rows) < expirePage || !rows[len(rows)-1].Created.Before(old) {
		return 0
	}
	return rows[len(rows)-1].ID
}

// giveUpOld gives up those of the rows that are dead and old when they are locked:
// an operator may have redriven one since.
func (e *engine[X]) giveUpOld(ctx context.Context, rows []Aside, old time.Time) (int, error) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r Aside) bool { return !tooOld(r, old) })
	ids := make([]Identity, len(rows))
	for i := range rows {
		ids[i] = rows[i].Identity
	}
	op := Operation{Operator: "rollcall, worker " + e.worker, Time: e.config.Clock.Now(),
		Reason: fmt.Sprintf("dead for longer than dead_letters.keep (%v)", e.config.DeadKeep)}
	var now map[Identity]Aside
	return turnAll(ctx, e.store, e.group, rows, func(tx Tx[X], row Aside) (_ *OperatorEntry, err error) {
		if now == nil {
			if now, err = tx.Asides().Known(ctx, e.group, ids); err != nil {
				return nil, err
			}
		}
		if row = now[row.Identity]; !tooOld(row, old) {
			return nil, nil
		}
		return giveUp(ctx, tx, e.group, &row, expiring, op.entry(OperatorExpire, &row, row.Message.Body))
	})
}
