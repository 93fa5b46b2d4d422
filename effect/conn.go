package effect

import (
	"context"
	"database/sql"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// Conn runs statements: a transaction, a connection or a pool, of whatever
// client. Stores that do not speak database/sql adapt their own.
type Conn = dialect.Conn

// Rows are the rows of a query, read as those of database/sql are.
type Rows = dialect.Cursor

// SQL is a Conn over a *sql.DB, *sql.Conn or *sql.Tx.
func SQL(h dialect.Handle) Conn { return dialect.SQL(h) }

// SQLite is the dialect to give to NewTables for store/sqlite.
func SQLite() dialect.Dialect { return dialect.SQLite() }

// PostgreSQL is the dialect of PostgreSQL 15 and later.
func PostgreSQL() dialect.Dialect { return dialect.PostgreSQL() }

// MySQL is the dialect of MySQL 8.0. number is the number of an error of the
// client in use, 0 of any other error: this package knows no client.
func MySQL(number func(error) uint16) dialect.Dialect { return dialect.MySQL(number) }

// MariaDB is the dialect of MariaDB 10.11. number: see MySQL.
func MariaDB(number func(error) uint16) dialect.Dialect { return dialect.MariaDB(number) }

// Handler is ts as a handler for transactions of type X, which in adapts.
func Handler[X any](ts *Tables, in func(X) Conn) rollcall.Handler[X] {
	return func(ctx context.Context, tx X, m rollcall.Message) error { return ts.handleOne(ctx, in(tx), m) }
}

// BatchHandler is ts as a batch handler for transactions of type X, which in
// adapts.
func BatchHandler[X any](ts *Tables, in func(X) Conn) rollcall.BatchHandler[X] {
	return func(ctx context.Context, tx X, ms []rollcall.Message) ([]error, error) {
		return ts.handleAll(ctx, in(tx), ms)
	}
}

// Handle writes one message: it is a rollcall.Handler. It returns nil, or
// rollcall.Stale, Early, Repeated or Filtered with nothing written, or an error
// (made with rollcall.Dead when it is the message's fault). After another error
// the transaction may hold a part: undo it.
func (ts *Tables) Handle(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
	return ts.handleOne(ctx, SQL(tx), m)
}

// HandleBatch writes messages as if one after another, and returns an outcome
// each: what Handle would return without having touched the database. An error
// of the database is the second result; then the transaction may hold a part
// and nothing is known of single messages: undo it and try smaller pieces.
//
// Of several changes to one row only the last is written, unless the table has
// triggers: those see every change.
func (ts *Tables) HandleBatch(ctx context.Context, tx *sql.Tx, ms []rollcall.Message) ([]error, error) {
	return ts.handleAll(ctx, SQL(tx), ms)
}
