package dialect

import (
	"context"
	"fmt"
	"sort"
	"strings"
)

// Column is one column of a table.
type Column struct {
	Name       string
	Type       string   // as declared
	Affinity   Affinity // of a Loose column; what comes nearest to it of another one
	Kind       Kind
	NotNull    bool
	HasDefault bool
	Generated  bool // cannot be written

	// What a value must keep to, where the kind has it: 0 or nil is no limit.
	Least, Most      int64    // of Int
	Precision, Scale int      // of Decimal: digits in all, and after the point (-1: any)
	Length           int      // of Text in characters
	Octets           int      // of Text and Bytes
	Values           []string // of an enumeration
	Repertoire       rune     // of Text: the highest character the character set has
	Fixed            bool     // Text and Bytes of fixed length
	Digits           int      // of Timestamp: of the fraction of a second
	Zoned            bool     // Timestamp that knows its place on the time line
	Single           bool     // Float of 32 bits
	Plain            bool     // JSON that is kept as it is written
	Strict           bool     // JSON that keeps 64-bit integers and floats only
	NoZero           bool     // Text and JSON that cannot hold the character U+0000
	Refused          string   // why the column cannot be written, with the next step
}

// Unique is a unique index.
type Unique struct {
	Name    string
	Columns []string // as in the table, in the index's order
	Plain   bool     // all rows, plain columns, compared binary: it can decide
	Problem string   // why it cannot decide, with the next step
}

// Table is what the catalogue says of a table.
type Table struct {
	Name     string
	Columns  []Column
	Uniques  []Unique
	Triggers bool
	// MostBytes is what the values of one statement may take, 0 is no limit.
	MostBytes int
}

// Column returns the column of that name; without regard to case, if there is
// none written like it.
func (t Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	for _, c := range t.Columns {
		if strings.EqualFold(c.Name, name) {
			return c, true
		}
	}
	return Column{}, false
}

// Decides returns the unique index of exactly these columns, one that can
// decide if there is one.
func (t Table) Decides(columns []string) (best Unique, ok bool) {
	for _, u := range t.Uniques {
		if sameNames(u.Columns, columns) && (!ok || u.Plain && !best.Plain) {
			best, ok = u, true
		}
	}
	return best, ok
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

// catalogue is how one database is asked what it holds.
type catalogue struct {
	// ready says what is wrong with the connection itself.
	ready func(context.Context, Conn) error
	// names are the tables that can be written.
	names    string
	columns  func(context.Context, Conn, *Table) error
	uniques  func(context.Context, Conn, *Table) error
	triggers string // counts those of a table
}

// Inspect reads the catalogue. The error of a table that does not exist names
// those whose names are near.
func (d Dialect) Inspect(ctx context.Context, c Conn, table string) (Table, error) {
	if err := Check(table); err != nil {
		return Table{}, err
	}
	t, err := d.find(ctx, c, table)
	if err != nil {
		return t, err
	}
	for _, part := range []struct {
		what string
		read func(context.Context, Conn, *Table) error
	}{{"columns", d.catalogue.columns}, {"indexes", d.catalogue.uniques}, {"triggers", d.countTriggers}} {
		if err := part.read(ctx, c, &t); err != nil {
			return t, fmt.Errorf("read the %s of %q: %w", part.what, t.Name, err)
		}
	}
	return t, nil
}

func (d Dialect) find(ctx context.Context, c Conn, table string) (t Table, err error) {
	if d.catalogue.ready != nil {
		if err := d.catalogue.ready(ctx, c); err != nil {
			return t, err
		}
	}
	var names []string
	err = scan(ctx, c, d.catalogue.names, nil, func(r Cursor) error {
		var name string
		err := r.Scan(&name)
		if name == table || t.Name == "" && strings.EqualFold(name, table) {
			t.Name = name
		}
		names = append(names, name)
		return err
	})
	switch {
	case err != nil:
		return t, fmt.Errorf("read the catalogue: %w", err)
	case t.Name == "":
		return t, fmt.Errorf("there is no table %q%s; create it, or name one that is there", table, Near(table, names))
	}
	return t, nil
}

func (d Dialect) countTriggers(ctx context.Context, c Conn, t *Table) error {
	return scan(ctx, c, d.catalogue.triggers, []any{t.Name}, func(r Cursor) error {
		n := 0
		err := r.Scan(&n)
		t.Triggers = n > 0
		return err
	})
}

// has reports whether the same index is known already.
func (t *Table) has(u Unique) bool {
	have, ok := t.Decides(u.Columns)
	return ok && have.Plain == u.Plain
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
