// Package dialect is the SQL text that stores and effects share: quoting,
// lists of placeholders, and what the catalogue of a database says of a table.
// Values are only ever bound; the only names that become text are identifiers
// that passed Check and were found in the catalogue.
//
// SQLite is the only dialect as yet.
package dialect

import (
	"errors"
	"fmt"
	"strings"
)

// Dialect is how one database writes SQL.
type Dialect struct {
	// Name is the database's, for errors.
	Name string
	// Quote is the mark around identifiers.
	Quote byte
	// BestValues is how many bound values a statement takes to run fastest
	// with the driver in use; MaxValues is the most it may have.
	BestValues, MaxValues int
}

// SQLite is the dialect of SQLite as modernc.org/sqlite runs it: the driver
// looks every bound value up in a list, so a long statement costs the square of
// its length.
func SQLite() Dialect {
	return Dialect{Name: "SQLite", Quote: '"', BestValues: 80, MaxValues: 32766}
}

// Check refuses everything but ^[A-Za-z_][A-Za-z0-9_]{0,62}$ as an identifier.
func Check(name string) error {
	ok := name != "" && len(name) <= 63 && (name[0] < '0' || name[0] > '9')
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= '0' && c <= '9'
	}
	if !ok {
		return fmt.Errorf("%q is not a name; use letters, digits and _, at most 63, not beginning with a digit", name)
	}
	return nil
}

// Ident quotes an identifier.
func (d Dialect) Ident(name string) string {
	q := string(d.Quote)
	return q + strings.ReplaceAll(name, q, q+q) + q
}

// Idents quotes identifiers and joins them with commas.
func (d Dialect) Idents(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = d.Ident(n)
	}
	return strings.Join(quoted, ", ")
}

// RowsPerStatement is how many rows of so many columns run fastest together.
func (d Dialect) RowsPerStatement(columns int) int {
	return max(1, d.BestValues/max(1, columns))
}

// List is "(?, ?, …)" with n placeholders.
func List(n int) string {
	if n <= 0 {
		return "()"
	}
	return "(" + strings.Repeat("?, ", n-1) + "?)"
}

// Rows is n lists of so many columns, joined with commas.
func Rows(n, columns int) string {
	if n <= 0 {
		return ""
	}
	one := List(columns)
	return strings.Repeat(one+", ", n-1) + one
}

// Conflict reports whether a statement failed because a unique index or the
// primary key has the value already.
func (d Dialect) Conflict(err error) bool {
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
