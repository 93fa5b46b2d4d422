package rollcall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// asidePoll is how often due rows are looked for.
const asidePoll = 100 * time.Millisecond

// workAsides works off due rows as one more source, until ctx ends: no broker
// round trip, nothing to lose in between.
func (e *engine[X]) workAsides(ctx context.Context) {
	for ctx.Err() == nil {
		rows, err := e.store.Asides().Due(ctx, e.group, e.config.Clock.Now(), 100)
		if err != nil && ctx.Err() == nil {
			e.observe(Paused{"aside rows", err, asidePoll})
		}
		for _, row := range rows {
			if ctx.Err() != nil {
				return
			}
			err := e.completeRow(e.work, row)
			if errors.Is(err, ErrFenced) {
				e.observe(Fenced{Partition{row.Message.Destination, row.Message.Partition}, err})
				err = e.retry(e.work, "acquire", func() error { return e.acquireOwn(e.work) })
			}
			if err != nil {
				break
			}
		}
		if len(rows) == 0 || err != nil {
			_ = e.config.Clock.Sleep(ctx, asidePoll) // the loop's own test ends it
		}
	}
}

func rowItem(row *Aside) *item {
	return &item{
		delivery: &Delivery{Message: row.Message, Position: row.Position},
		identity: row.Identity,
		key:      row.DedupKey,
		hasKey:   row.DedupKey != DedupKey{},
		attempts: row.Attempts,
	}
}

// attemptRow writes the attempt down before the row runs, so that a message
// that kills its worker is given up in the end. It reports whether the row is
// still waiting and its turn has come.
func (e *engine[X]) attemptRow(ctx context.Context, row *Aside, it *item) (mine bool, err error) {
	if row.Attempts >= e.config.Retry.Attempts {
		it.attempts = row.Attempts - 1
		it.dead(fmt.Sprintf("its worker ended while it was in work, after %d attempts: %s", row.Attempts, row.Cause))
		return true, nil
	}
	tx, err := e.store.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil || !mine {
			_ = tx.Rollback()
		}
	}()
	if err := tx.Fence(ctx, e.ownHold()); err != nil {
		return false, err
	}
	if err := e.rowBehind(ctx, tx, row); err != nil {
		if errors.Is(err, errGone) {
			return false, nil
		}
		return false, err
	}
	now := e.config.Clock.Now()
	change := AsideChange{State: AsideWaiting, Cause: row.Cause, Attempts: row.Attempts + 1, Early: row.Early, OwnsKey: row.OwnsKey,
		Due: now.Add(e.delay(fateWaiting, row.Attempts+1, againDelay{})), Updated: now}
	mine, err = tx.Asides().Turn(ctx, e.group, row.ID, []AsideState{AsideWaiting}, change)
	if err != nil || !mine {
		return false, err
	}
	if err := tx.Commit(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// claimRow takes the row: compare and set from waiting to done. The function
// it returns puts it back.
func (e *engine[X]) claimRow(ctx context.Context, tx Tx[X], row *Aside) (undo func(context.Context) error, err error) {
	undo, err = tx.Savepoint(ctx)
	if err != nil {
		return nil, err
	}
	now := e.config.Clock.Now()
	ok, err := tx.Asides().Turn(ctx, e.group, row.ID, []AsideState{AsideWaiting}, AsideChange{
		State: AsideDone, Attempts: row.Attempts, OwnsKey: row.OwnsKey, Due: now, Updated: now})
	if err == nil && !ok {
		err = errGone
	}
	return undo, err
}

// claimRowKey: the row that owns its key does not look at keys; one that does
// not own it claims it like a new message.
func (e *engine[X]) claimRowKey(ctx context.Context, tx Tx[X], row *Aside, it *item) error {
	if row.OwnsKey || !it.hasKey {
		return nil
	}
	return e.claimKeys(ctx, tx, []*item{it})
}

// rowBehind: not before earlier rows of its Key. A row that came too early
// waits for nobody here.
func (e *engine[X]) rowBehind(ctx context.Context, tx Tx[X], row *Aside) error {
	if row.Message.Key == "" || row.Early {
		return nil
	}
	queues, err := tx.Asides().Queues(ctx, e.group, []string{row.Message.Key})
	if err != nil {
		return err
	}
	if q := queues[row.Message.Key]; q.First != 0 && q.First < row.ID {
		return errGone
	}
	return nil
}

func (e *engine[X]) runRow(ctx context.Context, tx Tx[X], it *item) error {
	if it.fate != fateRun {
		return nil
	}
	return e.runCarefully(ctx, tx, &work{}, []*item{it})
}

// turnRow writes what became of the row. A failure is the same compare and
// set, from waiting: the claim is undone first.
func (e *engine[X]) turnRow(ctx context.Context, tx Tx[X], row *Aside, it *item, undo func(context.Context) error) error {
	now := e.config.Clock.Now()
	if it.fate == fateEarly && now.Sub(row.Created) > e.config.Retry.Early {
		it.fate, it.cause = fateDead, fmt.Sprintf("too early for %v: %s", e.config.Retry.Early, it.cause)
	}
	state, aside := asideState(it.fate)
	if !aside {
		return e.wakeEarly(ctx, tx, row, it)
	}
	if err := undo(ctx); err != nil {
		return err
	}
	if err := failpoint.Hit(ctx, "aside-undone", 1); err != nil {
		return err
	}
	change := AsideChange{State: state, Cause: it.cause, Attempts: it.spent(), Early: it.fate == fateEarly, OwnsKey: row.OwnsKey,
		Due: now.Add(e.delay(it.fate, it.spent(), it.again)), Updated: now}
	ok, err := tx.Asides().Turn(ctx, e.group, row.ID, []AsideState{AsideWaiting}, change)
	if err == nil && !ok {
		err = errGone
	}
	return err
}

// wakeEarly makes what came too early due when another of its Key commits.
func (e *engine[X]) wakeEarly(ctx context.Context, tx Tx[X], row *Aside, it *item) error {
	if it.fate != fateApplied || row.Message.Key == "" {
		return nil
	}
	return tx.Asides().Wake(ctx, e.group, []string{row.Message.Key}, e.config.Clock.Now())
}

func (e *engine[X]) countRow(ctx context.Context, tx Tx[X], row *Aside, it *item) (Counts, error) {
	var c Counts
	c.add(it)
	if c == (Counts{}) {
		return c, nil
	}
	return c, tx.Records().Count(ctx, e.group, row.Message.Destination, e.slot(e.ownHold()), c)
}

func (e *engine[X]) rowCommitted(row *Aside, it *item, counts Counts, took time.Duration) {
	p := Partition{row.Message.Destination, row.Message.Partition}
	if state, ok := asideState(it.fate); ok && state != AsideWaiting {
		e.observe(SetAside{row.Message.ID, row.Message.Destination, state, it.spent(), it.cause})
	}
	e.observe(Committed{Partition: p, Counts: counts, Took: took})
}
