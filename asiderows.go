package rollcall

import (
	"context"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// states are the names of the protocol's states.
var states = map[protocol.State]AsideState{protocol.RowWaiting: AsideWaiting, protocol.RowDead: AsideDead, protocol.RowParked: AsideParked,
	protocol.RowAttempt: AsideAttempt, protocol.RowDone: AsideDone, protocol.RowDiscarded: AsideDiscarded}

func stateName(s protocol.State) AsideState { return states[s] }

func stateNumber(name AsideState) protocol.State {
	for s, n := range states {
		if n == name {
			return s
		}
	}
	return 0
}

// setAside is step 7: rows are inserted, and the attempts of messages that are
// decided go.
func (t *transaction[X]) setAside(ctx context.Context, w *protocol.Work, a protocol.Action) error {
	rows := t.tx.Asides()
	if len(a.Wake) > 0 {
		if err := rows.Wake(ctx, t.group, a.Wake, t.config.Clock.Now()); err != nil {
			return err
		}
	}
	t.aside = make([]Aside, len(a.Put))
	for i, put := range a.Put {
		t.aside[i] = t.asideRow(&w.Items[put.Item], put)
	}
	if len(t.aside) > 0 {
		if _, err := rows.Put(ctx, t.group, t.aside); err != nil {
			return err
		}
	}
	if len(a.Drop) == 0 {
		return nil
	}
	return rows.DropAttempts(ctx, t.group, t.identities(w, a.Drop))
}

func (t *transaction[X]) asideRow(it *protocol.Item, put protocol.Put) Aside {
	now := t.config.Clock.Now()
	d := &t.subject.deliveries[it.Index]
	m := d.Message
	if put.State == protocol.RowAttempt {
		m.Body, m.Headers = nil, nil // the broker still has them
	}
	row := Aside{
		Identity: t.subject.identity(it.Index),
		State:    stateName(put.State),
		Cause:    it.Cause,
		Attempts: put.Attempts,
		Early:    put.Early,
		OwnsKey:  put.OwnsKey,
		DedupKey: DedupKey(it.Dedup),
		Created:  now,
		Updated:  now,
		Due:      now,
		Position: d.Position,
		Message:  m,
	}
	if !put.Now {
		row.Due = now.Add(t.delay(it.Fate, put.Attempts, it.Again))
	}
	return row
}

// delay is how long a row waits: behind another one it is looked at as soon as
// it is the first of its Key.
func (e *engine[X]) delay(f protocol.Fate, attempts int, again protocol.Delay) time.Duration {
	switch {
	case f == protocol.Behind:
		return 0
	case again.Set:
		return again.After
	}
	return backoff.Delay(max(0, attempts-1), e.config.Retry.First, e.config.Retry.Most)
}

// turn is a compare and set of a row's state.
func (t *transaction[X]) turn(ctx context.Context, w *protocol.Work, a protocol.Action) (bool, error) {
	rows, now := t.tx.Asides(), t.config.Clock.Now()
	if len(a.Wake) > 0 {
		return true, rows.Wake(ctx, t.group, a.Wake, now)
	}
	if a.Turn.To == 0 {
		return true, nil // it took effect: the claim stays
	}
	var err error
	switch {
	case a.Savepoint:
		t.unclaim, err = t.tx.Savepoint(ctx)
	case a.Undo:
		if err = t.unclaim(ctx); err == nil {
			err = failpoint.Hit(ctx, "aside-undone", len(w.Items))
		}
	}
	if err != nil {
		return false, err
	}
	c := a.Turn
	change := AsideChange{State: stateName(c.To), Cause: c.Cause, Attempts: c.Attempts, Early: c.Early, OwnsKey: c.OwnsKey, Due: now, Updated: now}
	if c.To == protocol.RowWaiting {
		change.Due = now.Add(t.delay(c.Fate, c.Attempts, c.Again))
	}
	return rows.Turn(ctx, t.group, c.Row, []AsideState{stateName(c.From)}, change)
}

// count adds what became of the messages to the durable counters, in the
// transaction that decided it, so that no kill can make them wrong.
func (t *transaction[X]) count(ctx context.Context, w *protocol.Work) error {
	c := Counts{Void: int64(w.Void), Lost: int64(w.Lost)}
	for i := range w.Items {
		if it := &w.Items[i]; !it.Counted {
			c.add(it)
		}
	}
	t.counts = c
	if c == (Counts{}) {
		return nil
	}
	return t.tx.Records().Count(ctx, t.group, t.subject.partition.Destination, t.slot(t.hold), c)
}

func (c *Counts) add(it *protocol.Item) {
	switch it.Fate {
	case protocol.Applied:
		c.Applied++
	case protocol.Repeated:
		c.Repeated++
	case protocol.Stale:
		c.Stale++
	case protocol.Filtered:
		c.Filtered++
	}
	if it.Copied {
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
