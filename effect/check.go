package effect

import "github.com/rollcall-mq/rollcall/internal/dialect"

// Check says what is wrong with each of the tables, as far as that can be said
// without a database: nil where nothing is. NewTables finds the rest.
func Check(tables []Table) []error {
	errs := make([]error, len(tables))
	ts := &Tables{}
	for i, t := range tables {
		e, err := compileWith(t, asWanted(t))
		if err == nil {
			err = ts.place(e, asWanted(t))
		}
		errs[i] = err
	}
	return errs
}

// asWanted is a table as the entry would have it: what is wrong even with
// that, no database can mend.
func asWanted(t Table) dialect.Table {
	cat := dialect.Table{Name: t.Name}
	for _, name := range t.sortedColumns() {
		c := dialect.Column{Name: name, Affinity: dialect.Text}
		if t.Mode == Versioned {
			c.Affinity = dialect.Integer
		}
		cat.Columns = append(cat.Columns, c)
	}
	if len(t.Key) > 0 {
		cat.Uniques = []dialect.Unique{{Columns: t.Key, Plain: true}}
	}
	return cat
}
