package sqlstore

import (
	"context"
	"slices"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// Upkeep is what a store needs beside batches.
type Upkeep struct{ *Core }

// Beat writes the sign of life of holders by the server's clock. Of a token that
// is no longer the current one it writes nothing.
func (u Upkeep) Beat(ctx context.Context, holds []rollcall.Hold) error {
	holds = slices.SortedFunc(slices.Values(holds), func(a, b rollcall.Hold) int { return compareHolders(a.Holder, b.Holder) })
	return u.Database.Write(ctx, "write the sign of life", func(q Querier) error {
		for _, h := range holds {
			key := rows.HolderArgs(h.Group, h.Holder)
			err := q.Later(ctx, "UPDATE rollcall.beats SET beat = {nanos}"+whereHolder+
				" AND EXISTS (SELECT 1 FROM rollcall.tokens t WHERE t.grp = ? AND t.worker = ? AND t.destination = ? AND t.number = ? AND t.token = ?)",
				append(append(slices.Clone(key), key...), int64(h.Token))...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Tally sums the counters and the states of the rows set aside, by destination.
func (u Upkeep) Tally(ctx context.Context, group string) ([]rollcall.Tally, error) {
	q, err := u.Database.Read()
	if err != nil {
		return nil, err
	}
	var out []rollcall.Tally
	err = q.Query(ctx, `SELECT destination, SUM(applied), SUM(repeated), SUM(stale), SUM(filtered), SUM(discarded), SUM(copies), SUM(void), SUM(lost),
			SUM(waiting), SUM(dead), SUM(parked) FROM (
		SELECT destination, applied, repeated, stale, filtered, discarded, copies, void, lost, 0 AS waiting, 0 AS dead, 0 AS parked
			FROM rollcall.counts WHERE grp = ?
		UNION ALL
		SELECT destination, 0, 0, 0, 0, 0, 0, 0, 0, CASE state WHEN 'waiting' THEN 1 ELSE 0 END, CASE state WHEN 'dead' THEN 1 ELSE 0 END,
			CASE state WHEN 'parked' THEN 1 ELSE 0 END FROM rollcall.asides WHERE grp = ? AND `+isOpen+`) AS both_of
		GROUP BY destination ORDER BY destination`, args(group, group), func(r Row) error {
		var t rollcall.Tally
		c := &t.Counts
		err := r.Scan(&t.Destination, &c.Applied, &c.Repeated, &c.Stale, &c.Filtered, &c.Discarded, &c.Copies, &c.Void, &c.Lost, &t.Waiting, &t.Dead, &t.Parked)
		out = append(out, t)
		return err
	})
	if err != nil {
		return nil, u.Database.Wrap("tally", err)
	}
	return out, nil
}

// Sweep removes what is older than the window, in small transactions. Its order
// matters: first the tokens of silent holders are raised, so that a worker that
// wakes later cannot commit a message whose key was removed. After an error
// what was removed until then is removed, and the count says so.
func (u Upkeep) Sweep(ctx context.Context, group string, window time.Duration) (rollcall.Swept, error) {
	var swept rollcall.Swept
	w := sweep{Core: u.Core, group: group}
	q, err := u.Database.Read()
	if err == nil {
		err = u.Database.Wrap("ask the server's clock", q.Query(ctx, "SELECT {nanos}", nil, func(r Row) error { return r.Scan(&w.now) }))
	}
	if err != nil {
		return swept, err
	}
	w.old = w.now - window.Nanoseconds()
	for _, step := range []struct {
		what string
		into *int
		run  func(context.Context) (int, error)
	}{
		{"raise the tokens of silent holders", &swept.Fenced, func(ctx context.Context) (int, error) { return w.fence(ctx, w.now-window.Nanoseconds()/2) }},
		{"remove old keys", &swept.Keys, w.keys},
		{"remove rolls of silent senders", &swept.Rolls, w.rolls},
		{"remove finished rows set aside", &swept.Asides, w.asides},
		{"remove old results", &swept.Results, w.results},
		{"remove claims that are over", &swept.Claims, w.claims},
		{"remove tokens of gone workers", new(int), w.workers},
	} {
		n, err := step.run(ctx)
		*step.into = n
		if err != nil {
			return swept, u.Database.Wrap("sweep: "+step.what, err)
		}
	}
	return swept, nil
}
