package effect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// pieces calls f for parts of n items with so many values each. Every size of a
// part is a text of its own: for SQLite, whose driver keeps prepared texts, as
// many as run fastest together, then a quarter, then one.
func (b *batch) pieces(n, values int, f func(from, to int) error) error {
	best := b.ts.d.RowsPerStatement(values)
	for from := 0; from < n; {
		size := best
		for size > n-from {
			if size = (size + 3) / 4; !b.ts.alone() {
				size = n - from
			}
		}
		if err := f(from, from+size); err != nil {
			return err
		}
		from += size
	}
	return nil
}

// writeOrUndo writes, and undoes it if a row appears that we had not seen. Names
// that begin with rollcall_ are the stores' own savepoints, which they guard.
func (b *batch) writeOrUndo(ctx context.Context, look bool) error {
	if !b.mayConflict(look) {
		return b.write(ctx)
	}
	if _, err := b.c.Exec(ctx, "SAVEPOINT effect_rows"); err != nil {
		return err
	}
	err := b.write(ctx)
	if err != nil && !errors.Is(err, errConflict) {
		return err
	}
	if err != nil {
		if _, err := b.c.Exec(ctx, "ROLLBACK TO SAVEPOINT effect_rows"); err != nil {
			return err
		}
	}
	if _, err := b.c.Exec(ctx, "RELEASE SAVEPOINT effect_rows"); err != nil {
		return err
	}
	return err
}

// mayConflict reports whether rows are inserted that may be there already, so
// that what was decided would not hold.
func (b *batch) mayConflict(look bool) bool {
	if b.ts.alone() {
		return !look
	}
	for _, g := range b.ts.targets {
		for _, s := range b.order[g.index] {
			if len(s.writes) > 0 && !s.found && s.writes[0].e.decides() {
				return true
			}
		}
	}
	return false
}

// decides: what becomes of a message depends on the row that is there.
func (e *entry) decides() bool { return len(e.looksAt()) > 0 }

