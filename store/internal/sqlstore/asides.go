package sqlstore

import (
	"context"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// asideColumns are in the order of rows.Aside.Dest. The order key is not called
// "key": MySQL reserves that.
var asideColumns = `a.id, a.grp, a.identity, a.state, a.cause, a.attempts, a.early, a.owns_key, a.due, a.created, a.updated,
	a.dedup_key, a.position, a.destination, a.part, a.order_key, a.message_id, a.time, a.stamp, a.headers, a.body, a.crc_state, a.crc_fixed, a.crc_body`

func readAsides(ctx context.Context, q Querier, where string, args ...any) ([]rollcall.Aside, error) {
	var out []rollcall.Aside
	err := q.Query(ctx, "SELECT "+asideColumns+" FROM rollcall.asides a WHERE "+where, args, func(r Row) error {
		var row rows.Aside
		if err := r.Scan(row.Dest()...); err != nil {
			return err
		}
		a, err := row.Open()
		out = append(out, a)
		return err
	})
	return out, err
}

// isOpen is the condition of the partial indexes, where there are any.
const isOpen = "state IN ('waiting', 'dead', 'parked')"

// Asides reads the rows set aside, without locks.
type Asides struct{ *Core }

// Due returns rows that are waiting and due (or were written after now), oldest
// first. A row that is not early comes only if it is the first of its Key that
// waits in order, due or not; rows of the empty Key have no order; an early one
// neither waits for others nor holds them back.
func (a Asides) Due(ctx context.Context, group string, now time.Time, max int) ([]rollcall.Aside, error) {
	q, err := a.Database.Read()
	if err != nil {
		return nil, err
	}
	at := rows.Nanos(now)
	due, err := readAsides(ctx, q, `a.grp = ? AND a.state = 'waiting' AND (a.due <= ? OR a.updated > ?)
		AND (a.early = true OR a.order_key = '' OR a.id = (SELECT MIN(b.id) FROM rollcall.asides b
			WHERE b.grp = a.grp AND b.order_key = a.order_key AND b.state = 'waiting' AND b.early = false))
		ORDER BY a.id LIMIT ?`, group, at, at, most(max))
	return due, a.Database.Wrap("read the rows due", err)
}

func most(n int) int {
	if n <= 0 {
		return 100
	}
	return n
}

// List returns rows by id, from filter.After on.
func (a Asides) List(ctx context.Context, group string, f rollcall.AsideFilter) ([]rollcall.Aside, error) {
	q, err := a.Database.Read()
	if err != nil {
		return nil, err
	}
	where, list := "a.grp = ? AND a.id > ?", []any{group, f.After}
	and := func(condition string, args []any) { where, list = where+" AND "+condition, append(list, args...) }
	if len(f.States) == 0 {
		and("a."+isOpen, nil)
	} else {
		states := make([]string, len(f.States))
		for i, s := range f.States {
			states[i] = string(s)
		}
		and(in(a.D, "a.state", states))
	}
	if len(f.IDs) > 0 {
		and(in(a.D, "a.id", f.IDs))
	}
	if f.Destination != "" {
		and("a.destination = ?", args(f.Destination))
	}
	if f.Key != "" {
		and("a.order_key = ?", args([]byte(f.Key)))
	}
	out, err := readAsides(ctx, q, where+" ORDER BY a.id LIMIT ?", append(list, most(f.Max))...)
	return out, a.Database.Wrap("list the rows set aside", err)
}

// TxAsides changes the rows set aside, in a transaction.
type TxAsides struct{ Records }

// Queues reads which of the Keys have rows waiting. The empty Key has no order
// and never any.
func (t TxAsides) Queues(ctx context.Context, group string, keys []string) (map[string]rollcall.Queue, error) {
	out := map[string]rollcall.Queue{}
	if some, err := t.anyWaits(ctx, group, keys); err != nil || !some {
		return out, t.Database.Wrap("read whether keys wait", err)
	}
	err := chunks(t.D, orderKeys(keys), func(part [][]byte) error {
		which, list := in(t.D, "order_key", part)
		query := `SELECT order_key, COALESCE(MIN(CASE WHEN early = false THEN id END), 0), MAX(CASE WHEN early = true THEN 1 ELSE 0 END)
			FROM rollcall.asides WHERE grp = ? AND state = 'waiting' AND ` + which + ` GROUP BY order_key`
		return t.Q.Query(ctx, query, append(args(group), list...), func(r Row) error {
			var key []byte
			var q rollcall.Queue
			var early int
			err := r.Scan(&key, &q.First, &early)
			q.Early = early == 1
			out[string(key)] = q
			return err
		})
	})
	if err != nil {
		return nil, t.Database.Wrap("read which keys wait", err)
	}
	return out, nil
}

// anyWaits reports whether there can be a row that waits. Where each key is
// spelled out in the question, a short one comes first: mostly nobody waits.
func (t TxAsides) anyWaits(ctx context.Context, group string, keys []string) (some bool, err error) {
	if t.D.Arrays || len(keys) == 0 {
		return len(keys) > 0, nil
	}
	err = t.Q.Query(ctx, "SELECT 1 FROM rollcall.asides WHERE grp = ? AND state = 'waiting' LIMIT 1", args(group), func(Row) error {
		some = true
		return nil
	})
	return some, err
}

// Assume locks rolls that are believed to be as given, where nobody is believed
// to wait for the keys, and finds out with the next statement.
func (t TxAsides) Assume(ctx context.Context, group string, keys []string, rolls []rollcall.RollRow) error {
	err := chunks(t.D, orderKeys(keys), func(part [][]byte) error {
		which, list := in(t.D, "order_key", part)
		return expect(ctx, t.Q, "SELECT 1 FROM rollcall.asides WHERE grp = ? AND state = 'waiting' AND "+which+" LIMIT 1", append(args(group), list...),
			func() (func(Row) error, func() error) {
				waits := 0
				return func(Row) error { waits++; return nil }, func() error { return outdated(waits > 0, "a row waits for one of the keys") }
			})
	})
	if err != nil {
		return err
	}
	return t.assumeRolls(ctx, group, rolls)
}

// orderKeys leaves out the empty Key.
func orderKeys(keys []string) [][]byte {
	out := make([][]byte, 0, len(keys))
	for _, k := range keys {
		if k != "" {
			out = append(out, []byte(k))
		}
	}
	return out
}

func identities(ids []rollcall.Identity) [][]byte {
	out := make([][]byte, len(ids))
	for i := range ids {
		out[i] = ids[i][:]
	}
	return out
}

// Put inserts rows; of a row that is an attempt the new one takes the place,
// with a new id: it came to wait only now, behind those of its Key that wait
// already. Any other row of the same identity stays and the new one is dropped.
func (t TxAsides) Put(ctx context.Context, group string, aside []rollcall.Aside) (int, error) {
	put := 0
	for i := range aside {
		n, err := t.put(ctx, group, rows.NewAside(group, &aside[i]))
		if err != nil {
			return 0, t.Database.Wrap("set messages aside", err)
		}
		put += n
	}
	return put, nil
}

func (t TxAsides) put(ctx context.Context, group string, r *rows.Aside) (int, error) {
	a, m := &r.Aside, &r.Aside.Message
	err := t.Q.Later(ctx, "DELETE FROM rollcall.asides WHERE grp = ? AND identity = ? AND state = 'attempt'", group, r.Identity)
	if err != nil {
		return 0, err
	}
	query, list := t.D.insert("asides", 1, t.D.nothing("grp, identity"),
		value("grp", "text", group), list("identity", "bytea", [][]byte{r.Identity}), value("state", "text", r.State), value("cause", "bytea", r.Cause),
		value("attempts", "int", a.Attempts), value("early", "boolean", a.Early), value("owns_key", "boolean", a.OwnsKey),
		value("due", "bigint", r.Due), value("created", "bigint", r.Created), value("updated", "bigint", r.Updated),
		value("dedup_key", "bytea", r.DedupKey), value("life", "bytea", r.Life()), value("position", "bytea", r.Position),
		value("destination", "text", m.Destination), value("part", "int", m.Partition), value("order_key", "bytea", r.Key),
		value("message_id", "bytea", r.ID), value("time", "bytea", r.Time), value("stamp", "bytea", r.Stamp), value("headers", "bytea", r.Headers),
		value("body", "bytea", r.Body), value("crc_state", "bigint", r.StateSum), value("crc_fixed", "bigint", r.FixedSum),
		value("crc_body", "bigint", r.ContentsSum))
	n, err := t.Q.Exec(ctx, query, list...)
	return int(n), err
}

// Turn changes a row if its state is one of from, and reports whether it did.
// The row is locked and its state read first: a count of changed rows does not
// tell an unchanged row from one in another state everywhere.
func (t TxAsides) Turn(ctx context.Context, group string, id int64, from []rollcall.AsideState, to rollcall.AsideChange) (bool, error) {
	is := false
	err := t.Q.Query(ctx, "SELECT state FROM rollcall.asides WHERE grp = ? AND id = ? FOR UPDATE", args(group, id), func(r Row) error {
		var state string
		err := r.Scan(&state)
		for _, s := range from {
			is = is || string(s) == state
		}
		return err
	})
	if err != nil || !is {
		return false, t.Database.Wrap("turn a row set aside", err)
	}
	list := []any{string(to.State), []byte(to.Cause), to.Attempts, to.Early, to.OwnsKey, rows.Nanos(to.Due), rows.Nanos(to.Updated),
		rows.StateSum(to.State, to.Cause, to.Attempts, to.Early, to.OwnsKey)}
	set := "state = ?, cause = ?, attempts = ?, early = ?, owns_key = ?, due = ?, updated = ?, crc_state = ?"
	if rows.Over(to.State) {
		set += ", headers = NULL, body = NULL, crc_body = ?"
		list = append(list, rows.NoContents())
	}
	_, err = t.Q.Exec(ctx, "UPDATE rollcall.asides SET "+set+" WHERE grp = ? AND id = ?", append(list, group, id)...)
	return err == nil, t.Database.Wrap("turn a row set aside", err)
}

// Wake makes the early rows of the Keys due at a time. They are locked in one
// order first: two workers may wake the same ones.
func (t TxAsides) Wake(ctx context.Context, group string, keys []string, due time.Time) error {
	err := chunks(t.D, orderKeys(keys), func(part [][]byte) error {
		var ids []int64
		which, list := in(t.D, "order_key", part)
		err := t.Q.Query(ctx, `SELECT id FROM rollcall.asides WHERE grp = ? AND state = 'waiting' AND early = true AND `+which+
			` ORDER BY id FOR UPDATE`, append(args(group), list...), func(r Row) error {
			var id int64
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		which, list = in(t.D, "id", ids)
		return t.Q.Later(ctx, "UPDATE rollcall.asides SET due = ? WHERE grp = ? AND "+which, append(args(rows.Nanos(due), group), list...)...)
	})
	return t.Database.Wrap("wake early rows", err)
}

// Known reads and locks the rows of these identities, in one order.
func (t TxAsides) Known(ctx context.Context, group string, ids []rollcall.Identity) (map[rollcall.Identity]rollcall.Aside, error) {
	out := map[rollcall.Identity]rollcall.Aside{}
	err := chunks(t.D, identities(ids), func(part [][]byte) error {
		which, list := in(t.D, "a.identity", part)
		found, err := readAsides(ctx, t.Q, "a.grp = ? AND "+which+" ORDER BY a.id FOR UPDATE", append(args(group), list...)...)
		for _, a := range found {
			out[a.Identity] = a
		}
		return err
	})
	if err != nil {
		return nil, t.Database.Wrap("look for rows set aside", err)
	}
	return out, nil
}

// DropAttempts deletes the rows of these identities that are attempts.
func (t TxAsides) DropAttempts(ctx context.Context, group string, ids []rollcall.Identity) error {
	err := chunks(t.D, identities(ids), func(part [][]byte) error {
		which, list := in(t.D, "identity", part)
		return t.Q.Later(ctx, "DELETE FROM rollcall.asides WHERE grp = ? AND state = 'attempt' AND "+which, append(args(group), list...)...)
	})
	return t.Database.Wrap("drop attempts", err)
}

var (
	_ rollcall.Asides   = Asides{}
	_ rollcall.TxAsides = TxAsides{}
)
