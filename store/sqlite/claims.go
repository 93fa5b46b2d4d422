package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// claims implements rollcall.Claims; each call is a transaction of its own.
type claims struct{ s *Store }

// Claims is the leased two-phase record, for effects outside of the file.
func (s *Store) Claims() rollcall.Claims { return claims{s} }

// Claim takes the key for lease. All keys of the file have their tokens of one
// counter: a row may be deleted, and the key's next token is higher all the same.
func (c claims) Claim(ctx context.Context, group string, key rollcall.DedupKey, lease time.Duration) (rollcall.Claim, error) {
	var out rollcall.Claim
	if lease <= 0 {
		return out, fmt.Errorf("%w: claim: a lease of %v is over at once: give it time for the work; nothing was claimed", rollcall.ErrConfig, lease)
	}
	err := c.turn(ctx, "claim a key", group, key, func(tx *sql.Tx, had *rows.Claim) error {
		now := c.s.config.Now()
		if had != nil && had.Until > rows.Nanos(now) {
			out = rollcall.Claim{State: rollcall.ClaimInProgress}
			if had.Done {
				out = rollcall.Claim{State: rollcall.ClaimDone, Result: had.Result}
			}
			return nil
		}
		var token int64
		err := tx.QueryRowContext(ctx, "UPDATE rollcall_schema SET claim_token = claim_token + 1 RETURNING claim_token").Scan(&token)
		if err != nil {
			return err
		}
		out = rollcall.Claim{State: rollcall.ClaimFresh, Token: rollcall.Token(token)}
		return put(ctx, tx, &rows.Claim{Group: group, Key: key[:], Token: token, Until: rows.Nanos(now.Add(lease))})
	})
	if err != nil {
		return rollcall.Claim{}, err
	}
	return out, nil
}

// Renew prolongs the lease. A lease that is over is still its owner's until
// another claims the key.
func (c claims) Renew(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token, lease time.Duration) error {
	return c.turn(ctx, "renew a claim", group, key, func(tx *sql.Tx, had *rows.Claim) error {
		if err := rows.Owned(had, key, token); err != nil {
			return err
		}
		had.Until = max(had.Until, rows.Nanos(c.s.config.Now().Add(lease)))
		return put(ctx, tx, had)
	})
}

// Complete records the result for the window.
func (c claims) Complete(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token, result []byte, window time.Duration) error {
	if window <= 0 {
		return fmt.Errorf("%w: claim: a window of %v forgets the result at once; nothing was completed", rollcall.ErrConfig, window)
	}
	if len(result) > rollcall.MaxResult {
		return fmt.Errorf("%w: claim: a result of %d bytes, at most %d are kept: complete with what names it; nothing was completed",
			rollcall.ErrConfig, len(result), rollcall.MaxResult)
	}
	return c.turn(ctx, "complete a claim", group, key, func(tx *sql.Tx, had *rows.Claim) error {
		if had != nil && had.Done && had.Token == int64(token) {
			return nil // again: the answer of the first time was lost
		}
		if err := rows.Owned(had, key, token); err != nil {
			return err
		}
		had.Done, had.Until, had.Result = true, rows.Nanos(c.s.config.Now().Add(window)), append([]byte{}, result...)
		return put(ctx, tx, had)
	})
}

// Release deletes the row.
func (c claims) Release(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token) error {
	return c.turn(ctx, "release a claim", group, key, func(tx *sql.Tx, had *rows.Claim) error {
		if err := rows.Owned(had, key, token); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM rollcall_claims WHERE grp = ? AND key = ?", group, key[:])
		return err
	})
}

// turn is one write transaction with the key's row read: Begin has locked the
// whole file, so what f decides on is what it changes.
func (c claims) turn(ctx context.Context, what, group string, key rollcall.DedupKey, f func(*sql.Tx, *rows.Claim) error) error {
	return c.s.write(ctx, what, func(tx *sql.Tx) error {
		var had *rows.Claim
		err := each(ctx, tx, "SELECT token, done, until, result, crc FROM rollcall_claims WHERE grp = ? AND key = ?", []any{group, key[:]},
			func(r *sql.Rows) error {
				had = &rows.Claim{Group: group, Key: key[:]}
				crc := int64(0)
				if err := r.Scan(&had.Token, &had.Done, &had.Until, &had.Result, &crc); err != nil {
					return err
				}
				return had.Check(crc)
			})
		if err != nil {
			return err
		}
		return f(tx, had)
	})
}

func put(ctx context.Context, tx *sql.Tx, r *rows.Claim) error {
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO rollcall_claims (grp, key, token, done, until, result, crc) VALUES "+dialect.List(7),
		r.Group, r.Key, r.Token, r.Done, r.Until, r.Result, r.Sum())
	return err
}
