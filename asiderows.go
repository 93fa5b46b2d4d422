package rollcall

import (
	"context"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
)

// writeAsides is step 7: what failed, waits, is dead or parked goes aside in
// the transaction in which its numbers enter their rolls.
func (e *engine[X]) writeAsides(ctx context.Context, tx Tx[X], w *work) error {
	var rows []Aside
	var finished []Identity
	applied := make(map[string]bool)
	for _, it := range w.items {
		if it.fate == fateApplied {
			applied[it.delivery.Key] = true
		}
	}
	for _, it := range w.items {
		if state, ok := asideState(it.fate); ok {
			row := e.asideRow(it, state, it.spent())
			if row.Early && applied[it.delivery.Key] {
				row.Due = row.Created // what it waits for may have come in this very batch
			}
			rows = append(rows, row)
		} else if it.suspect {
			finished = append(finished, it.id())
		}
	}
	if len(rows) > 0 {
		if _, err := tx.Asides().Put(ctx, e.group, rows); err != nil {
			return err
		}
	}
	w.aside = rows
	if len(finished) == 0 {
		return nil
	}
	return tx.Asides().DropAttempts(ctx, e.group, finished)
}

func asideState(f fate) (AsideState, bool) {
	switch f {
	case fateUnknown:
		return AsideParked, true
	case fateDead:
		return AsideDead, true
	case fateBehind, fateEarly, fateWaiting:
		return AsideWaiting, true
	}
	return "", false
}

// spent is how many attempts the message has had after this transaction.
func (it *item) spent() int {
	switch it.fate {
	case fateWaiting, fateDead:
		return it.attempts + 1
	}
	return it.attempts
}

func (e *engine[X]) asideRow(it *item, state AsideState, attempts int) Aside {
	now := e.config.Clock.Now()
	m := it.delivery.Message
	if state == AsideAttempt {
		m.Body, m.Headers = nil, nil // the broker still has them
	}
	return Aside{
		Identity: it.id(),
		State:    state,
		Cause:    it.cause,
		Attempts: attempts,
		Early:    it.fate == fateEarly,
		OwnsKey:  it.hasKey && state != AsideParked && state != AsideAttempt,
		DedupKey: it.key,
		Created:  now,
		Updated:  now,
		Due:      now.Add(e.delay(it.fate, attempts, it.again)),
		Position: it.delivery.Position,
		Message:  m,
	}
}

// delay is how long a row waits: behind another one it is looked at as soon as
// it is the first of its Key.
func (e *engine[X]) delay(f fate, attempts int, again againDelay) time.Duration {
	switch {
	case f == fateBehind:
		return 0
	case again.set:
		return again.after
	}
	return backoff.Delay(max(0, attempts-1), e.config.Retry.First, e.config.Retry.Most)
}

// count adds what became of the messages to the durable counters, in the
// transaction that decided it, so that no kill can make them wrong.
func (e *engine[X]) count(ctx context.Context, tx Tx[X], w *work) (Counts, error) {
	var c Counts
	for _, it := range w.items {
		if !it.counted {
			c.add(it)
		}
	}
	if c == (Counts{}) {
		return c, nil
	}
	return c, tx.Records().Count(ctx, e.group, w.batch.Partition.Destination, e.slot(w.hold), c)
}

func (c *Counts) add(it *item) {
	switch it.fate {
	case fateApplied:
		c.Applied++
	case fateRepeated:
		c.Repeated++
	case fateStale:
		c.Stale++
	case fateFiltered:
		c.Filtered++
	}
	if it.copied {
		c.Copies++
	}
}

// asideSlots bounds the counter rows of workers.
const asideSlots = 16

// slot spreads counter rows: a partition has its own, workers share a few.
func (e *engine[X]) slot(h Hold) int32 {
	if h.Holder.Worker == "" {
		return h.Holder.Partition.Number
	}
	return -1 - int32(OriginOf(h.Holder.Worker)%asideSlots)
}

func keysOf(items []*item) []string {
	var keys []string
	for _, it := range items {
		if it.fate == fateRun && it.delivery.Key != "" {
			keys = append(keys, it.delivery.Key)
		}
	}
	return distinct(keys)
}

func distinct(keys []string) []string {
	seen := make(map[string]bool, len(keys))
	out := keys[:0:0]
	for _, k := range keys {
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	return out
}
