package rollcall

import (
	"context"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// watchEmpty ends the run when all that was measured is finished.
func (e *engine[X]) watchEmpty(ctx context.Context, extents []Extent, end context.CancelCauseFunc) {
	for {
		done, err := e.finished(ctx, extents)
		if done {
			end(errEmpty)
			return
		}
		if err != nil && ctx.Err() == nil {
			e.observe(Paused{"until-empty", err, emptyPoll})
		}
		if e.config.Clock.Sleep(ctx, emptyPoll) != nil {
			return
		}
	}
}

const emptyPoll = 50 * time.Millisecond

// finished: every position of the extents is in its roll, and nothing waits.
func (e *engine[X]) finished(ctx context.Context, extents []Extent) (bool, error) {
	var scopes []Scope
	for _, x := range extents {
		scopes = append(scopes, PartitionScope(x.Partition, x.Incarnation))
	}
	rows, err := e.store.Rolls(ctx, e.group, scopes)
	if err != nil {
		return false, err
	}
	for i, row := range rows {
		r, err := OpenRoll(row)
		if err != nil {
			return false, err
		}
		if !r.Holds(uint64(extents[i].First)+1, uint64(extents[i].End)) {
			return false, nil
		}
	}
	return e.nothingWaits(ctx)
}

// nothingWaits: no row waits but those that came too early and can only wait for
// what is to come.
func (e *engine[X]) nothingWaits(ctx context.Context) (bool, error) {
	filter := AsideFilter{States: []AsideState{AsideWaiting}, Max: 1000}
	for {
		rest, err := e.store.Asides().List(ctx, e.group, filter)
		if err != nil || len(rest) == 0 {
			return err == nil, err
		}
		now := e.config.Clock.Now()
		if slices.ContainsFunc(rest, func(a Aside) bool { return !e.onlyWaits(a, now) }) {
			return false, nil
		}
		filter.After = rest[len(rest)-1].ID
	}
}

// onlyWaits: the row came too early, and still did when it was tried as a row,
// not only in the batch that set it aside: an effect that was committed beside
// that batch found no row to wake.
func (e *engine[X]) onlyWaits(a Aside, now time.Time) bool {
	tried := a.Updated.After(a.Created) && !protocol.IsInWork(a.Cause)
	return a.Early && tried && a.Due.After(now) && now.Sub(a.Created) <= e.config.Retry.Early
}
