package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rollcall-mq/rollcall/store/internal/sqlstore"
)

// handle is a pool, a connection or a transaction of pgx.
type handle interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// direct runs each statement at once.
type direct struct {
	h handle
	d *sqlstore.Dialect
}

// Exec implements sqlstore.Querier.
func (q direct) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := q.h.Exec(ctx, q.d.SQL(query), args...)
	return tag.RowsAffected(), err
}

// Later implements sqlstore.Querier.
func (q direct) Later(ctx context.Context, query string, args ...any) error {
	_, err := q.Exec(ctx, query, args...)
	return err
}

// Query implements sqlstore.Querier.
func (q direct) Query(ctx context.Context, query string, args []any, each func(sqlstore.Row) error) error {
	rows, err := q.h.Query(ctx, q.d.SQL(query), args...)
	return scan(rows, err, each)
}

// own runs the store's own statements in a handler's transaction: its savepoints
// are not refused.
type own struct{ u *userTx }

// Exec implements sqlstore.Querier.
func (o own) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if o.u.ended {
		return 0, pgx.ErrTxClosed
	}
	if err := o.u.t.flush(ctx); err != nil && !errors.Is(err, errAborted) { // undoing works then too
		return 0, err
	}
	tag, err := o.u.t.conn.Exec(ctx, o.u.t.s.D.SQL(query), args...)
	o.u.t.note(err)
	return tag.RowsAffected(), err
}

// Later implements sqlstore.Querier.
func (o own) Later(ctx context.Context, query string, args ...any) error {
	_, err := o.Exec(ctx, query, args...)
	return err
}

// Query implements sqlstore.Querier.
func (o own) Query(ctx context.Context, query string, args []any, each func(sqlstore.Row) error) error {
	return direct{o.u, o.u.t.s.D}.Query(ctx, query, args, each)
}

func scan(rows pgx.Rows, err error, each func(sqlstore.Row) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
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

// Write implements sqlstore.DB.
func (d database) Write(ctx context.Context, what string, f func(sqlstore.Querier) error) error {
	t, err := d.s.begin(ctx)
	if err != nil {
		return d.Wrap(what, err)
	}
	if err := f(t); err != nil {
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
	return sqlstore.Own("postgres store "+d.s.name, what, hint(err), err)
}
