package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// ClaimStorage is one empty storage of claims, for one case.
type ClaimStorage struct {
	// Open connects as one more process would.
	Open func(t testing.TB) rollcall.Claims
	// Pass makes the store's own clock go on: a clock that is set, or waiting.
	Pass func(d time.Duration)
	// Sweep removes what is over; nil where the store does it by itself.
	Sweep func(t testing.TB, group string, window time.Duration)
}

// ClaimCase is one named test.
type ClaimCase struct {
	Name string
	Run  func(t *testing.T, c ClaimStorage)
}

// RunClaims is the acceptance test of rollcall.Claims, and of what stands on it:
// rollcall.Record and rollcall.Lock.
func RunClaims(t *testing.T, h func(t testing.TB) ClaimStorage) {
	for _, c := range append(ClaimCases(), RecordCases()...) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Run(t, h(t))
		})
	}
}

// ClaimCases is the kit of claims, by name.
func ClaimCases() []ClaimCase {
	return []ClaimCase{
		{"claim-states", claimStates},
		{"claim-expired", claimExpired},
		{"claim-renew", claimRenew},
		{"claim-complete-again", claimCompleteAgain},
		{"claim-token", claimToken},
		{"claim-release", claimRelease},
		{"claim-window", claimWindow},
		{"claim-are-bytes", claimBytes},
		{"claim-together", claimTogether},
	}
}

const lease = 2 * time.Second

var theKey = rollcall.DedupKey{1}

// wantClaim claims theKey and compares the answer.
func wantClaim(t *testing.T, c rollcall.Claims, want rollcall.ClaimState, result string) rollcall.Token {
	t.Helper()
	got, err := c.Claim(ctxb, group, theKey, lease)
	if err != nil || got.State != want || string(got.Result) != result || (got.Token > 0) != (want == rollcall.ClaimFresh) {
		t.Fatalf("claim: %+v %v, want state %d and result %q", got, err, want, result)
	}
	return got.Token
}

