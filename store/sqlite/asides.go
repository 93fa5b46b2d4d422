package sqlite

import (
	"context"
	"database/sql"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

func readAsides(ctx context.Context, q querier, where string, args ...any) ([]rollcall.Aside, error) {
	var out []rollcall.Aside
	err := each(ctx, q, "SELECT "+rows.AsideColumns+" FROM rollcall_asides a WHERE "+where, args, func(r *sql.Rows) error {
		var row rows.Aside
		if err := r.Scan(row.Dest()...); err != nil {
			return err
		}
		a, err := row.Open()
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
	at := rows.Nanos(now)
	due, err := readAsides(ctx, a.s.reader, `a.grp = ? AND a.state = 'waiting' AND (a.due <= ? OR a.updated > ?)
		AND (a.early = 1 OR a.key = x'' OR a.id = (SELECT b.id FROM rollcall_asides b
			WHERE b.grp = a.grp AND b.key = a.key AND b.key <> x'' AND b.state = 'waiting' AND b.early = 0 ORDER BY b.id LIMIT 1))
		ORDER BY a.id LIMIT ?`, group, at, at, most(max))
	return due, a.s.wrap("read the rows due", err)
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
	list, err := readAsides(ctx, a.s.reader, where+" ORDER BY a.id LIMIT ?", append(args, most(f.Max))...)
	return list, a.s.wrap("list the rows set aside", err)
}
