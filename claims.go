package rollcall

import (
	"context"
	"time"
)

// Claims takes DedupKeys before something is done outside the transaction: the
// leased two-phase record. It is a contract of its own because Redis can keep
// it and nothing else. Every call is one turn, atomic, and conditional on the
// owner's token. The store's own clock judges leases and windows.
//
// Who was paused for longer than its lease may have been overtaken: what it
// then does outside is not fenced by this, only its record is. So the receiver
// must accept our key, or such an effect is in doubt. Record and Lock stand on
// this and take care of it: use them rather than this.
type Claims interface {
	// Claim takes the key for lease. Fresh: it is ours under the token
	// returned, also when an earlier owner's lease ran out; it is higher than
	// every token that the key ever had. InProgress: another holds it. Done:
	// Result is what its owner completed it with.
	//
	// A Claim whose answer was lost may hold the key under a token that nobody
	// knows: the next one is InProgress until that lease is over, then Fresh. A
	// driver never repeats a Claim by itself, unless it can tell its own from
	// another's.
	Claim(ctx context.Context, group string, key DedupKey, lease time.Duration) (Claim, error)
	// Renew prolongs the lease, it never shortens it. ErrFenced when it is no
	// longer ours, or completed.
	Renew(ctx context.Context, group string, key DedupKey, token Token, lease time.Duration) error
	// Complete records the result for the window. ErrFenced when it is no
	// longer ours; completing again with our token is no error, and the result
	// stays the first.
	Complete(ctx context.Context, group string, key DedupKey, token Token, result []byte, window time.Duration) error
	// Release gives the key back as if it had never been claimed. ErrFenced
	// when it is no longer ours, or completed: done is done.
	Release(ctx context.Context, group string, key DedupKey, token Token) error
}

// ClaimState is the state of a key.
type ClaimState uint8

// The states of a claim.
const (
	ClaimFresh ClaimState = iota
	ClaimInProgress
	ClaimDone
)

// Claim is the answer to Claims.Claim.
type Claim struct {
	State  ClaimState
	Token  Token
	Result []byte // only when Done
}
