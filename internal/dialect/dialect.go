// Package dialect is the SQL text that stores and effects share: quoting,
// lists of placeholders, and what the catalogue of a database says of a table.
// Values are only ever bound; the only names that become text are identifiers
// that passed Check and were found in the catalogue.
package dialect

import (
	"fmt"
	"strconv"
	"strings"
)

// Family says which databases write the same SQL.
type Family uint8

// The families.
const (
	FamilySQLite Family = iota
	FamilyPostgreSQL
	FamilyMySQL // MariaDB, too
)

// Dialect is how one database writes SQL.
type Dialect struct {
	// Name is the database's, for errors.
	Name string
	// Family is which databases write the same.
	Family Family
	// Quote is the mark around identifiers.
	Quote byte
	// BestValues is how many bound values a statement takes to run fastest
	// with the driver in use; MaxValues is the most it may have.
	BestValues, MaxValues int

	catalogue catalogue
	conflict  func(error) bool
	noIndex   func(error) bool
	twoRows   func(error) bool
}

// TwoRows reports whether a subquery had two rows, by which statements for
// MySQL say on purpose that a row is there.
func (d Dialect) TwoRows(err error) bool { return err != nil && d.twoRows != nil && d.twoRows(err) }

// NoIndex reports whether a statement failed because the unique index that it
// counts on is gone.
func (d Dialect) NoIndex(err error) bool { return err != nil && d.noIndex != nil && d.noIndex(err) }

// Conflict reports whether a statement failed because a unique index or the
// primary key has the value already.
func (d Dialect) Conflict(err error) bool { return err != nil && d.conflict != nil && d.conflict(err) }

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

// Placeholder is the nth one, from 1.
func (d Dialect) Placeholder(n int) string {
	if d.Family == FamilyPostgreSQL {
		return "$" + strconv.Itoa(n)
	}
	return "?"
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
