package sqlstore

import (
	"context"
	"fmt"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// Claims implements rollcall.Claims; each call is a transaction of its own, and
// the server's clock judges leases and windows.
type Claims struct{ *Core }

// Claim takes the key for lease. All keys have their tokens of one counter: a
// row may be deleted, and the key's next token is higher all the same.
func (c Claims) Claim(ctx context.Context, group string, key rollcall.DedupKey, lease time.Duration) (rollcall.Claim, error) {
	var out rollcall.Claim
	if lease <= 0 {
		return out, fmt.Errorf("%w: claim: a lease of %v is over at once: give it time for the work; nothing was claimed", rollcall.ErrConfig, lease)
	}
	err := c.turn(ctx, "claim a key", group, key, func(q Querier, had *rows.Claim, now int64) error {
		if had.Token > 0 && had.Until > now {
			out = rollcall.Claim{State: rollcall.ClaimInProgress}
			if had.Done {
				out = rollcall.Claim{State: rollcall.ClaimDone, Result: had.Result}
			}
			return nil
		}
		var token int64
		if err := q.Later(ctx, "UPDATE rollcall.schema_version SET claim_token = claim_token + 1"); err != nil {
			return err
		}
		err := q.Query(ctx, "SELECT claim_token FROM rollcall.schema_version", nil, func(r Row) error { return r.Scan(&token) })
		if err != nil {
			return err
		}
		out = rollcall.Claim{State: rollcall.ClaimFresh, Token: rollcall.Token(token)}
		return put(ctx, q, &rows.Claim{Group: group, Key: key[:], Token: token, Until: now + lease.Nanoseconds()})
	})
	if err != nil {
		return rollcall.Claim{}, err
	}
	return out, nil
}

// Renew prolongs the lease. A lease that is over is still its owner's until
// another claims the key.
func (c Claims) Renew(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token, lease time.Duration) error {
	return c.owned(ctx, "renew a claim", group, key, token, func(q Querier, had *rows.Claim, now int64) error {
		had.Until = max(had.Until, now+lease.Nanoseconds())
		return put(ctx, q, had)
	})
}

// Complete records the result for the window.
func (c Claims) Complete(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token, result []byte, window time.Duration) error {
	if window <= 0 {
		return fmt.Errorf("%w: claim: a window of %v forgets the result at once; nothing was completed", rollcall.ErrConfig, window)
	}
	if len(result) > rollcall.MaxResult {
		return fmt.Errorf("%w: claim: a result of %d bytes, at most %d are kept: complete with what names it; nothing was completed",
			rollcall.ErrConfig, len(result), rollcall.MaxResult)
	}
	return c.turn(ctx, "complete a claim", group, key, func(q Querier, had *rows.Claim, now int64) error {
		if had.Done && had.Token == int64(token) {
			return nil // again: the answer of the first time was lost
		}
		if err := rows.Owned(orNil(had), key, token); err != nil {
			return err
		}
		had.Done, had.Until, had.Result = true, now+window.Nanoseconds(), append([]byte{}, result...)
		return put(ctx, q, had)
	})
}

// Release gives the key back.
func (c Claims) Release(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token) error {
	return c.owned(ctx, "release a claim", group, key, token, func(q Querier, _ *rows.Claim, _ int64) error {
		return q.Later(ctx, "DELETE FROM rollcall.claims WHERE grp = ? AND dedup_key = ?", group, key[:])
	})
}

func (c Claims) owned(ctx context.Context, what, group string, key rollcall.DedupKey, token rollcall.Token, f func(Querier, *rows.Claim, int64) error) error {
	return c.turn(ctx, what, group, key, func(q Querier, had *rows.Claim, now int64) error {
		if err := rows.Owned(orNil(had), key, token); err != nil {
			return err
		}
		return f(q, had, now)
	})
}

// orNil: a row of token 0 is one that turn has just made to lock it.
func orNil(had *rows.Claim) *rows.Claim {
	if had.Token == 0 {
		return nil
	}
	return had
}

// turn is one transaction with the key's row locked: one that is not there is
// made, with token 0, so that two first claims meet.
func (c Claims) turn(ctx context.Context, what, group string, key rollcall.DedupKey, f func(q Querier, had *rows.Claim, now int64) error) error {
	return c.Database.Write(ctx, what, func(q Querier) error {
		var had *rows.Claim
		now := int64(0)
		for now == 0 { // else it was given back, or swept, between the two statements
			var err error
			if had, now, err = c.lock(ctx, q, group, key); err != nil {
				return err
			}
		}
		if err := f(q, had, now); err != nil {
			return err
		}
		return q.Later(ctx, "DELETE FROM rollcall.claims WHERE grp = ? AND dedup_key = ? AND token = 0", group, key[:])
	})
}

// lock makes the row of a key if it is not there, locks and reads it, with the
// server's time: 0 if it went meanwhile.
func (c Claims) lock(ctx context.Context, q Querier, group string, key rollcall.DedupKey) (had *rows.Claim, now int64, err error) {
	had = &rows.Claim{Group: group, Key: key[:]}
	query, list := c.D.insert("claims", 1, c.D.nothing("grp, dedup_key"), value("grp", "text", group), list("dedup_key", "bytea", [][]byte{had.Key}),
		value("token", "bigint", 0), value("done", "boolean", false), value("ends", "bigint", 0), value("crc", "bigint", had.Sum()))
	if err := q.Later(ctx, query, list...); err != nil {
		return nil, 0, err
	}
	var crc int64
	err = q.Query(ctx, "SELECT token, done, ends, result, crc, {nanos} FROM rollcall.claims WHERE grp = ? AND dedup_key = ? FOR UPDATE",
		args(group, key[:]), func(r Row) error {
			if err := r.Scan(&had.Token, &had.Done, &had.Until, &had.Result, &crc, &now); err != nil {
				return err
			}
			return had.Check(crc)
		})
	return had, now, err
}

func put(ctx context.Context, q Querier, r *rows.Claim) error {
	return q.Later(ctx, "UPDATE rollcall.claims SET token = ?, done = ?, ends = ?, result = ?, crc = ? WHERE grp = ? AND dedup_key = ?",
		r.Token, r.Done, r.Until, r.Result, r.Sum(), r.Group, r.Key)
}

var _ rollcall.Claims = Claims{}
