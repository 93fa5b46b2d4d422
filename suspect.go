package rollcall

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// Attempts are data errors and deaths in mid-message, never mere redeliveries.
// A message is suspect when it can have been in work as a worker ended: on
// exclusive partitions the first ones above the floor after a token that its
// owner did not release, elsewhere what the broker redelivers. A suspect batch
// writes its attempts down before it runs; only a message that already has
// such an attempt runs alone, so that one that kills its worker is found.

// suspectParts splits a batch into what runs together and what runs alone.
func (e *engine[X]) suspectParts(ctx context.Context, hold Hold, b *Batch, items []*item, rolls *rollCache, budget *int) ([]work, error) {
	whole := work{hold: hold, batch: b, items: items, rolls: rolls}
	suspects := e.suspects(items, budget)
	if len(suspects) == 0 {
		return []work{whole}, nil
	}
	w := whole
	w.items = suspects
	var alone map[*item]Aside
	err := e.retry(ctx, "attempts", func() (err error) {
		alone, err = e.writeAttempts(ctx, &w)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.observe(Suspected{b.Partition, len(suspects), len(alone)})
	if len(alone) == 0 {
		return []work{whole}, nil
	}
	return splitAlone(whole, alone), nil
}

// suspects are the messages that can have been in work. On positions the
// budget says how many that were at most; it is used up by the first batches.
func (e *engine[X]) suspects(items []*item, budget *int) []*item {
	var out []*item
	for _, it := range items {
		if it.planned == fateDropped {
			continue
		}
		switch {
		case !it.delivery.Position.IsZero():
			if *budget <= 0 {
				continue
			}
			*budget--
		case !it.delivery.Redelivered:
			continue
		}
		if it.planned == fateRun {
			out = append(out, it)
		}
	}
	return out
}

func splitAlone(whole work, alone map[*item]Aside) []work {
	var parts []work
	part := whole
	part.items = nil
	flush := func() {
		if len(part.items) > 0 {
			parts = append(parts, part)
		}
		part.items = nil
	}
	for _, it := range whole.items {
		if row, ok := alone[it]; ok {
			flush()
			single := whole
			single.items = []*item{it}
			single.alone = &row
			parts = append(parts, single)
			continue
		}
		part.items = append(part.items, it)
	}
	flush()
	return parts
}

// writeAttempts is one small transaction: rolls and aside rows are read first,
// so that what is done already is not run again, then an attempt is written
// for each suspect that has none. It returns those that had one.
func (e *engine[X]) writeAttempts(ctx context.Context, w *work) (alone map[*item]Aside, err error) {
	begin(w.items)
	tx, err := e.store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	if err := tx.Fence(ctx, w.hold); err != nil {
		return nil, err
	}
	locked, err := e.lockRolls(ctx, tx, w)
	if err != nil {
		return nil, err
	}
	retest(w.items, locked)
	w.rolls.learn(locked)
	begin(w.items)
	alone, fresh, err := e.attemptRows(ctx, tx, runnable(w.items))
	if err != nil {
		return nil, err
	}
	if _, err := tx.Asides().Put(ctx, e.group, fresh); err != nil {
		return nil, err
	}
	if err := failpoint.Hit(ctx, "attempts", len(fresh)); err != nil {
		return nil, err
	}
	return alone, tx.Commit(ctx)
}

// attemptRows finds which messages have an attempt already and makes rows for
// those that have none. A row in any other state says that the message was
// decided: only its numbers are still to enter their rolls.
func (e *engine[X]) attemptRows(ctx context.Context, tx Tx[X], items []*item) (alone map[*item]Aside, fresh []Aside, err error) {
	ids := make([]Identity, 0, len(items))
	for _, it := range items {
		ids = append(ids, it.id())
	}
	slices.SortFunc(ids, func(a, b Identity) int { return slices.Compare(a[:], b[:]) })
	known, err := tx.Asides().Known(ctx, e.group, ids)
	if err != nil {
		return nil, nil, err
	}
	alone = make(map[*item]Aside)
	for _, it := range items {
		it.suspect = true
		row, ok := known[it.id()]
		switch {
		case !ok:
			fresh = append(fresh, e.asideRow(it, AsideAttempt, 1))
		case row.State == AsideAttempt:
			alone[it] = row
		default:
			it.planned = fateDropped
		}
	}
	return alone, fresh, nil
}

// bump counts one more attempt before a message runs alone. Too many: it is
// declared dead, and goes through the same steps as any failure.
func (e *engine[X]) bump(ctx context.Context, w *work) error {
	it := w.items[0]
	if w.alone.Attempts >= e.config.Retry.Attempts {
		it.attempts = w.alone.Attempts - 1
		it.dead(fmt.Sprintf("its worker ended %d times while it was in work", w.alone.Attempts))
		return nil
	}
	it.attempts = w.alone.Attempts
	return e.retry(ctx, "attempt", func() (err error) {
		tx, err := e.store.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() {
			if err != nil {
				_ = tx.Rollback()
			}
		}()
		if err := tx.Fence(ctx, w.hold); err != nil {
			return err
		}
		now := e.config.Clock.Now()
		_, err = tx.Asides().Turn(ctx, e.group, w.alone.ID, []AsideState{AsideAttempt}, AsideChange{
			State: AsideAttempt, Cause: w.alone.Cause, Attempts: w.alone.Attempts + 1, Due: now, Updated: now})
		if err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
}

// retry repeats a small transaction until it is durable: doing it twice is
// harmless. Being fenced and being stopped end it.
func (e *engine[X]) retry(ctx context.Context, where string, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		switch {
		case err == nil || errors.Is(err, ErrFenced):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err := e.pause(ctx, where, err, try); err != nil {
			return err
		}
	}
}
