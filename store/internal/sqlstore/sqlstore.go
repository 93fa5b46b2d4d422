// Package sqlstore is the part of a store that is the same on every SQL server:
// which statements make up each call of the contract, and in which order they
// lock. A driver adds connections, transactions, errors and tables.
//
// Statements are written once, with ? for values, rollcall. before our tables
// and the few differences between databases named in Dialect.
package sqlstore

import (
	"context"
	"strconv"
	"strings"
	"sync"

	rollcall "github.com/rollcall-mq/rollcall"
)

// Row is what a query brought.
type Row interface{ Scan(dest ...any) error }

// Querier runs statements, in a transaction or each in one of its own.
type Querier interface {
	// Exec runs a statement and returns how many rows it changed.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	// Query runs a query and calls each for every row.
	Query(ctx context.Context, query string, args []any, each func(Row) error) error
	// Later runs a statement whose answer nobody needs, at the latest before the
	// next one or COMMIT: so that it needs no turn of its own. Its error may come
	// with that one.
	Later(ctx context.Context, query string, args ...any) error
}

// Expecter is a Querier that can run a query later, too.
type Expecter interface {
	// Expect runs a query at the latest with the next statement, and never after
	// COMMIT was sent. What begin returns says what its rows mean: an error of
	// verdict is that statement's, and nothing of the transaction can be committed
	// any more. begin is called again when the query runs again.
	Expect(ctx context.Context, query string, args []any, begin Answer) error
}

// Answer begins to hear an answer: each is called for every row, verdict at the
// end.
type Answer func() (each func(Row) error, verdict func() error)

// expect runs a query, later where that is possible.
func expect(ctx context.Context, q Querier, query string, args []any, begin Answer) error {
	if c, can := q.(Expecter); can {
		return c.Expect(ctx, query, args, begin)
	}
	each, verdict := begin()
	if err := q.Query(ctx, query, args, each); err != nil {
		return err
	}
	return verdict()
}

// DB is a database as the roles beside batches need it.
type DB interface {
	// Read is for reading beside transactions.
	Read() (Querier, error)
	// Write runs f in a transaction of its own and commits it.
	Write(ctx context.Context, what string, f func(Querier) error) error
	// Wrap says where an error happened and what to do about it; nil is nil.
	Wrap(what string, err error) error
}

// Core is the roles of a store over a database.
type Core struct {
	Database DB
	D        *Dialect
}

// Dialect is how a database writes what is not the same everywhere.
type Dialect struct {
	// Schema is where rollcall's tables are, as an identifier.
	Schema string
	// Arrays: lists travel as one array and values are numbered ($1), as
	// PostgreSQL has it. Else they are spelled out with ?.
	Arrays bool
	// Nanos is the server's clock in nanoseconds since 1970.
	Nanos string
	// Share is how a locking read that shares the row ends.
	Share string

	mu    sync.RWMutex
	bound map[string]string
}

// SQL is a statement as this database wants it.
func (d *Dialect) SQL(query string) string {
	d.mu.RLock()
	text, ok := d.bound[query]
	d.mu.RUnlock()
	if ok {
		return text
	}
	text = d.bind(query)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bound == nil || len(d.bound) > 1000 { // lists of many lengths: begin anew
		d.bound = make(map[string]string)
	}
	d.bound[query] = text
	return text
}

