package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

var theLock = rollcall.LockKey{Scope: group, Name: "report"}

func mustLock(t testing.TB, c rollcall.Claims, config rollcall.LockConfig) *rollcall.Held {
	t.Helper()
	h, err := rollcall.Lock(ctxb, c, theLock, config)
	if err != nil || h.Err() != nil {
		t.Fatal(err)
	}
	return h
}

// lockTaken: one holder at a time; who waits gets it after Unlock, under a higher
// token; another name is another lock.
func lockTaken(t *testing.T, s ClaimStorage) {
	one, two := s.Open(t), s.Open(t)
	config := rollcall.LockConfig{Lease: recordLease, Poll: 5 * time.Millisecond}
	h := mustLock(t, one, config)
	_, err := rollcall.Lock(ctxb, two, theLock, config)
	wantError(t, err, rollcall.ErrInProgress)
	other, err := rollcall.Lock(ctxb, two, rollcall.LockKey{Scope: group, Name: "other"}, config)
	noError(t, err)
	noError(t, other.Unlock(ctxb))
	for _, key := range []rollcall.LockKey{{Scope: group}, {Name: "report"}} {
		_, err = rollcall.Lock(ctxb, two, key, config)
		wantError(t, err, rollcall.ErrConfig)
	}

	waited := make(chan *rollcall.Held, 1)
	go func() {
		config.Wait = patience
		h, err := rollcall.Lock(ctxb, two, theLock, config)
		if err != nil {
			t.Error(err)
		}
		waited <- h
	}()
	time.Sleep(20 * time.Millisecond)
	select {
	case <-waited:
		t.Fatal("two hold the lock")
	case <-h.Done():
		t.Fatal(h.Err())
	default:
	}
	noError(t, h.Unlock(ctxb))
	select {
	case second := <-waited:
		if second == nil || second.Token() <= h.Token() {
			t.Fatalf("token %v after %d", second, h.Token())
		}
		noError(t, second.Unlock(ctxb))
	case <-time.After(patience):
		t.Fatalf("waited %v for the lock that was given back", patience)
	}
	wantError(t, h.Unlock(ctxb), rollcall.ErrFenced)
}

// lockLost: a holder hears that it lost the lock: another has it, or nobody
// answers until the lease is over.
func lockLost(t *testing.T, s ClaimStorage) {
	config := rollcall.LockConfig{Lease: recordLease}
	h := mustLock(t, s.Open(t), config)
	s.Pass(2 * recordLease)
	second := mustLock(t, s.Open(t), rollcall.LockConfig{Lease: time.Minute})
	await(t, h.Done(), "the first holder to hear that another has the lock")
	wantError(t, h.Err(), rollcall.ErrFenced)
	wantError(t, h.Unlock(ctxb), rollcall.ErrFenced)
	if second.Token() <= h.Token() {
		t.Fatalf("token %d after %d", second.Token(), h.Token())
	}
	noError(t, second.Unlock(ctxb))

	c := &broken{Claims: s.Open(t)}
	h = mustLock(t, c, config)
	c.set(cutOff)
	begun := time.Now()
	await(t, h.Done(), "a holder that is cut off to hear that its lease is over")
	if took := time.Since(begun); took > recordLease+recordLease/2 || errors.Is(h.Err(), rollcall.ErrFenced) {
		t.Fatalf("after %v: %v, want that the lease of %v ran out", took, h.Err(), recordLease)
	}
	c.set(nil)
	noError(t, h.Unlock(ctxb)) // nobody took it
}
