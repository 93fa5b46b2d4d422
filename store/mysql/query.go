package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rollcall-mq/rollcall/store/internal/sqlstore"
)

// handle is a pool, a connection or a transaction of database/sql.
type handle interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// direct runs each statement at once.
type direct struct {
	h handle
	d *sqlstore.Dialect
}

// Exec implements sqlstore.Querier.
func (q direct) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := q.h.ExecContext(own(ctx), q.d.SQL(query), raw(args)...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Later implements sqlstore.Querier.
func (q direct) Later(ctx context.Context, query string, args ...any) error {
	_, err := q.Exec(ctx, query, args...)
	return err
}

// Query implements sqlstore.Querier.
func (q direct) Query(ctx context.Context, query string, args []any, each func(sqlstore.Row) error) error {
	rows, err := q.h.QueryContext(own(ctx), q.d.SQL(query), raw(args)...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// raw turns text into bytes: our columns are binary, and no server looks whether
// the text is any.
func raw(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = a
		if text, is := a.(string); is {
			out[i] = []byte(text)
		}
	}
	return out
}

// database is the store as the roles beside batches need it.
type database struct{ s *Store }

// Read implements sqlstore.DB.
func (d database) Read() (sqlstore.Querier, error) {
	if err := d.s.open(); err != nil {
		return nil, err
	}
	return direct{d.s.pool, d.s.D}, nil
}

// tries is how often a transaction of the store's own is redone after a deadlock.
const tries = 10

// Write implements sqlstore.DB. After a deadlock it does f again: InnoDB finds
// them between any two writers of neighbouring rows, and nothing has happened.
func (d database) Write(ctx context.Context, what string, f func(sqlstore.Querier) error) error {
	for n := 1; ; n++ {
		err := d.write(ctx, what, f)
		if err == nil || n == tries || codeOf(err) != codeDeadlock || ctx.Err() != nil {
			return err
		}
		time.Sleep(rand.N(time.Duration(n) * 2 * time.Millisecond))
	}
}

func (d database) write(ctx context.Context, what string, f func(sqlstore.Querier) error) error {
	t, err := d.s.begin(ctx)
	if err != nil {
		return d.Wrap(what, err)
	}
	if err := f(t.direct); err != nil {
		_ = t.Rollback()
		return d.Wrap(what, err)
	}
	if err := t.Commit(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Wrap implements sqlstore.DB.
func (d database) Wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return sqlstore.Own("mysql store "+d.s.name, what, hint(err), err)
}
