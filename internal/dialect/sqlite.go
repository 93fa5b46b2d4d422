package dialect

import (
	"context"
	"errors"
	"strings"
)

// SQLite is the dialect of SQLite as modernc.org/sqlite runs it: the driver
// looks every bound value up in a list, so a long statement costs the square of
// its length.
func SQLite() Dialect {
	return Dialect{Name: "SQLite", Family: FamilySQLite, Quote: '"', BestValues: 80, MaxValues: 32766, conflict: sqliteConflict, catalogue: catalogue{
		names:    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
		columns:  sqliteColumns,
		uniques:  sqliteUniques,
		triggers: "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower(?)",
	}}
}

func sqliteConflict(err error) bool {
	var coded interface{ Code() int }
	if !errors.As(err, &coded) {
		return false
	}
	switch coded.Code() {
	case 19 | 6<<8, 19 | 8<<8, 19 | 10<<8: // SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE, _ROWID
		return true
	}
	return false
}

func sqliteColumns(ctx context.Context, c Conn, t *Table) error {
	var primary []string
	err := scan(ctx, c, `SELECT name, type, "notnull", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid`, []any{t.Name},
		func(r Cursor) error {
			var col Column
			var pk, hidden int
			if err := r.Scan(&col.Name, &col.Type, &col.NotNull, &col.HasDefault, &pk, &hidden); err != nil {
				return err
			}
			col.Affinity, col.Generated = affinityOf(col.Type), hidden != 0
			if pk > 0 {
				primary = append(primary, col.Name)
			}
			t.Columns = append(t.Columns, col)
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

func sqliteUniques(ctx context.Context, c Conn, t *Table) error {
	byName := map[string]*Unique{}
	var order []string
	err := scan(ctx, c, `SELECT l.name, l.partial, COALESCE(x.name, ''), COALESCE(x.coll, ''), x.cid
		FROM pragma_index_list(?) l JOIN pragma_index_xinfo(l.name) x WHERE l."unique" AND x.key ORDER BY l.seq, x.seqno`, []any{t.Name},
		func(r Cursor) error {
			var index, column, collation string
			var partial bool
			var cid int
			if err := r.Scan(&index, &partial, &column, &collation, &cid); err != nil {
				return err
			}
			u := byName[index]
			if u == nil {
				u = &Unique{Name: index, Plain: !partial}
				byName[index] = u
				order = append(order, index)
			}
			u.Columns = append(u.Columns, column)
			if cid < 0 || !strings.EqualFold(collation, "BINARY") {
				u.Plain = false
			}
			if !u.Plain {
				u.Problem = "is partial or does not compare binary, so it would take different keys for one; create one on all rows with COLLATE BINARY"
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
