package effect_test

import (
	"context"
	"database/sql"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// database is a database of a test's own.
type database struct {
	name     string
	d        dialect.Dialect
	c        effect.Conn
	level    sql.IsolationLevel // default: READ COMMITTED
	classify func(error) rollcall.Class
	begin    func(t testing.TB) transaction
	types    map[string]string // what {int} and the like stand for
	product  string            // "postgres", "mysql", "mariadb" or "sqlite"
	place    string            // its schema or database
}

// transaction is one of a database, with what a handler gets.
type transaction struct {
	c                effect.Conn
	batch            func(*effect.Tables, []rollcall.Message) ([]error, error)
	one              func(*effect.Tables, rollcall.Message) error
	commit, rollback func() error
}

// products open a database in a place of its own.
var products = map[string]func(t testing.TB) *database{"sqlite": openSQLite}

func openSQLite(t testing.TB) *database {
	s := open(t)
	return &database{name: "sqlite", product: "sqlite", d: effect.SQLite(), c: effect.SQL(s.DB()), classify: s.Classify, begin: func(t testing.TB) transaction {
		tx, err := s.Begin(t.Context())
		must(t, err)
		return sqlTransaction(tx.User(), func() error { return tx.Commit(context.Background()) }, tx.Rollback)
	}, types: map[string]string{"key": "TEXT", "text": "TEXT", "int": "INTEGER",
		"trigger": "CREATE TRIGGER tr AFTER UPDATE ON orders BEGIN INSERT INTO seen VALUES (new.amount); END"}}
}

func sqlTransaction(tx *sql.Tx, commit, rollback func() error) transaction {
	ctx := context.Background()
	return transaction{c: effect.SQL(tx), commit: commit, rollback: rollback,
		batch: func(ts *effect.Tables, ms []rollcall.Message) ([]error, error) { return ts.HandleBatch(ctx, tx, ms) },
		one:   func(ts *effect.Tables, m rollcall.Message) error { return ts.Handle(ctx, tx, m) }}
}

// onEach runs the test on every database, with the tables of ddl made.
func onEach(t *testing.T, ddl []string, f func(t *testing.T, db *database)) {
	t.Helper()
	onSome(t, "", ddl, f)
}

// onSome leaves out the one named.
func onSome(t *testing.T, without string, ddl []string, f func(t *testing.T, db *database)) {
	t.Helper()
	var names []string
	for name := range products {
		if name != without {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			db := products[name](t)
			db.name = name
			db.exec(t, ddl...)
			f(t, db)
		})
	}
}

// exec runs statements in which {key}, {text}, {int} stand for types.
func (db *database) exec(t testing.TB, queries ...string) {
	t.Helper()
	for _, q := range queries {
		for name, text := range db.types {
			q = strings.ReplaceAll(q, "{"+name+"}", text)
		}
		if _, err := db.c.Exec(context.Background(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

func (db *database) tables(t testing.TB, list ...effect.Table) *effect.Tables {
	t.Helper()
	ts, err := effect.NewTablesOn(t.Context(), db.c, db.d, list)
	must(t, err)
	return ts
}

// apply runs a batch in a transaction of its own.
func (db *database) apply(t testing.TB, ts *effect.Tables, ms ...rollcall.Message) []error {
	t.Helper()
	tx := db.begin(t)
	defer tx.rollback()
	outcomes, err := tx.batch(ts, ms)
	must(t, err)
	must(t, tx.commit())
	return outcomes
}

// one runs one message; what it did is undone if it failed.
func (db *database) one(t testing.TB, ts *effect.Tables, m rollcall.Message) error {
	t.Helper()
	tx := db.begin(t)
	defer tx.rollback()
	outcome := tx.one(ts, m)
	if outcome == nil {
		must(t, tx.commit())
	}
	return outcome
}

func (db *database) dump(t testing.TB, query string) string {
	t.Helper()
	return dumpOf(t, db.c, query)
}

// dumpOf is a query's answer with the types of its values; bytes are texts.
func dumpOf(t testing.TB, c effect.Conn, query string) string {
	t.Helper()
	rows, err := c.Query(context.Background(), query)
	must(t, err)
	defer rows.Close()
	columns := 0
	switch r := rows.(type) {
	case interface{ Columns() ([]string, error) }:
		names, err := r.Columns()
		must(t, err)
		columns = len(names)
	case pgx.Rows:
		columns = len(r.FieldDescriptions())
	}
	var out []string
	for rows.Next() {
		values, into := make([]any, columns), make([]any, columns)
		for i := range values {
			into[i] = &values[i]
		}
		must(t, rows.Scan(into...))
		parts := make([]string, columns)
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			parts[i] = fmt.Sprintf("%T:%v", v, v)
		}
		out = append(out, strings.Join(parts, " "))
	}
	must(t, rows.Err())
	return strings.Join(out, "\n")
}
