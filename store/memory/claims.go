package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// claims implements rollcall.Claims.
type claims struct{ store *Store }

// claim is the row of a key.
type claim struct {
	token rollcall.Token
	done  bool
	until time.Time // end of the lease; of the window when done
	data  []byte
}

func claimRow(group string, k rollcall.DedupKey) row {
	return row{"claim", fmt.Sprintf("%q %x", group, k)}
}

// Claims is the leased two-phase record.
func (s *Store) Claims() rollcall.Claims { return claims{s} }

// Claim implements rollcall.Claims. One sequence gives all tokens, so that a
// row may go and the key's next token is higher all the same.
func (c claims) Claim(ctx context.Context, group string, k rollcall.DedupKey, lease time.Duration) (out rollcall.Claim, err error) {
	if lease <= 0 {
		return out, fmt.Errorf("%w: claim: a lease of %v is over at once: give it time for the work; nothing was claimed", rollcall.ErrConfig, lease)
	}
	err = c.turn(ctx, group, k, func(t *Tx, at row, had *claim) error {
		switch now := c.store.now(); {
		case had != nil && had.until.After(now) && had.done:
			out = rollcall.Claim{State: rollcall.ClaimDone, Result: had.data}
		case had != nil && had.until.After(now):
			out = rollcall.Claim{State: rollcall.ClaimInProgress}
		default:
			c.store.db.sequence++
			out = rollcall.Claim{State: rollcall.ClaimFresh, Token: rollcall.Token(c.store.db.sequence)}
			t.session.write(at, claim{token: out.Token, until: now.Add(lease)})
		}
		return nil
	})
	return out, err
}

// Renew implements rollcall.Claims.
func (c claims) Renew(ctx context.Context, group string, k rollcall.DedupKey, token rollcall.Token, lease time.Duration) error {
	return c.turn(ctx, group, k, func(t *Tx, at row, had *claim) error {
		if err := owned(had, k, token); err != nil {
			return err
		}
		if until := c.store.now().Add(lease); until.After(had.until) {
			had.until = until
		}
		t.session.write(at, *had)
		return nil
	})
}

// Complete implements rollcall.Claims.
func (c claims) Complete(ctx context.Context, group string, k rollcall.DedupKey, token rollcall.Token, data []byte, window time.Duration) error {
	if window <= 0 {
		return fmt.Errorf("%w: claim: a window of %v forgets the result at once; nothing was completed", rollcall.ErrConfig, window)
	}
	if len(data) > rollcall.MaxResult {
		return fmt.Errorf("%w: claim: a result of %d bytes, at most %d are kept: complete with what names it; nothing was completed",
			rollcall.ErrConfig, len(data), rollcall.MaxResult)
	}
	return c.turn(ctx, group, k, func(t *Tx, at row, had *claim) error {
		if had != nil && had.done && had.token == token {
			return nil // again: the answer of the first time was lost
		}
		if err := owned(had, k, token); err != nil {
			return err
		}
		t.session.write(at, claim{token: token, done: true, until: c.store.now().Add(window), data: append([]byte{}, data...)})
		return nil
	})
}

// Release implements rollcall.Claims.
func (c claims) Release(ctx context.Context, group string, k rollcall.DedupKey, token rollcall.Token) error {
	return c.turn(ctx, group, k, func(t *Tx, at row, had *claim) error {
		if err := owned(had, k, token); err != nil {
			return err
		}
		t.session.write(at, nil)
		return nil
	})
}

// turn is one transaction with the key's row locked.
func (c claims) turn(ctx context.Context, group string, k rollcall.DedupKey, f func(t *Tx, at row, had *claim) error) error {
	return c.store.do(func(t *Tx) error {
		at := claimRow(group, k)
		if err := t.session.lock(ctx, at, true); err != nil {
			return err
		}
		v, found := t.session.read(at)
		if !found {
			return f(t, at, nil)
		}
		had := v.(claim)
		return f(t, at, &had)
	})
}

// owned compares the token, and that there is something left to own.
func owned(had *claim, k rollcall.DedupKey, token rollcall.Token) error {
	switch {
	case had == nil:
		return fmt.Errorf("%w: key %x: token %d, nobody has the key", rollcall.ErrFenced, k, token)
	case had.token != token:
		return fmt.Errorf("%w: key %x: token %d, the key has %d", rollcall.ErrFenced, k, token, had.token)
	case had.done:
		return fmt.Errorf("%w: key %x: token %d, it is completed", rollcall.ErrFenced, k, token)
	}
	return nil
}
