package effect

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// pieces calls f for parts of n items whose sizes are few, so that few texts
// are prepared: as many as run fastest together, then a quarter, then one.
func pieces(n, best int, f func(from, to int) error) error {
	for from := 0; from < n; {
		size := best
		for size > n-from {
			size = (size + 3) / 4
		}
		if err := f(from, from+size); err != nil {
			return err
		}
		from += size
	}
	return nil
}

// load reads what is in the database of the rows touched, where the mode has to
// know.
func (b *batch) load(ctx context.Context, look bool) error {
	for _, g := range b.ts.targets {
		e := g.entries[0]
		columns := e.looksAt()
		if len(columns) == 0 || e.t.Mode == Insert && !look {
			continue
		}
		states := b.order[g.index]
		err := pieces(len(states), b.ts.d.RowsPerStatement(len(e.key)), func(from, to int) error {
			return b.loadPiece(ctx, g, e, columns, states[from:to])
		})
		if err != nil {
			return fmt.Errorf("effect.table %s: read the rows: %w", e.t.Name, err)
		}
	}
	return nil
}

// loadPiece joins a list of keys with the table. The number of the key comes
// back, not the key, and a "+" keeps the driver from guessing at dates.
func (b *batch) loadPiece(ctx context.Context, g *target, e *entry, columns []int, states []*rowState) error {
	d := b.ts.d
	var list, on, out []string
	var args []any
	for i, s := range states {
		list = append(list, fmt.Sprintf("(%d%s)", i, strings.Repeat(", ?", len(s.key))))
		args = append(args, s.key...)
	}
	for i, k := range g.key {
		on = append(on, fmt.Sprintf("t.%s = v.column%d", d.Ident(k), i+2))
	}
	for _, c := range columns {
		out = append(out, "+t."+d.Ident(e.names[c]))
	}
	query := "SELECT v.column1, " + strings.Join(out, ", ") + " FROM (VALUES " + strings.Join(list, ", ") + ") v CROSS JOIN " +
		d.Ident(g.name) + " t ON " + strings.Join(on, " AND ")
	rows, err := b.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scanState(rows, columns, states); err != nil {
			return err
		}
	}
	return rows.Err()
}

func scanState(rows *sql.Rows, columns []int, states []*rowState) error {
	number, current := 0, make([]any, len(columns))
	into := []any{&number}
	for i := range current {
		into = append(into, &current[i])
	}
	if err := rows.Scan(into...); err != nil {
		return err
	}
	states[number].exists, states[number].current = true, current
	return nil
}

// write brings the states into the database: first the rows deleted, then, in
// rounds, what was written to each row in order.
func (b *batch) write(ctx context.Context) error {
	for _, g := range b.ts.targets {
		if err := b.writeTarget(ctx, g); err != nil {
			return fmt.Errorf("effect.table %s: %w", g.name, err)
		}
	}
	return nil
}

func (b *batch) writeTarget(ctx context.Context, g *target) error {
	var gone []*rowState
	rounds := 0
	for _, s := range b.order[g.index] {
		if s.deleted {
			gone = append(gone, s)
		}
		rounds = max(rounds, len(s.writes))
	}
	if err := b.delete(ctx, g, gone); err != nil {
		return err
	}
	for round := range rounds {
		for _, e := range g.entries {
			var rows [][]any
			for _, s := range b.order[g.index] {
				if round < len(s.writes) && s.writes[round].e == e {
					rows = append(rows, s.writes[round].values)
				}
			}
			if err := b.insert(ctx, e, rows); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *batch) delete(ctx context.Context, g *target, gone []*rowState) error {
	d := b.ts.d
	return pieces(len(gone), d.RowsPerStatement(len(g.key)), func(from, to int) error {
		var args []any
		for _, s := range gone[from:to] {
			args = append(args, s.key...)
		}
		where := d.Ident(g.key[0]) + " IN " + dialect.List(to-from)
		if len(g.key) > 1 {
			where = "(" + d.Idents(g.key) + ") IN (VALUES " + dialect.Rows(to-from, len(g.key)) + ")"
		}
		_, err := b.tx.ExecContext(ctx, "DELETE FROM "+d.Ident(g.name)+" WHERE "+where, args...)
		return err
	})
}

// short is ctx for a statement that is over in no time: it is enough to look at
// ctx before it. A driver may start a goroutine to watch a context that can
// end. Triggers take their time, so tables that have some keep theirs.
func (b *batch) short(ctx context.Context) context.Context {
	if b.ts.serial {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

func (b *batch) insert(ctx context.Context, e *entry, rows [][]any) error {
	return pieces(len(rows), b.ts.d.RowsPerStatement(len(e.names)), func(from, to int) error {
		args := make([]any, 0, (to-from)*len(e.names))
		for _, r := range rows[from:to] {
			args = append(args, r...)
		}
		err := ctx.Err()
		if err == nil {
			_, err = b.tx.ExecContext(b.short(ctx), e.text(to-from), args...)
		}
		if e.t.Mode == Insert && len(e.key) > 0 && b.ts.d.Conflict(err) {
			return fmt.Errorf("%w: %w", errConflict, err)
		}
		return err
	})
}

// text is the statement for so many rows.
func (e *entry) text(rows int) string {
	return e.insert + dialect.Rows(rows, len(e.names)) + e.tail
}
