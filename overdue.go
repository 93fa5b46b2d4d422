package rollcall

import "time"

// overdueEvery is how often it is told that messages come too late.
const overdueEvery = time.Minute

// watchAge looks how old messages of a queue are: it tells by itself neither how long it
// keeps them nor how late it can bring one again, and the window must cover that.
func (e *engine[X]) watchAge(b *Batch) {
	if e.can.Positions || len(b.Deliveries) == 0 {
		return
	}
	limit := e.can.Late
	if limit == 0 {
		limit = e.config.Dedup.Window
	}
	now := e.config.Clock.Now()
	var oldest time.Duration
	for i := range b.Deliveries {
		if at := b.Deliveries[i].Time; !at.IsZero() {
			oldest = max(oldest, now.Sub(at))
		}
	}
	if oldest > limit && now.Sub(e.overdue) >= overdueEvery {
		e.overdue = now
		e.observe(Overdue{b.Partition.Destination, oldest, limit})
	}
}
