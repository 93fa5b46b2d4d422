package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// asideColumns are in the order of scanAside.
const asideColumns = `id, grp, identity, state, cause, attempts, early, owns_key, due, created, updated,
	dedup_key, position, destination, part, key, message_id, time, stamp, headers, body, crc_state, crc_fixed, crc_body`

// asideRow is a row of rollcall_asides as it lies there.
type asideRow struct {
	aside                           rollcall.Aside
	group                           string
	identity, dedup, position       []byte
	key, id, time, stamp            []byte
	headers, body                   []byte
	due, created, updated           int64
	stateSum, fixedSum, contentsSum int64
}

// fixed is the sum over what never changes.
func (r *asideRow) fixed() int64 {
	m := &r.aside.Message
	return sum(r.group, r.identity, r.dedup, r.position, m.Destination, m.Partition, r.key, r.id, r.time, r.stamp, r.created)
}

// changing is the sum over what Turn writes, but for the times.
func changing(state rollcall.AsideState, cause string, attempts int, early, ownsKey bool) int64 {
	return sum(string(state), cause, attempts, early, ownsKey)
}

// fill computes the columns from the aside.
func (r *asideRow) fill(group string, a *rollcall.Aside) {
	m := &a.Message
	r.aside, r.group = *a, group
	r.identity, r.position = a.Identity[:], positionBytes(a.Position)
	if a.DedupKey != (rollcall.DedupKey{}) {
		r.dedup = a.DedupKey[:]
	}
	r.key, r.id = blob(string(m.Key)), blob(string(m.ID))
	r.time, r.stamp = timeBytes(m.Time), stampBytes(m.Stamp)
	r.due, r.created, r.updated = nanos(a.Due), nanos(a.Created), nanos(a.Updated)
	r.headers, r.body = headerBytes(m.Headers), m.Body
	if over(a.State) {
		r.headers, r.body = nil, nil
	}
	r.stateSum = changing(a.State, a.Cause, a.Attempts, a.Early, a.OwnsKey)
	r.fixedSum, r.contentsSum = r.fixed(), sum(r.headers, r.body)
}

// blob is never NULL.
func blob(s string) []byte { return append([]byte{}, s...) }

// over reports whether rows of the state keep no body.
func over(s rollcall.AsideState) bool {
	return s == rollcall.AsideDone || s == rollcall.AsideDiscarded
}

func scanAside(rows *sql.Rows) (rollcall.Aside, error) {
	var r asideRow
	a, m := &r.aside, &r.aside.Message
	err := rows.Scan(&a.ID, &r.group, &r.identity, &a.State, &a.Cause, &a.Attempts, &a.Early, &a.OwnsKey, &r.due, &r.created, &r.updated,
		&r.dedup, &r.position, &m.Destination, &m.Partition, &r.key, &r.id, &r.time, &r.stamp, &r.headers, &r.body,
		&r.stateSum, &r.fixedSum, &r.contentsSum)
	if err != nil {
		return *a, err
	}
	if err := r.open(); err != nil {
		return *a, fmt.Errorf("%w: row %d of rollcall_asides (group %q): %w: restore the store from a backup, "+
			"or look at the row with sqlite3; nothing was skipped", rollcall.ErrDamaged, a.ID, r.group, err)
	}
	return *a, nil
}

// open checks the sums and decodes the columns into the aside.
func (r *asideRow) open() error {
	a, m := &r.aside, &r.aside.Message
	switch {
	case r.stateSum != changing(a.State, a.Cause, a.Attempts, a.Early, a.OwnsKey):
		return fmt.Errorf("state %q, attempts and cause do not match their sum", a.State)
	case r.fixedSum != r.fixed() || len(r.identity) != len(a.Identity):
		return fmt.Errorf("identity, key, id, position and stamp do not match their sum")
	case r.contentsSum != sum(r.headers, r.body):
		return fmt.Errorf("headers and body do not match their sum")
	}
	a.Identity = rollcall.Identity(r.identity)
	if len(r.dedup) == len(a.DedupKey) {
		a.DedupKey = rollcall.DedupKey(r.dedup)
	}
	a.Due, a.Created, a.Updated = fromNanos(r.due), fromNanos(r.created), fromNanos(r.updated)
	m.Key, m.ID, m.Body = string(r.key), rollcall.MessageID(r.id), r.body
	var err error
	if a.Position, err = parsePosition(r.position); err != nil {
		return err
	}
	if m.Headers, err = parseHeaders(r.headers); err != nil {
		return err
	}
	if m.Time, err = parseTime(r.time); err != nil {
		return err
	}
	m.Stamp, err = parseStamp(r.stamp)
	return err
}

func readAsides(ctx context.Context, q querier, where string, args ...any) ([]rollcall.Aside, error) {
	var out []rollcall.Aside
	err := each(ctx, q, "SELECT "+asideColumns+" FROM rollcall_asides a WHERE "+where, args, func(r *sql.Rows) error {
		a, err := scanAside(r)
		out = append(out, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// asides reads the rows set aside, beside the writer and never waiting for it.
type asides struct{ s *Store }

// isOpen repeats, word for word, the condition of the partial indexes.
const isOpen = "state IN ('waiting', 'dead', 'parked')"

// Due returns rows that are waiting and due (or were written after now), oldest
// first. A row that is not early comes only if it is the first of its Key that
// waits in order, due or not; rows of the empty Key have no order; an early one
// neither waits for others nor holds them back.
func (a asides) Due(ctx context.Context, group string, now time.Time, max int) ([]rollcall.Aside, error) {
	if err := a.s.open(); err != nil {
		return nil, err
	}
	at := nanos(now)
	rows, err := readAsides(ctx, a.s.reader, `a.grp = ? AND a.state = 'waiting' AND (a.due <= ? OR a.updated > ?)
		AND (a.early = 1 OR a.key = x'' OR a.id = (SELECT b.id FROM rollcall_asides b
			WHERE b.grp = a.grp AND b.key = a.key AND b.key <> x'' AND b.state = 'waiting' AND b.early = 0 ORDER BY b.id LIMIT 1))
		ORDER BY a.id LIMIT ?`, group, at, at, most(max))
	return rows, a.s.wrap("read the rows due", err)
}

func most(n int) int {
	if n <= 0 {
		return 100
	}
	return n
}

// List returns rows by id, from filter.After on.
func (a asides) List(ctx context.Context, group string, f rollcall.AsideFilter) ([]rollcall.Aside, error) {
	if err := a.s.open(); err != nil {
		return nil, err
	}
	where, args := "a.grp = ? AND a.id > ?", []any{group, f.After}
	if len(f.States) == 0 {
		where += " AND a." + isOpen
	} else {
		where += " AND a.state IN " + dialect.List(len(f.States))
		for _, s := range f.States {
			args = append(args, string(s))
		}
	}
	if len(f.IDs) > 0 {
		where += " AND a.id IN " + dialect.List(len(f.IDs))
		for _, id := range f.IDs {
			args = append(args, id)
		}
	}
	if f.Destination != "" {
		where, args = where+" AND a.destination = ?", append(args, f.Destination)
	}
	if f.Key != "" {
		where, args = where+" AND a.key = ?", append(args, []byte(f.Key))
	}
	rows, err := readAsides(ctx, a.s.reader, where+" ORDER BY a.id LIMIT ?", append(args, most(f.Max))...)
	return rows, a.s.wrap("list the rows set aside", err)
}
