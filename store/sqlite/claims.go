package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// claims implements rollcall.Claims; each call is a transaction of its own.
type claims struct{ s *Store }

// Claims is the leased two-phase record, for effects outside of the file.
func (s *Store) Claims() rollcall.Claims { return claims{s} }

// claimRow is a row of rollcall_claims.
type claimRow struct {
	group  string
	key    []byte
	token  int64
	done   bool
	until  int64 // end of the lease; of the window when done
	result []byte
}

func (r *claimRow) sum() int64 { return sum(r.group, r.key, r.token, r.done, r.until, r.result) }

// Claim takes the key for lease. All keys of the file have their tokens of one
// counter: a row may be deleted, and the key's next token is higher all the same.
func (c claims) Claim(ctx context.Context, group string, key rollcall.DedupKey, lease time.Duration) (rollcall.Claim, error) {
	var out rollcall.Claim
	if lease <= 0 {
		return out, fmt.Errorf("%w: claim: a lease of %v is over at once: give it time for the work; nothing was claimed", rollcall.ErrConfig, lease)
	}
	err := c.turn(ctx, "claim a key", group, key, func(tx *sql.Tx, had *claimRow) error {
		now := c.s.config.Now()
		if had != nil && had.until > nanos(now) {
			out = rollcall.Claim{State: rollcall.ClaimInProgress}
			if had.done {
				out = rollcall.Claim{State: rollcall.ClaimDone, Result: had.result}
			}
			return nil
		}
		var token int64
		err := tx.QueryRowContext(ctx, "UPDATE rollcall_schema SET claim_token = claim_token + 1 RETURNING claim_token").Scan(&token)
		if err != nil {
			return err
		}
		out = rollcall.Claim{State: rollcall.ClaimFresh, Token: rollcall.Token(token)}
		return put(ctx, tx, &claimRow{group: group, key: key[:], token: token, until: nanos(now.Add(lease))})
	})
	if err != nil {
		return rollcall.Claim{}, err
	}
	return out, nil
}

// Renew prolongs the lease. A lease that is over is still its owner's until
// another claims the key.
func (c claims) Renew(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token, lease time.Duration) error {
	return c.turn(ctx, "renew a claim", group, key, func(tx *sql.Tx, had *claimRow) error {
		if err := owned(had, key, token); err != nil {
			return err
		}
		had.until = max(had.until, nanos(c.s.config.Now().Add(lease)))
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
	return c.turn(ctx, "complete a claim", group, key, func(tx *sql.Tx, had *claimRow) error {
		if had != nil && had.done && had.token == int64(token) {
			return nil // again: the answer of the first time was lost
		}
		if err := owned(had, key, token); err != nil {
			return err
		}
		had.done, had.until, had.result = true, nanos(c.s.config.Now().Add(window)), append([]byte{}, result...)
		return put(ctx, tx, had)
	})
}

// Release deletes the row.
func (c claims) Release(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token) error {
	return c.turn(ctx, "release a claim", group, key, func(tx *sql.Tx, had *claimRow) error {
		if err := owned(had, key, token); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM rollcall_claims WHERE grp = ? AND key = ?", group, key[:])
		return err
	})
}

// turn is one write transaction with the key's row read: Begin has locked the
// whole file, so what f decides on is what it changes.
func (c claims) turn(ctx context.Context, what, group string, key rollcall.DedupKey, f func(*sql.Tx, *claimRow) error) error {
	return c.s.write(ctx, what, func(tx *sql.Tx) error {
		var had *claimRow
		err := each(ctx, tx, "SELECT token, done, until, result, crc FROM rollcall_claims WHERE grp = ? AND key = ?", []any{group, key[:]},
			func(rows *sql.Rows) error {
				had = &claimRow{group: group, key: key[:]}
				crc := int64(0)
				if err := rows.Scan(&had.token, &had.done, &had.until, &had.result, &crc); err != nil {
					return err
				}
				if crc != had.sum() {
					return fmt.Errorf("%w: the claim of key %x of %q does not match its sum: restore the store from a backup; nothing was changed",
						rollcall.ErrDamaged, key, group)
				}
				return nil
			})
		if err != nil {
			return err
		}
		return f(tx, had)
	})
}

func put(ctx context.Context, tx *sql.Tx, r *claimRow) error {
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO rollcall_claims (grp, key, token, done, until, result, crc) VALUES "+dialect.List(7),
		r.group, r.key, r.token, r.done, r.until, r.result, r.sum())
	return err
}

// owned compares the token, and that there is something left to own.
func owned(had *claimRow, key rollcall.DedupKey, token rollcall.Token) error {
	switch {
	case had == nil:
		return fmt.Errorf("%w: key %x: token %d, nobody has the key", rollcall.ErrFenced, key, token)
	case rollcall.Token(had.token) != token:
		return fmt.Errorf("%w: key %x: token %d, the key has %d", rollcall.ErrFenced, key, token, had.token)
	case had.done:
		return fmt.Errorf("%w: key %x: token %d, it is completed", rollcall.ErrFenced, key, token)
	}
	return nil
}
