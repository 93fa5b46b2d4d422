package dialect

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Conn runs statements: a transaction, a connection or a pool, of whatever
// client.
type Conn interface {
	// Exec returns how many rows it affected, as the database counts.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	Query(ctx context.Context, query string, args ...any) (Cursor, error)
}

// Cursor is over the rows of a query, read as database/sql does.
type Cursor interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close()
}

// Handle is what handles, connections and transactions of database/sql share.
type Handle interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// SQL is a Conn over database/sql.
func SQL(h Handle) Conn { return sqlConn{h} }

type sqlConn struct{ h Handle }

func (c sqlConn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := c.h.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (c sqlConn) Query(ctx context.Context, query string, args ...any) (Cursor, error) {
	rows, err := c.h.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return sqlRows{rows}, nil
}

type sqlRows struct{ *sql.Rows }

// Close of database/sql repeats what Err says.
func (r sqlRows) Close() { _ = r.Rows.Close() }

// ErrUnanswered: the database did not answer a question about its catalogue.
// Nothing is known of what was asked.
var ErrUnanswered = errors.New("the database did not answer")

// scan calls f for each row. An error of the database is ErrUnanswered.
func scan(ctx context.Context, c Conn, query string, args []any, f func(Cursor) error) error {
	rows, err := c.Query(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	return nil
}