// wantFenced tries all that an owner may with a token that is not the owner's.
func wantFenced(t *testing.T, c rollcall.Claims, token rollcall.Token) {
	t.Helper()
	for what, err := range map[string]error{
		"renew":    c.Renew(ctxb, group, theKey, token, lease),
		"complete": c.Complete(ctxb, group, theKey, token, []byte("stolen"), time.Hour),
		"release":  c.Release(ctxb, group, theKey, token),
	} {
		if !errors.Is(err, rollcall.ErrFenced) {
			t.Fatalf("%s with token %d: %v, want ErrFenced", what, token, err)
		}
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// claimStates: Fresh for the first, InProgress for all others while it holds
// the key, Done with its result afterwards. Groups are apart.
func claimStates(t *testing.T, s ClaimStorage) {
	one, two := s.Open(t), s.Open(t)
	token := wantClaim(t, one, rollcall.ClaimFresh, "")
	wantClaim(t, two, rollcall.ClaimInProgress, "")
	wantClaim(t, one, rollcall.ClaimInProgress, "")
	if other, err := two.Claim(ctxb, "another group", theKey, lease); err != nil || other.State != rollcall.ClaimFresh {
		t.Fatalf("%+v %v: a key of another group is another key", other, err)
	}
	noError(t, one.Complete(ctxb, group, theKey, token, []byte("paid"), time.Hour))
	wantClaim(t, two, rollcall.ClaimDone, "paid")
	s.Pass(lease + time.Second)
	wantClaim(t, one, rollcall.ClaimDone, "paid") // the lease does not end it
}

// claimExpired: when a lease is over the next Claim is Fresh under a higher
// token, and the old owner can do nothing any more.
func claimExpired(t *testing.T, s ClaimStorage) {
	one, two := s.Open(t), s.Open(t)
	old := wantClaim(t, one, rollcall.ClaimFresh, "")
	s.Pass(lease - time.Second)
	wantClaim(t, two, rollcall.ClaimInProgress, "")
	s.Pass(2 * time.Second)
	token := wantClaim(t, two, rollcall.ClaimFresh, "")
	if token <= old {
		t.Fatalf("token %d after %d: it must rise when the key changes hands", token, old)
	}
	wantFenced(t, one, old)
	noError(t, two.Complete(ctxb, group, theKey, token, []byte("paid"), time.Hour))
	wantFenced(t, one, old)
	wantClaim(t, one, rollcall.ClaimDone, "paid")
}

// claimRenew: a lease renewed in time holds on; Renew never shortens it; a
// lease that is over can still be renewed when nobody has claimed the key since,
// sweeping or not.
func claimRenew(t *testing.T, s ClaimStorage) {
	c := s.Open(t)
	token := wantClaim(t, c, rollcall.ClaimFresh, "")
	s.Pass(lease - time.Second)
	noError(t, c.Renew(ctxb, group, theKey, token, lease))
	noError(t, c.Renew(ctxb, group, theKey, token, time.Millisecond))
	s.Pass(lease - time.Second)
	wantClaim(t, c, rollcall.ClaimInProgress, "")
	s.Pass(2 * time.Second)
	if s.Sweep != nil {
		s.Sweep(t, group, time.Hour)
	}
	noError(t, c.Renew(ctxb, group, theKey, token, lease))
	wantClaim(t, c, rollcall.ClaimInProgress, "")
	if _, err := c.Claim(ctxb, group, rollcall.DedupKey{2}, 0); !errors.Is(err, rollcall.ErrConfig) {
		t.Fatalf("a lease of nothing: %v, want ErrConfig", err)
	}
}

// claimCompleteAgain: completing again with our token is no error, and the
// first result stays. Done is done: it is not renewed and not released.
func claimCompleteAgain(t *testing.T, s ClaimStorage) {
	c := s.Open(t)
	token := wantClaim(t, c, rollcall.ClaimFresh, "")
	noError(t, c.Complete(ctxb, group, theKey, token, []byte("first"), time.Hour))
	noError(t, c.Complete(ctxb, group, theKey, token, []byte("second"), time.Hour))
	for what, err := range map[string]error{
		"renew":   c.Renew(ctxb, group, theKey, token, lease),
		"release": c.Release(ctxb, group, theKey, token),
	} {
		if !errors.Is(err, rollcall.ErrFenced) {
			t.Fatalf("%s of what is completed: %v, want ErrFenced", what, err)
		}
	}
	wantClaim(t, c, rollcall.ClaimDone, "first")
	if err := c.Complete(ctxb, group, theKey, token, make([]byte, rollcall.MaxResult+1), time.Hour); !errors.Is(err, rollcall.ErrConfig) {
		t.Fatalf("a result above MaxResult: %v, want ErrConfig", err)
	}
}

// claimToken: only the very token of the owner counts, neither a lower nor a
// higher one, nor one of a key that nobody has.
func claimToken(t *testing.T, s ClaimStorage) {
	c := s.Open(t)
	wantFenced(t, c, 1)
	token := wantClaim(t, c, rollcall.ClaimFresh, "")
	wantFenced(t, c, token+1)
	wantFenced(t, c, token-1)
	noError(t, c.Complete(ctxb, group, theKey, token, []byte("ours"), time.Hour))
	wantFenced(t, c, token+1)
	wantClaim(t, c, rollcall.ClaimDone, "ours")
}

// claimRelease: a released key is as if it had never been claimed, but its
// token still only rises.
func claimRelease(t *testing.T, s ClaimStorage) {
	c := s.Open(t)
	last := rollcall.Token(0)
	for range 3 {
		token := wantClaim(t, c, rollcall.ClaimFresh, "")
		if token <= last {
			t.Fatalf("token %d after %d: it must rise over a release", token, last)
		}
		noError(t, c.Release(ctxb, group, theKey, token))
		wantFenced(t, c, token)
		last = token
	}
}

// claimWindow: a result is kept for the window, sweeping or not; afterwards the
// key is new, under a higher token.
func claimWindow(t *testing.T, s ClaimStorage) {
	c := s.Open(t)
	old := wantClaim(t, c, rollcall.ClaimFresh, "")
	noError(t, c.Complete(ctxb, group, theKey, old, []byte("paid"), 5*time.Second))
	sweep := func() {
		if s.Sweep != nil {
			s.Sweep(t, group, time.Hour)
		}
	}
	s.Pass(3 * time.Second)
	sweep()
	wantClaim(t, c, rollcall.ClaimDone, "paid")
	s.Pass(3 * time.Second)
	sweep()
	if token := wantClaim(t, c, rollcall.ClaimFresh, ""); token <= old {
		t.Fatalf("token %d after %d, though the row was swept", token, old)
	}
	if err := c.Complete(ctxb, group, theKey, old, nil, 0); !errors.Is(err, rollcall.ErrConfig) {
		t.Fatalf("a window of nothing: %v, want ErrConfig", err)
	}
	s.Pass(2 * time.Hour)
	sweep() // a lease that is over for the window goes too
	if token := wantClaim(t, c, rollcall.ClaimFresh, ""); token <= old {
		t.Fatalf("token %d after %d", token, old)
	}
}

// claimBytes: keys and results are bytes, compared and kept as they are.
func claimBytes(t *testing.T, s ClaimStorage) {
	c := s.Open(t)
	for i, result := range [][]byte{{}, {0}, {0xff, 0, 0xfe}, bytes.Repeat([]byte{0xc3}, rollcall.MaxResult)} {
		key := rollcall.DedupKey{0: 0xff, 7: 0, 15: byte(i)}
		got, err := c.Claim(ctxb, group, key, lease)
		if err != nil || got.State != rollcall.ClaimFresh {
			t.Fatalf("key %x: %+v %v, want it fresh", key, got, err)
		}
		noError(t, c.Complete(ctxb, group, key, got.Token, result, time.Hour))
		if got, err = c.Claim(ctxb, group, key, lease); err != nil || got.State != rollcall.ClaimDone || !bytes.Equal(got.Result, result) {
			t.Fatalf("key %x: state %d, %d bytes, %v, want done with %d bytes", key, got.State, len(got.Result), err, len(result))
		}
	}
}

// claimTogether: of claimers at the same time one is Fresh; the others come to
// the result of that one.
func claimTogether(t *testing.T, s ClaimStorage) {
	const claimers, keys = 6, 20
	ctx, cancel := context.WithTimeout(ctxb, 60*time.Second)
	defer cancel()
	var mu sync.Mutex
	owners := make(map[rollcall.DedupKey][]string)
	var wait sync.WaitGroup
	for n := range claimers {
		c := s.Open(t)
		wait.Go(func() {
			for i := range keys {
				key, mine := rollcall.DedupKey{byte(i)}, fmt.Sprintf("%d by %d", i, n)
				done := claimUntilDone(ctx, t, c, key, mine, func() {
					mu.Lock()
					defer mu.Unlock()
					owners[key] = append(owners[key], mine)
				})
				mu.Lock()
				if first := owners[key]; len(first) != 1 || done != first[0] {
					t.Errorf("key %d: done by %v, %q was told", i, first, done)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(owners) != keys {
		t.Fatalf("%d keys were done, want %d", len(owners), keys)
	}
}

func claimUntilDone(ctx context.Context, t *testing.T, c rollcall.Claims, key rollcall.DedupKey, mine string, effect func()) string {
	for {
		got, err := c.Claim(ctx, group, key, time.Hour)
		if err != nil {
			t.Errorf("waited for key %x to be done: %v", key, err)
			return ""
		}
		switch got.State {
		case rollcall.ClaimDone:
			return string(got.Result)
		case rollcall.ClaimFresh:
			effect()
			if err := c.Complete(ctx, group, key, got.Token, []byte(mine), time.Hour); err != nil {
				t.Errorf("key %x: %v", key, err)
				return ""
			}
		}
		time.Sleep(time.Millisecond)
	}
}
