package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Completion is what CompleteAll records of one key.
type Completion struct {
	Key    rollcall.DedupKey
	Token  rollcall.Token
	Result []byte
}

// Claim implements rollcall.Claims.
func (s *Store) Claim(ctx context.Context, group string, key rollcall.DedupKey, lease time.Duration) (rollcall.Claim, error) {
	all, err := s.ClaimAll(ctx, group, []rollcall.DedupKey{key}, lease)
	if err != nil {
		return rollcall.Claim{}, err
	}
	return all[0], nil
}

// ClaimAll claims different keys in one turn; the answers are in their order.
// After an error nothing was claimed, or all is in doubt (rollcall.ErrInDoubt).
func (s *Store) ClaimAll(ctx context.Context, group string, keys []rollcall.DedupKey, lease time.Duration) ([]rollcall.Claim, error) {
	if lease < time.Millisecond {
		return nil, fmt.Errorf("%w: claim: a lease of %v is over at once: give it time for the work; nothing was claimed", rollcall.ErrConfig, lease)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	names, err := s.names(group, keys)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // it never fails
	q := turn{claimScript, append([]string{s.at(group) + "token"}, names...), len(keys),
		[]any{lease.Microseconds(), s.config.Keep.Microseconds(), nonce}}
	answers, err := s.ask(ctx, q)
	if errors.Is(err, rollcall.ErrInDoubt) && ctx.Err() == nil {
		// The server may have claimed them for us. Asked with the same number it
		// says so.
		answers, err = s.askAnew(ctx, q, err)
	}
	if err != nil {
		return nil, s.explain("claim", "nothing was claimed", err)
	}
	claims := make([]rollcall.Claim, len(keys))
	for i, a := range answers {
		if claims[i], err = claimed(a); err != nil {
			return nil, s.explain("claim", "", err)
		}
	}
	return claims, nil
}

// claimed reads the answer for one key. What it does not know is no claim.
func claimed(a []string) (rollcall.Claim, error) {
	switch {
	case len(a) != 3:
	case a[0] == "done":
		return rollcall.Claim{State: rollcall.ClaimDone, Result: []byte(a[2])}, nil
	case a[0] == "busy":
		return rollcall.Claim{State: rollcall.ClaimInProgress}, nil
	case a[0] == "fresh":
		if token, err := strconv.ParseUint(a[1], 10, 64); err == nil && token > 0 {
			return rollcall.Claim{State: rollcall.ClaimFresh, Token: rollcall.Token(token)}, nil
		}
	}
	return rollcall.Claim{}, fmt.Errorf("%w: the answer %q cannot be read", rollcall.ErrInDoubt, a)
}

// Renew implements rollcall.Claims. A lease that is over can be renewed until
// another claims the key, or Config.Keep is over.
func (s *Store) Renew(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token, lease time.Duration) error {
	name := s.at(group) + hex.EncodeToString(key[:])
	answers, err := s.ask(ctx, turn{renewScript, []string{name}, 1, []any{uint64(token), max(lease, 0).Microseconds(), s.config.Keep.Microseconds()}})
	if err != nil {
		return s.explain("renew", "nothing was renewed", err)
	}
	return owner(answers[0], key, token)
}

// Release implements rollcall.Claims.
func (s *Store) Release(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token) error {
	name := s.at(group) + hex.EncodeToString(key[:])
	answers, err := s.ask(ctx, turn{releaseScript, []string{name}, 1, []any{uint64(token)}})
	if err != nil {
		return s.explain("release", "nothing was released", err)
	}
	return owner(answers[0], key, token)
}

// Complete implements rollcall.Claims.
func (s *Store) Complete(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token, result []byte, window time.Duration) error {
	return s.CompleteAll(ctx, group, []Completion{{key, token, result}}, window)[0]
}

// CompleteAll completes different keys in one turn, each on its own: it answers
// an error for each, nil when it is recorded.
func (s *Store) CompleteAll(ctx context.Context, group string, done []Completion, window time.Duration) []error {
	errs := make([]error, len(done))
	answers, err := s.completeAll(ctx, group, done, window)
	for i := range errs {
		if errs[i] = err; err == nil {
			errs[i] = owner(answers[i], done[i].Key, done[i].Token)
		}
	}
	return errs
}

func (s *Store) completeAll(ctx context.Context, group string, done []Completion, window time.Duration) ([][]string, error) {
	if len(done) == 0 {
		return nil, nil
	}
	if window < time.Millisecond {
		return nil, fmt.Errorf("%w: claim: a window of %v forgets the result at once; nothing was completed", rollcall.ErrConfig, window)
	}
	keys, args := make([]rollcall.DedupKey, len(done)), []any{window.Microseconds()}
	for i, d := range done {
		if len(d.Result) > rollcall.MaxResult {
			return nil, fmt.Errorf("%w: claim: a result of %d bytes, at most %d are kept: complete with what names it; nothing was completed",
				rollcall.ErrConfig, len(d.Result), rollcall.MaxResult)
		}
		keys[i], args = d.Key, append(args, uint64(d.Token), append([]byte{}, d.Result...))
	}
	names, err := s.names(group, keys)
	if err != nil {
		return nil, err
	}
	answers, err := s.ask(ctx, turn{completeScript, names, len(keys), args})
	if err != nil {
		return nil, s.explain("complete", "nothing was completed", err)
	}
	return answers, nil
}

// owner reads the answer to what only the owner may do.
func owner(a []string, key rollcall.DedupKey, token rollcall.Token) error {
	switch a[0] {
	case "ok", "again":
		return nil
	case "nobody":
		return fmt.Errorf("%w: key %x: token %d, nobody has the key", rollcall.ErrFenced, key, token)
	case "other":
		return fmt.Errorf("%w: key %x: token %d, the key has %s", rollcall.ErrFenced, key, token, a[1])
	case "done":
		return fmt.Errorf("%w: key %x: token %d, it is completed", rollcall.ErrFenced, key, token)
	}
	return fmt.Errorf("%w: key %x: the answer %q cannot be read", rollcall.ErrInDoubt, key, a)
}

// at is the beginning of the names of a group's keys. The braces put a group in
// one slot, should it ever be moved to a cluster.
func (s *Store) at(group string) string { return s.config.Prefix + ":{" + group + "}:" }

// names of the keys in Redis. A key twice in one turn would be answered twice.
func (s *Store) names(group string, keys []rollcall.DedupKey) ([]string, error) {
	names, seen := make([]string, len(keys)), make(map[rollcall.DedupKey]bool, len(keys))
	for i, k := range keys {
		if seen[k] {
			return nil, fmt.Errorf("%w: claim: key %x: twice in one turn: ask once; nothing was done", rollcall.ErrConfig, k)
		}
		seen[k] = true
		names[i] = s.at(group) + hex.EncodeToString(k[:])
	}
	return names, nil
}
