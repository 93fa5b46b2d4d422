package rollcall

import (
	"context"
	"time"
)

// upkeep writes the sign of life, sweeps, and gives up what was dead for too long,
// until ctx ends. All of it lives outside batches, so that a long batch does not
// look like silence.
func (e *engine[X]) upkeep(ctx context.Context) {
	const everyBeat, everySweep = 10 * time.Second, time.Hour
	beat := min(everyBeat, e.config.Dedup.Window/8)
	if e.config.DeadKeep > 0 {
		beat = min(beat, max(e.config.DeadKeep/8, time.Millisecond))
	}
	var swept, expired time.Time
	var after int64 // the dead letter to go on behind
	for ctx.Err() == nil {
		if err := e.store.Upkeep().Beat(ctx, e.holds()); err != nil && ctx.Err() == nil {
			e.observe(Paused{"beat", err, beat})
		}
		if now := e.config.Clock.Now(); swept.IsZero() || now.Sub(swept) > min(everySweep, e.config.Dedup.Window/8) {
			swept = now
			e.sweep(ctx)
		}
		if now, keep := e.config.Clock.Now(), e.config.DeadKeep; keep > 0 && (after > 0 || expired.IsZero() || now.Sub(expired) > min(everySweep, keep/8)) {
			expired = now
			if after = e.expire(ctx, after); after > 0 {
				continue // with a sign of life between two pages
			}
		}
		_ = e.config.Clock.Sleep(ctx, beat) // the loop's own test ends it
	}
}

func (e *engine[X]) sweep(ctx context.Context) {
	swept, err := e.store.Upkeep().Sweep(ctx, e.group, e.config.Dedup.Window)
	switch {
	case err != nil && ctx.Err() == nil:
		e.observe(Paused{"sweep", err, 0})
	case err == nil && swept != Swept{}:
		e.observe(SweptUp{swept})
	}
}

// holds are all tokens of this worker.
func (e *engine[X]) holds() []Hold {
	e.mu.Lock()
	defer e.mu.Unlock()
	holds := []Hold{e.own}
	if e.can.Exclusive {
		for _, r := range e.partitions {
			holds = append(holds, r.current())
		}
	}
	return holds
}
