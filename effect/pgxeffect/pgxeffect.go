// Package pgxeffect lets table effects run in transactions of pgx:
//
//	tables, err := effect.NewTablesOn(ctx, pgxeffect.Conn(pool), effect.PostgreSQL(), list)
//	handler := effect.BatchHandler(tables, pgxeffect.Tx) // a rollcall.BatchHandler[pgx.Tx]
package pgxeffect

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rollcall-mq/rollcall/effect"
)

// Handle is what pools, connections and transactions of pgx share.
type Handle interface {
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

// Conn adapts a pool, a connection or a transaction.
func Conn(h Handle) effect.Conn { return conn{h} }

// Tx adapts the transaction of a handler, see effect.BatchHandler.
func Tx(tx pgx.Tx) effect.Conn { return conn{tx} }

type conn struct{ h Handle }

func (c conn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := c.h.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (c conn) Query(ctx context.Context, query string, args ...any) (effect.Rows, error) {
	rows, err := c.h.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return rows, nil
}
