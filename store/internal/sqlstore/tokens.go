package sqlstore

import (
	"cmp"
	"context"
	"slices"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// whereHolder is the primary key of a holder's rows.
const whereHolder = " WHERE grp = ? AND worker = ? AND destination = ? AND number = ?"

func compareHolders(a, b rollcall.Holder) int {
	return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Partition.Destination, b.Partition.Destination),
		cmp.Compare(a.Partition.Number, b.Partition.Number))
}

// Acquire raises the token of each holder, all in one transaction that locks
// them in one order. A holder without a row begins above every token that was
// ever deleted. It waits for the transaction of a previous owner, whose lock is
// bounded by deadlines at the server.
func (c *Core) Acquire(ctx context.Context, group string, holders []rollcall.Holder) ([]rollcall.Acquired, error) {
	out := make([]rollcall.Acquired, len(holders))
	order := make([]int, len(holders))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compareHolders(holders[a], holders[b]) })
	err := c.Database.Write(ctx, "acquire tokens", func(q Querier) error {
		for _, i := range order {
			var err error
			if out[i], err = c.acquire(ctx, q, group, holders[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Core) acquire(ctx context.Context, q Querier, group string, h rollcall.Holder) (rollcall.Acquired, error) {
	var token int64
	a := rollcall.Acquired{Clean: true}
	key := rows.HolderArgs(group, h)
	insert, list := c.D.insert("tokens", 1, c.D.nothing("grp, worker, destination, number"), value("grp", "text", group), value("worker", "text", h.Worker),
		value("destination", "text", h.Partition.Destination), list("number", "int", []int32{h.Partition.Number}),
		expr("token", "(SELECT token_base FROM rollcall.schema_version)"), expr("released", "true"), expr("fenced", "false"))
	if err := q.Later(ctx, insert, list...); err != nil {
		return a, err
	}
	err := q.Query(ctx, "SELECT token, released FROM rollcall.tokens"+whereHolder+" FOR UPDATE", key, func(r Row) error {
		return r.Scan(&token, &a.Clean)
	})
	if err != nil {
		return a, err
	}
	a.Token = rollcall.Token(token + 1)
	err = q.Later(ctx, "UPDATE rollcall.tokens SET token = ?, released = false, fenced = false"+whereHolder, append(args(token+1), key...)...)
	if err != nil {
		return a, err
	}
	return a, c.beat(ctx, q, group, h)
}

// beat writes the sign of life, in a row beside the token's: on the token's row
// it would wait for every batch.
func (c *Core) beat(ctx context.Context, q Querier, group string, h rollcall.Holder) error {
	query, list := c.D.insert("beats", 1, c.D.upsert("grp, worker, destination, number", "beat = new(beat)"),
		value("grp", "text", group), value("worker", "text", h.Worker), value("destination", "text", h.Partition.Destination),
		list("number", "int", []int32{h.Partition.Number}), expr("beat", "(SELECT {nanos})"))
	return q.Later(ctx, query, list...)
}

// Release marks tokens as cleanly given back; an older one is ignored.
func (c *Core) Release(ctx context.Context, holds []rollcall.Hold) error {
	holds = slices.SortedFunc(slices.Values(holds), func(a, b rollcall.Hold) int { return compareHolders(a.Holder, b.Holder) })
	return c.Database.Write(ctx, "release tokens", func(q Querier) error {
		for _, h := range holds {
			err := q.Later(ctx, "UPDATE rollcall.tokens SET released = true"+whereHolder+" AND token = ?",
				append(rows.HolderArgs(h.Group, h.Holder), int64(h.Token))...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Fence share-locks the token's row to the end of the transaction and compares.
func Fence(ctx context.Context, q Querier, hold rollcall.Hold) error {
	return expect(ctx, q, "SELECT token FROM rollcall.tokens"+whereHolder+" {share}", rows.HolderArgs(hold.Group, hold.Holder),
		func() (func(Row) error, func() error) {
			current, found := int64(0), false
			return func(r Row) error { found = true; return r.Scan(&current) }, func() error { return rows.Fence(hold, current, found) }
		})
}
