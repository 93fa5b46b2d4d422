package effect

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// load reads what is in the database of the rows touched, where the mode has to
// know; where others write at the same time it locks them, in the order of the
// keys, so that no two batches wait for each other.
func (b *batch) load(ctx context.Context, look bool) error {
	for _, g := range b.ts.targets {
		e, states := g.entries[0], b.order[g.index]
		if !b.ts.alone() && len(g.key) > 0 {
			sort.Slice(states, func(i, j int) bool { return states[i].id < states[j].id })
		}
		columns := e.looksAt()
		if len(columns) == 0 && (b.ts.alone() || !g.deletes()) || e.t.Mode == Insert && !look {
			continue
		}
		err := b.pieces(len(states), len(e.key), func(from, to int) error {
			return b.loadPiece(ctx, g, e, columns, states[from:to])
		})
		if err != nil {
			return e.statement("read the rows", err, b.ts.d)
		}
	}
	return nil
}

// deletes reports whether an entry deletes rows of it.
func (g *target) deletes() bool {
	for _, e := range g.entries {
		if e.t.Mode == Delete {
			return true
		}
	}
	return false
}

// query is a statement that reads states.
type query struct {
	text string
	args []any
	// keyed: the key comes first of each row, else the number of the state.
	keyed bool
}

func (b *batch) loadPiece(ctx context.Context, g *target, e *entry, columns []int, states []*rowState) error {
	d := b.ts.d
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = ", " + d.Given(e.columns[c], "t."+d.Ident(e.names[c]))
	}
	var q query
	switch d.Family {
	case dialect.FamilySQLite:
		q = g.numbered(d, strings.Join(out, ""), states)
	case dialect.FamilyMySQL:
		q = e.listed(d, g, strings.Join(out, ""), states)
	case dialect.FamilyPostgreSQL:
		q = e.joined(d, g, strings.Join(out, ""), states)
	}
	rows, err := b.c.Query(ctx, q.text, q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := b.scanState(rows, q, e, columns, states); err != nil {
			return err
		}
	}
	return rows.Err()
}

// numbered joins a list of keys with the table.
func (g *target) numbered(d dialect.Dialect, out string, states []*rowState) query {
	var list, on []string
	var args []any
	for i, s := range states {
		list = append(list, fmt.Sprintf("(%d%s)", i, strings.Repeat(", ?", len(s.key))))
		args = append(args, s.key...)
	}
	for i, k := range g.key {
		on = append(on, fmt.Sprintf("t.%s = v.column%d", d.Ident(k), i+2))
	}
	return query{text: "SELECT v.column1" + out + " FROM (VALUES " + strings.Join(list, ", ") + ") v CROSS JOIN " +
		d.Ident(g.name) + " t ON " + strings.Join(on, " AND "), args: args}
}

// joined joins arrays of keys with the table. The inner query, which locks,
// runs for one key after the other: in their order, and by the index, whatever
// the planner thinks of the size of the table. Keys stay, so rows that refer to
// ours by a foreign key can be written meanwhile, unless ours are deleted.
func (e *entry) joined(d dialect.Dialect, g *target, out string, states []*rowState) query {
	lock := " FOR NO KEY UPDATE"
	if g.deletes() {
		lock = " FOR UPDATE"
	}
	return query{text: "SELECT v.n, t.* FROM " + unnest(len(e.key), "n") + " CROSS JOIN LATERAL (SELECT " + strings.TrimPrefix(out, ", ") + " FROM " +
		d.Ident(g.name) + " t WHERE " + e.sameKey(d, "t", g.key) + lock + ") t", args: columnsOf(len(e.key), len(states), func(row, i int) any { return states[row].key[i] })}
}

// columnsOf are the values of rows, as one array of texts a column.
func columnsOf(columns, rows int, value func(row, column int) any) []any {
	args := make([]any, columns)
	for i := range args {
		array := make([]*string, rows)
		for j := range array {
			array[j] = inWords(value(j, i))
		}
		args[i] = array
	}
	return args
}

// listed lists the keys. The index is named, so that no other way of finding
// the rows locks more of them, and in another order.
func (e *entry) listed(d dialect.Dialect, g *target, out string, states []*rowState) query {
	q := query{keyed: true}
	for _, s := range states {
		for _, v := range s.key {
			q.args = append(q.args, given(v))
		}
	}
	keys := make([]string, len(e.key))
	for i, k := range e.key {
		keys[i] = d.Given(e.columns[k], "t."+d.Ident(g.key[i]))
	}
	q.text = "SELECT " + strings.Join(keys, ", ") + out + " FROM " + d.Ident(g.name) + " t FORCE INDEX (" + d.Ident(e.index) + ") WHERE " +
		e.among(d, "t.", g.key, len(states)) + " FOR UPDATE"
	return q
}

// among is the condition that the key is one of n.
func (e *entry) among(d dialect.Dialect, table string, key []string, n int) string {
	if len(key) == 1 {
		return table + d.Ident(key[0]) + " IN (" + strings.TrimSuffix(strings.Repeat(parameter(e.columns[e.key[0]])+", ", n), ", ") + ")"
	}
	one := make([]string, len(key))
	for i, k := range e.key {
		one[i] = table + d.Ident(key[i]) + " = " + parameter(e.columns[k])
	}
	return strings.TrimSuffix(strings.Repeat("("+strings.Join(one, " AND ")+") OR ", n), " OR ")
}

// parameter: MySQL compares decimals with texts as floats.
func parameter(c dialect.Column) string {
	if c.Kind == dialect.Decimal {
		return fmt.Sprintf("CAST(? AS DECIMAL(%d,%d))", c.Precision, c.Scale)
	}
	return "?"
}

// scanState reads one row of a query.
func (b *batch) scanState(rows Rows, q query, e *entry, columns []int, states []*rowState) error {
	number, key, current := 0, make([]any, len(e.key)), make([]any, len(columns))
	into := []any{&number}
	if q.keyed {
		into = pointers(key)
	}
	if err := rows.Scan(append(into, pointers(current)...)...); err != nil {
		return err
	}
	for i, c := range columns {
		current[i] = stored(current[i], e.columns[c], b.ts.d)
	}
	if !q.keyed {
		states[number-b.first()].is(current)
		return nil
	}
	for i, k := range e.key {
		key[i] = stored(key[i], e.columns[k], b.ts.d)
	}
	if s := b.states[e.target.index][keyOf(key, every(len(key)))]; s != nil {
		s.is(current)
	}
	return nil
}

// first is the number of the first state.
func (b *batch) first() int {
	if b.ts.d.Family == dialect.FamilyPostgreSQL {
		return 1
	}
	return 0
}

func (s *rowState) is(current []any) { s.exists, s.found, s.current = true, true, current }

func pointers(values []any) []any {
	out := make([]any, len(values))
	for i := range values {
		out[i] = &values[i]
	}
	return out
}

// every is 0 to n-1.
func every(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
