package specimen

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall/verify/fault"
)

// ErrBusiness: the order cannot be booked now. It may be, later.
var ErrBusiness = errors.New("the order was declined")

// The attempts of one message, and the wait after the first; it doubles.
const (
	attempts = 4
	backoff  = 60 * time.Millisecond
)

// Schema is the business database: the ledger of effects, without a unique
// index, which would hide a double; a balance beside it; what was rejected for
// all to see; and the tables of patterns that keep their records there.
const Schema = `
CREATE TABLE ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, customer TEXT NOT NULL, cents INTEGER NOT NULL,
	pid INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE balance (cents INTEGER NOT NULL);
INSERT INTO balance VALUES (0);
CREATE TABLE rejected (id TEXT NOT NULL, cause TEXT NOT NULL);
CREATE TABLE processed (id TEXT PRIMARY KEY);
CREATE TABLE offsets (topic TEXT PRIMARY KEY, next INTEGER NOT NULL);
`

// Book is the effect of an order: a row in the ledger, and the balance.
func Book(ctx context.Context, tx *sql.Tx, pid int, m Message) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO ledger (id, customer, cents, pid, at) VALUES (?, ?, ?, ?, ?)`,
		m.ID, m.Customer, m.Cents, pid, time.Now().UnixNano())
	if err == nil {
		_, err = tx.ExecContext(ctx, `UPDATE balance SET cents = cents + ?`, m.Cents)
	}
	return err
}

// work books an order, tries again in place while it is declined, and in the
// end rejects it where everybody can see it, as a dead-letter queue does. more
// runs in the transaction of the effect. Errors are the infrastructure's.
func (w *Worker) work(ctx context.Context, m Message, more func(*sql.Tx) error) error {
	if err := w.At(ctx, fault.BeforeEffect, m); err != nil {
		return err
	}
	wait := backoff
	for attempt := 1; ; attempt++ {
		err := w.book(ctx, m, more)
		if err == nil {
			return w.At(ctx, fault.AfterEffect, m)
		}
		if !errors.Is(err, ErrBusiness) {
			return err
		}
		if attempt == attempts {
			return w.reject(ctx, m, err, more)
		}
		if err := w.At(ctx, fault.InRetry, m); err != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wait *= 2
	}
}

// book is one attempt in one transaction.
func (w *Worker) book(ctx context.Context, m Message, more func(*sql.Tx) error) error {
	err := w.transact(ctx, func(tx *sql.Tx) error {
		if err := Book(ctx, tx, w.PID, m); err != nil {
			return err
		}
		if err := w.Charge(ctx, m); err != nil {
			return err
		}
		if err := w.At(ctx, fault.InEffect, m); err != nil {
			return err
		}
		if more != nil {
			if err := more(tx); err != nil {
				return err
			}
		}
		return w.At(ctx, fault.BeforeCommit, m)
	})
	if err != nil {
		return err
	}
	return w.At(ctx, fault.Committing, m)
}

func (w *Worker) reject(ctx context.Context, m Message, cause error, more func(*sql.Tx) error) error {
	return w.transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO rejected (id, cause) VALUES (?, ?)`, m.ID, cause.Error()); err != nil {
			return err
		}
		if more == nil {
			return nil
		}
		return more(tx)
	})
}

func (w *Worker) transact(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := w.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
