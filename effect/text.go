package effect

import (
	"fmt"
	"strings"

	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// sentence is a statement that writes rows of an entry.
type sentence struct {
	head string // before the rows
	tail string // after them
	// whole: the text is head, for any number of rows; they travel as one array
	// a column.
	whole bool
}

// of is the statement for so many rows of so many columns.
func (t sentence) of(rows, columns int) string {
	if t.whole {
		return t.head
	}
	return t.head + dialect.Rows(rows, columns) + t.tail
}

// texts builds the statements that write rows of the entry.
func (e *entry) texts(d dialect.Dialect, cat dialect.Table) {
	into := "INSERT INTO " + d.Ident(cat.Name) + " (" + d.Idents(e.names) + ") "
	key := pick(e.names, e.key)
	switch d.Family {
	case dialect.FamilySQLite:
		// A plain INSERT, whose conflict is an error: SQLite seeks once instead of twice.
		e.insert = sentence{head: into + "VALUES "}
		e.upsert = sentence{head: into + "VALUES ", tail: e.onConflict(d, key)}
	case dialect.FamilyMySQL:
		e.insert = sentence{head: into + "VALUES "}
		if len(key) > 0 {
			// A plain INSERT that fails keeps a shared lock on the row that is there,
			// and two who then want it for themselves wait for each other. This one
			// fails with the row locked for us.
			e.insert.tail = fmt.Sprintf(" ON DUPLICATE KEY UPDATE %[1]s = IF(VALUES(%[1]s) <=> VALUES(%[1]s), %[2]s, %[1]s)", d.Ident(key[0]), twoRows)
		}
		e.upsert = sentence{head: into + "VALUES ", tail: e.onDuplicate(d, key, len(cat.Uniques) > 1)}
	case dialect.FamilyPostgreSQL:
		rows := into + e.arrays()
		e.insert, e.upsert = sentence{head: rows, whole: true}, sentence{head: rows + e.onConflict(d, key), whole: true}
		if len(key) > 0 {
			// Who is there is left out and missed in the count: an error would cost
			// the transaction. And that the index is there is checked each time.
			e.insert.head += " ON CONFLICT (" + d.Idents(key) + ") DO NOTHING"
		}
	}
}

// arrays selects the rows out of one array of texts a column.
func (e *entry) arrays() string {
	taken := make([]string, len(e.columns))
	for i, c := range e.columns {
		taken[i] = c.Taken(fmt.Sprintf("v.a%d", i+1))
	}
	return "SELECT " + strings.Join(taken, ", ") + " FROM " + unnest(len(e.columns), "")
}

// unnest makes rows v of so many arrays of texts, the parameters; their columns
// are a1, a2, and what more says.
func unnest(n int, more string) string {
	arrays, names := make([]string, n), make([]string, n)
	for i := range n {
		arrays[i], names[i] = fmt.Sprintf("$%d::text[]", i+1), fmt.Sprintf("a%d", i+1)
	}
	if more != "" {
		names = append(names, more)
		more = " WITH ORDINALITY"
	}
	return "unnest(" + strings.Join(arrays, ", ") + ")" + more + " v(" + strings.Join(names, ", ") + ")"
}

// sameKey joins rows v of arrays with a table.
func (e *entry) sameKey(d dialect.Dialect, table string, key []string) string {
	on := make([]string, len(key))
	for i, k := range e.key {
		on[i] = table + "." + d.Ident(key[i]) + " = " + e.columns[k].Taken(fmt.Sprintf("v.a%d", i+1))
	}
	return strings.Join(on, " AND ")
}

func (e *entry) onConflict(d dialect.Dialect, key []string) string {
	if len(key) == 0 {
		return ""
	}
	tail := " ON CONFLICT (" + d.Idents(key) + ") DO "
	if len(e.update) == 0 {
		return tail + "NOTHING"
	}
	sets := make([]string, len(e.update))
	for i, u := range e.update {
		sets[i] = d.Ident(e.names[u]) + " = excluded." + d.Ident(e.names[u])
	}
	return tail + "UPDATE SET " + strings.Join(sets, ", ")
}

// twoRows fails when it is evaluated: "Subquery returns more than 1 row" (1242).
const twoRows = "(SELECT 1 UNION ALL SELECT 2)"

// onDuplicate: MySQL takes a conflict with any unique index for the one meant.
// Where there are several, the first column asks whether the row has our key,
// and fails if not.
func (e *entry) onDuplicate(d dialect.Dialect, key []string, several bool) string {
	if len(key) == 0 {
		return ""
	}
	var sets, same []string
	for _, u := range e.update {
		sets = append(sets, fmt.Sprintf("%[1]s = VALUES(%[1]s)", d.Ident(e.names[u])))
	}
	if len(sets) == 0 {
		sets = []string{fmt.Sprintf("%[1]s = %[1]s", d.Ident(key[0]))}
	}
	for _, k := range key {
		same = append(same, fmt.Sprintf("%[1]s <=> VALUES(%[1]s)", d.Ident(k)))
	}
	if several {
		column, value, _ := strings.Cut(sets[0], " = ")
		sets[0] = column + " = IF(" + strings.Join(same, " AND ") + ", " + value + ", " + twoRows + ")"
	}
	return " ON DUPLICATE KEY UPDATE " + strings.Join(sets, ", ")
}
