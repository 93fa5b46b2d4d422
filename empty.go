package rollcall

import (
	"context"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// untilEmpty is what says that all is finished: where there are positions, that those
// there are now are in the rolls; else the subscription, for emptyFor.
func (e *engine[X]) untilEmpty(ctx context.Context) (func(context.Context) (bool, error), error) {
	if !e.can.Positions {
		return e.quiet(), nil
	}
	m, ok := e.source.(Measurer)
	if !ok {
		return nil, configError("source", e.can.Broker, "it cannot say how much it holds; use Run")
	}
	extents, err := e.measure(ctx, m)
	return func(ctx context.Context) (bool, error) { return e.finished(ctx, extents) }, err
}

// emptyFor is how long a subscription must be empty. A broker may have sent what has
// not arrived yet, and one that takes a moment to notice a dead worker has its messages.
const emptyFor = time.Second

// quiet is true once the subscription was empty, and nothing waited, for emptyFor.
func (e *engine[X]) quiet() func(context.Context) (bool, error) {
	var since time.Time
	return func(ctx context.Context) (bool, error) {
		s, ok := e.subscription().(Emptier)
		if !ok {
			return false, configError("source", e.can.Broker, "it cannot say whether it holds anything; use Run")
		}
		empty, err := s.Empty(ctx)
		if err == nil && empty {
			empty, err = e.nothingWaits(ctx)
		}
		now := e.config.Clock.Now()
		if err != nil || !empty {
			since = time.Time{}
			return false, err
		}
		if since.IsZero() {
			since = now
		}
		return now.Sub(since) >= emptyFor, nil
	}
}

// watchEmpty ends the run when all is finished.
func (e *engine[X]) watchEmpty(ctx context.Context, finished func(context.Context) (bool, error), end context.CancelCauseFunc) {
	for {
		done, err := finished(ctx)
		if done {
			end(errEmpty)
			return
		}
		if err != nil && lasting(err) && ctx.Err() == nil {
			end(err)
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