// write brings the states into the database: first the rows deleted, then, in
// rounds, what was written to each row in order.
func (b *batch) write(ctx context.Context) error {
	for _, g := range b.ts.targets {
		if err := b.writeTarget(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) writeTarget(ctx context.Context, g *target) error {
	var gone []*rowState
	rounds := 0
	for _, s := range b.order[g.index] {
		// A row that was not there when we locked stays out: one that another has made
		// since would be locked out of order.
		if s.deleted && (s.found || b.ts.alone()) {
			gone = append(gone, s)
		}
		rounds = max(rounds, len(s.writes))
	}
	if err := b.delete(ctx, g, gone); err != nil {
		return g.entries[0].statement("delete", err, b.ts.d)
	}
	for round := range rounds {
		for _, e := range g.entries {
			if err := b.writeRound(ctx, e, round); err != nil {
				return e.statement("write", err, b.ts.d)
			}
		}
	}
	if rounds == 0 || b.ts.d.Family != dialect.FamilyMySQL || len(g.key) == 0 {
		return nil
	}
	return b.verify(ctx, g)
}

// writeRound writes the rows that the entry changed in this round: those that
// must be new apart from those that may be there.
func (b *batch) writeRound(ctx context.Context, e *entry, round int) error {
	var fresh, rows [][]any
	for _, s := range b.order[e.target.index] {
		switch {
		case round >= len(s.writes) || s.writes[round].e != e:
		case e.fresh(b.ts, s):
			fresh = append(fresh, s.writes[round].values)
		default:
			rows = append(rows, s.writes[round].values)
		}
	}
	if err := b.insert(ctx, e, &e.insert, fresh); err != nil {
		return err
	}
	return b.insert(ctx, e, &e.upsert, rows)
}

// fresh reports whether the row must be new. Nobody makes rows beside us in
// SQLite, so there one statement does for all.
func (e *entry) fresh(ts *Tables, s *rowState) bool {
	return len(e.key) == 0 || e.t.Mode == Insert || e.decides() && !s.found && !ts.alone()
}

func (b *batch) delete(ctx context.Context, g *target, gone []*rowState) error {
	d, e := b.ts.d, g.entries[0]
	return b.pieces(len(gone), len(g.key), func(from, to int) error {
		var args []any
		for _, s := range gone[from:to] {
			for _, v := range s.key {
				args = append(args, given(v))
			}
		}
		query := "DELETE FROM " + d.Ident(g.name) + " WHERE "
		switch {
		case d.Family == dialect.FamilyPostgreSQL:
			query = "DELETE FROM " + d.Ident(g.name) + " t USING " + unnest(len(g.key), "") + " WHERE " + e.sameKey(d, "t", g.key)
			args = columnsOf(len(g.key), to-from, func(row, i int) any { return gone[from+row].key[i] })
		case d.Family == dialect.FamilyMySQL:
			query += e.among(d, "", g.key, to-from)
		case len(g.key) == 1:
			query += d.Ident(g.key[0]) + " IN " + dialect.List(to-from)
		default:
			query += "(" + d.Idents(g.key) + ") IN (VALUES " + dialect.Rows(to-from, len(g.key)) + ")"
		}
		_, err := b.c.Exec(ctx, query, args...)
		return err
	})
}

// short is ctx for a statement that is over in no time: it is enough to look at
// ctx before it. A driver may start a goroutine to watch a context that can
// end. Triggers take their time, so tables that have some keep theirs; and so
// does a server, which can hang.
func (b *batch) short(ctx context.Context) context.Context {
	if b.ts.serial || !b.ts.alone() {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

func (b *batch) insert(ctx context.Context, e *entry, t *sentence, rows [][]any) error {
	return b.pieces(len(rows), len(e.names), func(from, to int) error {
		for from < to {
			next := e.fitting(rows, from, to)
			if err := b.insertPiece(ctx, e, t, rows[from:next]); err != nil {
				return err
			}
			from = next
		}
		return nil
	})
}

// fitting is how far rows go into one statement.
func (e *entry) fitting(rows [][]any, from, to int) int {
	size := 0
	for i := from; i < to && e.most > 0; i++ {
		if size += sizeOf(rows[i]); size > e.most && i > from {
			return i
		}
	}
	return to
}

func (b *batch) insertPiece(ctx context.Context, e *entry, t *sentence, rows [][]any) error {
	var args []any
	if t.whole {
		args = columnsOf(len(e.names), len(rows), func(row, i int) any { return rows[row][i] })
	} else {
		args = make([]any, 0, len(rows)*len(e.names))
		for _, r := range rows {
			for _, v := range r {
				args = append(args, given(v))
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := b.c.Exec(b.short(ctx), t.of(len(rows), len(e.names)), args...)
	must := t == &e.insert && len(e.key) > 0 // the rows must be new
	switch {
	case must && !t.whole && (b.ts.d.Conflict(err) || b.ts.d.TwoRows(err)):
		return fmt.Errorf("%w: %w", errConflict, err)
	case err == nil && must && t.whole && n < int64(len(rows)):
		return fmt.Errorf("%w: %d of %d rows were there", errConflict, int64(len(rows))-n, len(rows))
	}
	return err
}

// verify looks whether the index that decides is still there, after the rows
// were written: until COMMIT the table cannot change now. MySQL inserts
// happily without it.
func (b *batch) verify(ctx context.Context, g *target) error {
	args := []any{g.name}
	for _, k := range g.key {
		args = append(args, k)
	}
	rows, err := b.c.Query(ctx, dialect.HasUnique(len(g.key)), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var mode string
	n := 0
	for rows.Next() {
		if err := rows.Scan(&mode, &n); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	e := g.entries[0]
	if n == 0 {
		return e.noIndex()
	}
	if err := dialect.Strict(mode); err != nil {
		return e.fail("name", "%v", err)
	}
	return nil
}

// noIndex: the environment's fault, so that no message is blamed.
func (e *entry) noIndex() error {
	return e.fail("key", "the unique index on (%s) is gone, so nothing was written; create it again and work goes on by itself", strings.Join(e.t.Key, ", "))
}

// statement says where a statement failed.
func (e *entry) statement(what string, err error, d dialect.Dialect) error {
	switch {
	case d.NoIndex(err):
		return fmt.Errorf("%w: %w", e.noIndex(), err)
	case errors.Is(err, rollcall.ErrConfig):
		return err
	case d.TwoRows(err):
		return fmt.Errorf("effect.table %s: a row with another key has the same value in another unique index: %w", e.t.Name, err)
	case what == "write":
		return fmt.Errorf("effect.table %s: %w", e.t.Name, err)
	}
	return fmt.Errorf("effect.table %s: %s: %w", e.t.Name, what, err)
}