func (d *Dialect) bind(query string) string {
	query = strings.ReplaceAll(query, "rollcall.", d.Schema+".")
	if !d.Arrays { // there it is not worked out once, but parsed anew for each row
		query = strings.ReplaceAll(query, "(SELECT {nanos})", "{nanos}")
	}
	query = strings.ReplaceAll(query, "{nanos}", d.Nanos)
	query = strings.ReplaceAll(query, "{share}", d.Share)
	if !d.Arrays {
		return query
	}
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

// in is the condition that a column has one of the values.
func in[T any](d *Dialect, column string, values []T) (string, []any) {
	if d.Arrays {
		return column + " = ANY(?)", []any{values}
	}
	args := make([]any, len(values))
	for i := range values {
		args[i] = values[i]
	}
	return column + " IN (" + strings.TrimSuffix(strings.Repeat("?,", len(values)), ",") + ")", args
}

// field is one column of an insert: the same value in every row, an expression,
// or a list with a value for each row.
type field struct {
	name string
	typ  string // PostgreSQL's type of a value or of the list's elements
	one  any
	expr string
	list any             // a slice
	at   func(i int) any // its elements
}

func value(name, typ string, v any) field { return field{name: name, typ: typ, one: v} }
func expr(name, text string) field        { return field{name: name, expr: text} }
func list[T any](name, typ string, values []T) field {
	return field{name: name, typ: typ, list: values, at: func(i int) any { return values[i] }}
}

// insert is a statement that inserts n rows, in their order. tail says what to
// do about rows that are there.
func (d *Dialect) insert(table string, n int, tail string, fields ...field) (string, []any) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	head := "INSERT INTO rollcall." + table + " (" + strings.Join(names, ", ") + ") "
	if d.Arrays {
		text, args := unnest(fields)
		return head + text + " " + tail, args
	}
	var row []string
	for _, f := range fields {
		if f.expr != "" {
			row = append(row, f.expr)
		} else {
			row = append(row, "?")
		}
	}
	one := "(" + strings.Join(row, ",") + "),"
	args := make([]any, 0, n*len(fields))
	for i := range n {
		for _, f := range fields {
			switch {
			case f.expr != "":
			case f.at != nil:
				args = append(args, f.at(i))
			default:
				args = append(args, f.one)
			}
		}
	}
	return head + "VALUES " + strings.TrimSuffix(strings.Repeat(one, n), ",") + " " + tail, args
}

func unnest(fields []field) (string, []any) {
	var columns, arrays, names []string
	var ones, lists []any
	for _, f := range fields {
		switch {
		case f.expr != "":
			columns = append(columns, f.expr)
		case f.at != nil:
			columns, names = append(columns, "t."+f.name), append(names, f.name)
			arrays, lists = append(arrays, "?::"+f.typ+"[]"), append(lists, f.list)
		default:
			columns, ones = append(columns, "?::"+f.typ), append(ones, f.one)
		}
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM unnest(" + strings.Join(arrays, ", ") + ") AS t(" + strings.Join(names, ", ") + ")",
		append(ones, lists...)
}

// nothing leaves rows alone that are there by key. (Not INSERT IGNORE: it hides
// other errors too. The key is named so that it fails without its index, where
// the server can tell: else every row would be new.)
func (d *Dialect) nothing(key string) string {
	if d.Arrays {
		return "ON CONFLICT (" + key + ") DO NOTHING"
	}
	return "ON DUPLICATE KEY UPDATE grp = grp"
}

// upsert writes columns of rows that are there. In the expressions new(column)
// is the value that was to be inserted.
func (d *Dialect) upsert(key string, sets ...string) string {
	text := strings.Join(sets, ", ")
	if d.Arrays {
		return "ON CONFLICT (" + key + ") DO UPDATE SET " + newValue(text, "EXCLUDED.$1")
	}
	return "ON DUPLICATE KEY UPDATE " + newValue(text, "VALUES($1)")
}

// newValue replaces new(column).
func newValue(text, with string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "new(")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, ")")
		b.WriteString(strings.ReplaceAll(with, "$1", name))
		text = after
	}
}

// most bounds the items of one statement where lists are spelled out.
func (d *Dialect) most() int {
	if d.Arrays {
		return 10_000
	}
	return 500
}

// chunks calls f for pieces of items.
func chunks[T any](d *Dialect, items []T, f func([]T) error) error {
	for len(items) > 0 {
		n := min(d.most(), len(items))
		if err := f(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// args joins lists of arguments.
func args(first ...any) []any { return first }

var _ rollcall.TxRecords = Records{}
