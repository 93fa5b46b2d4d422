package dialect

import (
	"context"
	"database/sql"
	"fmt"
	"sort"
	"strings"
)

// Affinity is what a column makes of a value that is stored in it.
type Affinity uint8

// The affinities of SQLite (https://www.sqlite.org/datatype3.html).
const (
	Blob    Affinity = iota // keeps every value as it is bound
	Text                    // turns numbers into text
	Numeric                 // turns text that looks like a number into one
	Integer                 // as Numeric
	Real                    // turns every number into a float
)

// Column is one column of a table.
type Column struct {
	Name       string
	Type       string // as declared
	Affinity   Affinity
	NotNull    bool
	HasDefault bool
	Generated  bool // cannot be written
}

// Unique is a unique index.
type Unique struct {
	Columns []string // as in the table, in the index's order
	Plain   bool     // all rows, plain columns, compared binary: it can decide
}

// Table is what the catalogue says of a table.
type Table struct {
	Name    string
	Columns []Column
	Uniques []Unique
}

// Queryer is a handle, connection or transaction of database/sql.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Column returns the column of that name, which is compared as the database
// does (SQLite: without regard to case).
func (t Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if strings.EqualFold(c.Name, name) {
			return c, true
		}
	}
	return Column{}, false
}

// Decides returns the unique index of exactly these columns.
func (t Table) Decides(columns []string) (Unique, bool) {
	for _, u := range t.Uniques {
		if sameNames(u.Columns, columns) {
			return u, true
		}
	}
	return Unique{}, false
}

func sameNames(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	fold := func(names []string) []string {
		out := make([]string, len(names))
		for i, n := range names {
			out[i] = strings.ToLower(n)
		}
		sort.Strings(out)
		return out
	}
	x, y := fold(a), fold(b)
	for i := range x {
		if x[i] != y[i] {
			return false
		}
	}
	return true
}

// Inspect reads the catalogue. The error of a table that does not exist names
// those whose names are near.
func (d Dialect) Inspect(ctx context.Context, q Queryer, table string) (Table, error) {
	if err := Check(table); err != nil {
		return Table{}, err
	}
	var names []string
	t := Table{}
	err := scan(ctx, q, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'", nil, func(r *sql.Rows) error {
		var name string
		err := r.Scan(&name)
		if strings.EqualFold(name, table) {
			t.Name = name
		}
		names = append(names, name)
		return err
	})
	if err != nil {
		return t, fmt.Errorf("read the catalogue: %w", err)
	}
	if t.Name == "" {
		return t, fmt.Errorf("there is no table %q%s; create it, or name one that is there", table, Near(table, names))
	}
	if err := d.columns(ctx, q, &t); err != nil {
		return t, fmt.Errorf("read the columns of %q: %w", t.Name, err)
	}
	if err := d.uniques(ctx, q, &t); err != nil {
		return t, fmt.Errorf("read the indexes of %q: %w", t.Name, err)
	}
	return t, nil
}

func scan(ctx context.Context, q Queryer, query string, args []any, f func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (d Dialect) columns(ctx context.Context, q Queryer, t *Table) error {
	var primary []string
	err := scan(ctx, q, `SELECT name, type, "notnull", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid`, []any{t.Name},
		func(r *sql.Rows) error {
			var c Column
			var pk, hidden int
			if err := r.Scan(&c.Name, &c.Type, &c.NotNull, &c.HasDefault, &pk, &hidden); err != nil {
				return err
			}
			c.Affinity, c.Generated = affinityOf(c.Type), hidden != 0
			if pk > 0 {
				primary = append(primary, c.Name)
			}
			t.Columns = append(t.Columns, c)
			return nil
		})
	if err != nil {
		return err
	}
	// The row number under a name has no index in the catalogue; it fills
	// itself in, so it need not be written.
	if len(primary) == 1 {
		for i, c := range t.Columns {
			if c.Name == primary[0] && strings.EqualFold(c.Type, "INTEGER") {
				t.Columns[i].HasDefault = true
				t.Uniques = append(t.Uniques, Unique{Columns: primary, Plain: true})
			}
		}
	}
	return nil
}

func (d Dialect) uniques(ctx context.Context, q Queryer, t *Table) error {
	byName := map[string]*Unique{}
	var order []string
	err := scan(ctx, q, `SELECT l.name, l.partial, COALESCE(x.name, ''), COALESCE(x.coll, ''), x.cid
		FROM pragma_index_list(?) l JOIN pragma_index_xinfo(l.name) x WHERE l."unique" AND x.key ORDER BY l.seq, x.seqno`, []any{t.Name},
		func(r *sql.Rows) error {
			var index, column, collation string
			var partial bool
			var cid int
			if err := r.Scan(&index, &partial, &column, &collation, &cid); err != nil {
				return err
			}
			u := byName[index]
			if u == nil {
				u = &Unique{Plain: !partial}
				byName[index] = u
				order = append(order, index)
			}
			u.Columns = append(u.Columns, column)
			if cid < 0 || !strings.EqualFold(collation, "BINARY") {
				u.Plain = false
			}
			return nil
		})
	for _, name := range order {
		if u := byName[name]; !t.has(*u) {
			t.Uniques = append(t.Uniques, *u)
		}
	}
	return err
}

// has reports whether the same index is known already.
func (t *Table) has(u Unique) bool {
	have, ok := t.Decides(u.Columns)
	return ok && have.Plain == u.Plain
}

// affinityOf follows the five rules of SQLite.
func affinityOf(declared string) Affinity {
	upper := strings.ToUpper(declared)
	contains := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(upper, p) {
				return true
			}
		}
		return false
	}
	switch {
	case contains("INT"):
		return Integer
	case contains("CHAR", "CLOB", "TEXT"):
		return Text
	case upper == "" || upper == "ANY" || contains("BLOB"):
		return Blob
	case contains("REAL", "FLOA", "DOUB"):
		return Real
	}
	return Numeric
}

// Near is a hint naming the names that are like name, or all when none is and
// there are few. It begins with a semicolon, or is empty.
func Near(name string, names []string) string {
	var near []string
	for _, n := range names {
		a, b := strings.ToLower(n), strings.ToLower(name)
		if strings.Contains(a, b) || strings.Contains(b, a) || distance(a, b) <= 1+len(b)/4 {
			near = append(near, n)
		}
	}
	word := "near"
	if len(near) == 0 {
		near, word = names, "there is"
	}
	if len(near) == 0 || len(near) > 12 {
		return ""
	}
	sort.Strings(near)
	return "; " + word + ": " + strings.Join(near, ", ")
}

// distance is the number of insertions, deletions and changes between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
