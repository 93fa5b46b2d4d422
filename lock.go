package rollcall

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// LockKey names what is locked. Both are required, and compared byte by byte.
type LockKey struct {
	// Scope is what Name is a name of. Upkeep.Sweep takes it as its group.
	Scope string
	// Name of the one thing.
	Name string
}

func (k LockKey) String() string { return fmt.Sprintf("%q of %q", k.Name, k.Scope) }

// LockConfig is the settings of Lock. The zero value is safe.
type LockConfig struct {
	// Clock is where time comes from, for renewing and waiting. Default: the system's.
	Clock Clock
	// Lease is how long the lock stays taken when its holder dies. It is renewed at
	// thirds of it. At least 10 ms. Default: 30 s.
	Lease time.Duration
	// Poll is how often a lock that another has is asked for. Default: 50 ms.
	Poll time.Duration
	// Wait is how long to wait for a lock that another has. Default: not at all.
	Wait time.Duration
}

// Lock takes a lock with a fencing token, in the claims of a SQL store or of
// Redis. It saves work that two would do at the same time. It is no protection:
//
// A lock alone doubles and loses. It ends while its holder sleeps, and remembers
// nothing of what was done: in `rollcall demo` (docs/demo.txt; 300 messages, 8
// kills) the textbook's "ttl-lock" doubled 4, and "lock-busy-skip", which ends
// when the lock is busy, lost 3 and doubled 1; `rollcall check` refuses a lock as
// a strategy. So:
//
//   - the resource itself compares Held.Token, in the transaction of the change:
//
//     UPDATE report SET text = …, token = $token WHERE id = … AND token <= $token
//
//     No row: another has the lock since; nothing was changed. With no such
//     compare the lock guards nothing while its holder is stopped.
//
//   - what must happen once has a record beside it: Once, Record, a Consumer.
//
//   - a busy lock (ErrInProgress) is no success: what was to be done is still to
//     be done if its holder fails.
//
// ctx bounds the asking only: the lock is held until Unlock, or until it is lost.
//
// Errors: ErrInProgress, another has it (after LockConfig.Wait); ErrConfig;
// ErrTryAgain, the claims did not answer, and the lock may be held by nobody
// until its lease is over. In each case it is not held.
func Lock(ctx context.Context, claims Claims, key LockKey, config LockConfig) (*Held, error) {
	config.Lease = orDefault(config.Lease, 30*time.Second)
	config.Poll = orDefault(config.Poll, 50*time.Millisecond)
	if config.Clock == nil {
		config.Clock = systemClock{}
	}
	switch {
	case key.Scope == "" || key.Name == "":
		return nil, configError("LockKey", key, "say what is locked, both fields; nothing was locked")
	case config.Lease < 10*time.Millisecond:
		return nil, configError("LockConfig.Lease", config.Lease, "give it time for a renewal, 10 ms at least; nothing was locked")
	}
	for begun := config.Clock.Now(); ; {
		h := &Held{key: key, leased: leased{claims: claims, group: key.Scope, key: key.hash(), lease: config.Lease, clock: config.Clock}}
		since := config.Clock.Now()
		c, err := claims.Claim(ctx, h.group, h.leased.key, h.lease)
		switch {
		case errors.Is(err, ErrInDoubt):
			return nil, fmt.Errorf("%w: lock %s: not held: %v", ErrTryAgain, key, err)
		case err != nil:
			return nil, fmt.Errorf("lock %s: not held: %w", key, err)
		case c.State == ClaimFresh:
			h.token = c.Token
			h.keep(ctx, since)
			return h, nil
		case c.State != ClaimInProgress:
			return nil, fmt.Errorf("lock %s: not held: its claim is in state %d, which no lock leaves: nothing else may use this key", key, c.State)
		}
		if since.Sub(begun) >= config.Wait {
			return nil, fmt.Errorf("%w: lock %s: another has it, waited %v: what it does may fail, so try again", ErrInProgress, key, config.Wait)
		}
		if err := config.Clock.Sleep(ctx, config.Poll); err != nil {
			return nil, fmt.Errorf("lock %s: not held: waiting ended: %w", key, err)
		}
	}
}

func (k LockKey) hash() DedupKey {
	h := sha256.New()
	h.Write([]byte{keyFormat})
	writeField(h, k.Scope)
	writeField(h, k.Name)
	return roleKey(roleLock, 0, DedupKey(h.Sum(nil)[:16]))
}

// Held is a lock that was taken. Unlock ends its renewals.
type Held struct {
	key LockKey
	leased
}

// Token is higher than that of every earlier holder, as long as the claims keep
// their memory (see package store/redis for what Redis adds). The resource
// compares it.
func (h *Held) Token() Token { return h.token }

// Done is closed when the lock was lost: another has it, or its lease ran out
// while the claims did not answer. Stop then. A holder that is stopped itself
// learns of it when it goes on, which is too late: hence the Token.
func (h *Held) Done() <-chan struct{} { return h.lost }

// Err is why Done was closed, nil before.
func (h *Held) Err() error { return h.err() }

// Unlock gives the lock back. ErrFenced: it was lost before, another may have
// worked at the same time. Any other error: it is free when its lease is over.
func (h *Held) Unlock(ctx context.Context) error {
	h.stop()
	if err := h.claims.Release(ctx, h.group, h.leased.key, h.token); err != nil {
		return fmt.Errorf("unlock %s: %w", h.key, err)
	}
	return nil
}
