// Package effect writes messages into tables, so that a repeat does no harm.
//
// A Table says how one message becomes one row, and in which mode it is
// written. Each mode has an honest limit, and the limit is enforced: what
// NewTables cannot verify in the database's catalogue it refuses. Several
// tables in one list are written in one transaction, all or none: when one of
// them answers Stale, Early or Repeated, or finds the message faulty, the
// others are left alone too.
//
// Nothing of a message becomes SQL text. Numbers keep their digits: what a
// column cannot hold exactly is an error that sets the message aside, never a
// rounded value.
//
// Databases are SQLite, PostgreSQL, MySQL and MariaDB; their clients are the
// caller's. On *sql.Tx a Tables is a handler itself; other transactions are
// adapted, without casts:
//
//	tables, err := effect.NewTablesOn(ctx, pgxeffect.Conn(pool), effect.PostgreSQL(), list)
//	handler := effect.BatchHandler(tables, pgxeffect.Tx) // rollcall.BatchHandler[pgx.Tx]
//
// Where others write at the same time, rows are locked in the order of their
// keys, and a row that appears between the look and the insert is looked at
// again: that needs READ COMMITTED. What differs between the databases stands
// in docs/guarantees.md.
package effect

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// Mode is how a row is written.
type Mode string

// The modes.
const (
	// Insert inserts a row. With a Key, which must have a unique index, a second
	// message of the same key and content is Repeated and nothing is changed;
	// one with other content is set aside dead. Without a Key every message is a
	// row, and a record beneath is needed.
	Insert Mode = "insert"
	// Upsert inserts a row, or changes the columns of Update. Not for counters.
	// A table with a second unique index is refused unless Decide names the key
	// that decides.
	Upsert Mode = "upsert"
	// Versioned is the mode "version": it writes newer versions only, see Version.
	Versioned Mode = "version"
	// Transition moves a row through a declared state machine, see State.
	Transition Mode = "transition"
	// Set writes the columns, and creates the row if it is absent.
	Set Mode = "set"
	// Delete deletes the row; an absent one is deleted already.
	Delete Mode = "delete"
	// Add adds the amounts to the columns of Update, and creates the row. Never
	// without a record beneath.
	Add Mode = "add"
)

// Table is how one message becomes one row. The zero value of optional fields
// is safe.
type Table struct {
	// Name is the table's. Required.
	Name string
	// Mode is how the row is written. Required.
	Mode Mode
	// Key lists the columns that name the row. Required but for Insert.
	// Default: none.
	Key []string
	// Columns says what goes into each column, see Source. Required: the
	// columns of Key, and all that are NOT NULL without a default.
	Columns map[string]string
	// Update lists the columns that Upsert, Set and Version change in a row that
	// is there, and those that Add adds to. Default: all of Columns outside Key.
	Update []string
	// Decide names, for Upsert into a table with several unique indexes, the
	// columns of the one that decides; it must be Key. A conflict with another
	// one is an error of the message. Default: none.
	Decide []string
	// State is the state machine of Transition. Default: none.
	State State
	// Version is the version of mode "version". Default: none.
	Version Version
	// When restricts the entry to messages of which it holds: "SOURCE=TEXT" or
	// "SOURCE!=TEXT", as in "payload.op=delete". So one table can be written by
	// several entries (modes upsert, set and delete only, with one Key). A
	// message that no entry is for is Filtered. Default: all messages.
	When string
	// Approximate allows Add on columns that hold floats. Default: false.
	Approximate bool
}

// State is a state machine. A message whose state follows the row's is applied;
// one that can be reached later from the row's waits (Early); one from which
// the row's state was reached is Stale; any other goes aside dead.
type State struct {
	// Column holds the state, as text. Required in mode transition.
	Column string
	// Allow lists, for each state, those that may follow. Required.
	Allow map[string][]string
	// Initial lists the states that create the row. Default: those that follow
	// no other.
	Initial []string
}

// Rule is which version may follow.
type Rule string

// The rules.
const (
	RuleNewer Rule = "newer" // any higher version; lower and equal are Stale
	RuleNext  Rule = "next"  // the next one only; later ones wait (Early)
)

// Version is the version of a row: a whole number in a column of integers.
type Version struct {
	// Column holds the version. Required in mode version.
	Column string
	// Rule is which version may follow. Default: newer.
	Rule Rule
	// First is the version that creates the row under the rule next; under
	// newer any does. Default: 1.
	First int64
}

// NeedsRecord reports whether the table must not be written without a record
// beneath (dedup by: none), and why. shared: several workers compete for the
// messages, so their order is not kept during redelivery.
func (t Table) NeedsRecord(shared bool) (reason string, needs bool) {
	switch t.Mode {
	case Add:
		return "mode add counts a repeat twice", true
	case Insert:
		if len(t.Key) == 0 {
			return "mode insert without a key writes a repeat twice", true
		}
	case Transition:
		if c := cycle(t.State.Allow); c != "" {
			return fmt.Sprintf("state %q can be reached again, so a repeat looks like a new step", c), true
		}
	case Set, Delete, Upsert:
		if shared {
			return fmt.Sprintf("mode %s keeps what came last, and on shared partitions a repeat can come after a newer message", t.Mode), true
		}
	}
	return "", false
}

// configError names table, field and value; the next step stands behind the
// last semicolon.
func configError(table, field string, format string, args ...any) error {
	return fmt.Errorf("%w: effect.table %s: %s: %s", rollcall.ErrConfig, table, field, fmt.Sprintf(format, args...))
}

// dataError is the message's fault: trying again would find the same.
func dataError(format string, args ...any) error {
	return rollcall.Dead(fmt.Errorf(format, args...))
}

var errNull = errors.New("it is null, and nulls are never equal: a key needs a value")

// sortedColumns are the names of Columns, sorted, so that statements have one
// text.
func (t Table) sortedColumns() []string {
	names := make([]string, 0, len(t.Columns))
	for n := range t.Columns {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// checkNames looks at everything that becomes an identifier.
func (t Table) checkNames() error {
	if err := dialect.Check(t.Name); err != nil {
		return configError(t.Name, "name", "%v", err)
	}
	if strings.HasPrefix(strings.ToLower(t.Name), "rollcall_") {
		return configError(t.Name, "name", "tables of rollcall itself are no target; choose one of your own")
	}
	for _, n := range t.sortedColumns() {
		if err := dialect.Check(n); err != nil {
			return configError(t.Name, "columns", "%v", err)
		}
	}
	for field, names := range map[string][]string{"key": t.Key, "update": t.Update, "decide": t.Decide} {
		seen := map[string]bool{}
		for _, n := range names {
			if _, ok := t.Columns[n]; !ok {
				return configError(t.Name, field, "%q is not among columns%s; add it there", n, dialect.Near(n, t.sortedColumns()))
			}
			if seen[n] {
				return configError(t.Name, field, "%q stands there twice; keep one of the two", n)
			}
			seen[n] = true
		}
	}
	return nil
}
