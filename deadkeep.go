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
// operator log that keeps the body: nothing disappears silently. What is parked
// or waiting never expires. Several workers may do it at once.
func (e *engine[X]) expire(ctx context.Context) {
	old, total := e.config.Clock.Now().Add(-e.config.DeadKeep), 0
	filter := AsideFilter{States: expiring, Max: expirePage}
	for {
		rows, err := e.store.Asides().List(ctx, e.group, filter)
		n := 0
		if err == nil {
			n, err = e.expirePage(ctx, rows, old)
			total += n
		}
		if err != nil && ctx.Err() == nil {
			e.observe(Paused{"expire dead letters", err, 0})
		}
		// Behind a row that was made later than that none is older.
		if err != nil || len(rows) < expirePage || !rows[len(rows)-1].Created.Before(old) {
			break
		}
		filter.After = rows[len(rows)-1].ID
	}
	if total > 0 {
		e.observe(Expired{total})
	}
}

// expirePage gives up those of the rows that are dead and old when they are
// locked: an operator may have redriven one since.
func (e *engine[X]) expirePage(ctx context.Context, rows []Aside, old time.Time) (int, error) {
	rows = slices.DeleteFunc(rows, func(r Aside) bool { return !tooOld(r, old) })
	op := Operation{Operator: "rollcall, worker " + e.worker, Time: e.config.Clock.Now(),
		Reason: fmt.Sprintf("dead for longer than dead_letters.keep (%v)", e.config.DeadKeep)}
	return turnAll(ctx, e.store, e.group, rows, func(tx Tx[X], row Aside) (*OperatorEntry, error) {
		now, err := tx.Asides().Known(ctx, e.group, []Identity{row.Identity})
		row = now[row.Identity]
		if err != nil || !tooOld(row, old) {
			return nil, err
		}
		return giveUp(ctx, tx, e.group, &row, expiring, op.entry(OperatorExpire, &row, row.Message.Body))
	})
}
