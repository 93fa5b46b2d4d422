package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// stopped is an owner that is cut off while fn runs, after its effect; go on
// lets fn return. It is what a stopped process looks like from outside.
type stopped struct {
	claims *broken
	wake   chan error
	ended  chan error
}

// sleep returns when fn has begun, has taken effect, and its lease is over.
func (r *receiver) sleep(s ClaimStorage, config rollcall.RecordConfig) *stopped {
	r.t.Helper()
	z := &stopped{&broken{Claims: s.Open(r.t)}, make(chan error, 1), make(chan error, 1)}
	asleep := make(chan struct{})
	go func() {
		_, err := rollcall.Record(ctxb, z.claims, theRecord, config, func(ctx context.Context, a rollcall.RecordAttempt) (string, error) {
			r.took(a)
			z.claims.set(cutOff)
			<-ctx.Done() // the lease is lost: nobody answers
			close(asleep)
			if !strings.Contains(context.Cause(ctx).Error(), "ran out") {
				r.t.Errorf("fn's context ended by %v, want the lease", context.Cause(ctx))
			}
			err := <-z.wake
			z.claims.set(nil)
			return "by the sleeper", err
		})
		z.ended <- err
	}()
	await(r.t, asleep, "the sleeper's lease to be lost")
	s.Pass(2 * recordLease)
	return z
}

// goOn lets fn return with err, and returns what Record made of it.
func (z *stopped) goOn(t testing.TB, err error) error {
	t.Helper()
	z.wake <- err
	select {
	case err = <-z.ended:
		return err
	case <-time.After(patience):
		t.Fatalf("waited %v for the sleeper's call to return", patience)
		return nil
	}
}

func await(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
	}
}

// recordDied: an owner that died with fn begun. Its lease over, the next call
// does it again where the receiver honours the key, and parks it elsewhere.
func recordDied(t *testing.T, s ClaimStorage) {
	r := &receiver{t: t}
	z := r.sleep(s, parking)
	r.wantParked(s.Open(t), "died or was taken over")
	r.wantParked(s.Open(t), "died or was taken over")
	r.want(1)
	_ = z.goOn(t, errors.New("never"))

	s.Pass(30 * 365 * 24 * time.Hour)
	if s.Sweep != nil {
		s.Sweep(t, group, time.Hour)
	}
	r = &receiver{t: t}
	z = r.sleep(s, honouring)
	if got, err := r.pay(s.Open(t), honouring, "paid", nil); err != nil || got != "paid" {
		t.Fatal(got, err)
	}
	r.want(2)
	// The first one's late success changes nothing of what is recorded, and says so.
	wantError(t, z.goOn(t, nil), rollcall.ErrInDoubt)
	r.wantPaid(s.Open(t), honouring, "paid")
}

// recordDiedBefore: an owner that died before fn began left nothing in doubt.
func recordDiedBefore(t *testing.T, s ClaimStorage) {
	r, c := &receiver{t: t}, &broken{Claims: s.Open(t)}
	var claims atomic.Int32
	c.set(func(op string, call func() error) error {
		if op == "claim" && claims.Add(1) == 1 {
			return call()
		}
		return rollcall.ErrInDoubt
	})
	config := parking
	config.Settle = 50 * time.Millisecond
	_, err := r.pay(c, config, "never", nil)
	if !errors.Is(err, rollcall.ErrTryAgain) || errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("%v, want ErrTryAgain: fn was not run", err)
	}
	_, err = r.pay(s.Open(t), parking, "never", nil)
	wantError(t, err, rollcall.ErrInProgress)
	c.set(func(string, func() error) error { return rollcall.ErrClosed })
	if _, err = r.pay(c, parking, "never", nil); !errors.Is(err, rollcall.ErrClosed) || errors.Is(err, rollcall.ErrTryAgain) {
		t.Fatalf("%v, want ErrClosed, which trying again does not help", err)
	}
	r.want(0)
	s.Pass(2 * recordLease)
	if got, err := r.pay(s.Open(t), parking, "paid", nil); err != nil || got != "paid" {
		t.Fatal(got, err)
	}
}

// recordLate: a call whose context or lease ended before fn began does not begin
// it, and leaves nothing.
func recordLate(t *testing.T, s ClaimStorage) {
	r, c := &receiver{t: t}, &broken{Claims: s.Open(t)}
	ctx, cancel := context.WithCancel(ctxb)
	var claims atomic.Int32
	for _, late := range []func(){cancel, func() { time.Sleep(recordLease + 100*time.Millisecond) }} {
		claims.Store(0)
		c.set(func(op string, call func() error) error {
			if op == "renew" && claims.Load() == 1 {
				return rollcall.ErrInDoubt
			}
			err := call()
			if op == "claim" && claims.Add(1) == 2 { // the attempt
				claims.Store(1)
				late()
				claims.Store(2)
			}
			return err
		})
		_, err := rollcall.Record(ctx, c, theRecord, parking, func(context.Context, rollcall.RecordAttempt) (string, error) {
			t.Error("fn ran")
			return "", nil
		})
		if !errors.Is(err, rollcall.ErrTryAgain) || errors.Is(err, rollcall.ErrInDoubt) {
			t.Fatalf("%v, want ErrTryAgain", err)
		}
		ctx = ctxb
	}
	if got, err := r.pay(s.Open(t), parking, "paid", nil); err != nil || got != "paid" {
		t.Fatal(got, err)
	}
}

// recordOvertaken: the late success of an owner whose call was parked meanwhile
// lifts the doubt.
func recordOvertaken(t *testing.T, s ClaimStorage) {
	r := &receiver{t: t}
	z := r.sleep(s, parking)
	r.wantParked(s.Open(t), "died or was taken over")
	noError(t, z.goOn(t, nil))
	r.wantPaid(s.Open(t), parking, "by the sleeper")
	s.Pass(365 * 24 * time.Hour)
	r.wantPaid(s.Open(t), parking, "by the sleeper")
	r.want(1)
}

// recordOvertakenNotDone: so does its word that surely nothing happened.
func recordOvertakenNotDone(t *testing.T, s ClaimStorage) {
	r := &receiver{t: t}
	z := r.sleep(s, parking)
	r.wantParked(s.Open(t), "died or was taken over")
	refused := errors.New("refused")
	wantError(t, z.goOn(t, rollcall.NotDone(refused)), refused)
	if got, err := r.pay(s.Open(t), parking, "paid", nil); err != nil || got != "paid" {
		t.Fatal(got, err)
	}
	r.want(2)
	r.wantPaid(s.Open(t), parking, "paid")
}

// recordLostReply: what was done and not answered is asked again, not guessed.
func recordLostReply(t *testing.T, s ClaimStorage) {
	r, c := &receiver{t: t}, &broken{Claims: s.Open(t)}
	var lost sync.Map
	c.set(func(op string, call func() error) error {
		err := call()
		if _, had := lost.LoadOrStore(op, true); !had && op != "claim" && err == nil {
			return fmt.Errorf("%w: the reply to %s is lost", rollcall.ErrInDoubt, op)
		}
		return err
	})
	_, err := r.pay(c, parking, "", rollcall.NotDone(errors.New("refused"))) // renew and release
	if errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatal(err)
	}
	if got, err := r.pay(c, parking, "paid", nil); err != nil || got != "paid" {
		t.Fatal(got, err)
	}
	for _, op := range []string{"renew", "release", "complete"} {
		if _, had := lost.Load(op); !had {
			t.Errorf("no reply to %s was lost: nothing was tested", op)
		}
	}
	r.want(2)
	r.wantPaid(s.Open(t), parking, "paid")
}

// recordNoReply: a store that is away when fn has ended leaves the call in
// doubt, for its caller and for the next.
func recordNoReply(t *testing.T, s ClaimStorage) {
	for _, honours := range []bool{false, true} {
		r, c := &receiver{t: t}, &broken{Claims: s.Open(t)}
		config := rollcall.RecordConfig{Lease: recordLease, Settle: 50 * time.Millisecond, Honours: honours}
		_, err := rollcall.Record(ctxb, c, theRecord, config, func(_ context.Context, a rollcall.RecordAttempt) (string, error) {
			r.took(a)
			c.set(cutOff)
			return "paid", nil
		})
		if !errors.Is(err, rollcall.ErrInDoubt) || !strings.Contains(err.Error(), "it has happened") {
			t.Fatalf("%v, want ErrInDoubt that says that it has happened", err)
		}
		s.Pass(2 * recordLease)
		if !honours {
			r.wantParked(s.Open(t), "died or was taken over")
			s.Pass(30 * 365 * 24 * time.Hour)
			continue
		}
		if got, err := r.pay(s.Open(t), honouring, "paid again", nil); err != nil || got != "paid again" {
			t.Fatal(got, err)
		}
		r.want(2)
	}
}

// recordDecided: an operator settles or redrives what is parked, nothing else,
// once.
func recordDecided(t *testing.T, s ClaimStorage) {
	r, c := &receiver{t: t}, s.Open(t)
	redrive := func() error { return rollcall.RedriveRecord(ctxb, c, theRecord, parking) }
	settle := func(result string) error { return rollcall.SettleRecord(ctxb, c, theRecord, parking, result) }
	wantNothing := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "nothing is parked") {
			t.Fatalf("%v, want that nothing is parked", err)
		}
	}
	wantNothing(redrive())
	_, err := r.pay(c, parking, "", errors.New("first timeout"))
	wantParkedError(t, err, "first timeout")
	noError(t, redrive())
	wantNothing(redrive())
	_, err = r.pay(c, parking, "", errors.New("second timeout"))
	wantParkedError(t, err, "second timeout")
	r.want(2)
	noError(t, settle("asked the bank"))
	r.wantPaid(s.Open(t), parking, "asked the bank")
	wantNothing(settle("asked twice"))
	wantNothing(redrive())
	r.wantPaid(c, parking, "asked the bank")

	s.Pass(30 * 365 * 24 * time.Hour)
	r = &receiver{t: t}
	z := r.sleep(s, parking) // died, and nobody has called since
	noError(t, settle("asked after the death"))
	wantError(t, z.goOn(t, rollcall.NotDone(errors.New("late"))), rollcall.ErrFenced)
	r.wantPaid(s.Open(t), parking, "asked after the death")
}

// recordDidNotReturn: a panic, and the end of the goroutine, are in doubt.
func recordDidNotReturn(t *testing.T, s ClaimStorage) {
	for n, end := range []func(){func() { panic("on purpose") }, runtime.Goexit} {
		r := &receiver{t: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer func() { _ = recover() }()
			_, _ = rollcall.Record(ctxb, s.Open(t), theRecord, parking, func(_ context.Context, a rollcall.RecordAttempt) (string, error) {
				r.took(a)
				end()
				return "", nil
			})
		}()
		await(t, ended, fmt.Sprintf("fn %d to end", n))
		r.wantParked(s.Open(t), "fn did not return")
		r.want(1)
		s.Pass(30 * 365 * 24 * time.Hour)
	}
}

// recordBare: a result that cannot be kept does not undo what happened.
func recordBare(t *testing.T, s ClaimStorage) {
	runs := 0
	for range 2 {
		_, err := rollcall.Record(ctxb, s.Open(t), theRecord, parking, func(context.Context, rollcall.RecordAttempt) ([]byte, error) {
			runs++
			return make([]byte, rollcall.MaxResult), nil
		})
		if err == nil || !strings.Contains(err.Error(), "it has happened") || errors.Is(err, rollcall.ErrInDoubt) || runs != 1 {
			t.Fatalf("%v after %d runs, want one run and an error that says that it has happened", err, runs)
		}
	}
}

// recordTogether: of callers at the same time one runs; the others come to its
// result.
func recordTogether(t *testing.T, s ClaimStorage) {
	const callers, keys = 4, 10
	ctx, cancel := context.WithTimeout(ctxb, patience)
	defer cancel()
	var runs [keys]atomic.Int32
	var all sync.WaitGroup
	for n := range callers {
		c := s.Open(t)
		all.Go(func() {
			for i := range keys {
				key := rollcall.OnceKey{Scope: group, Key: fmt.Sprint("k", i)}
				for {
					got, err := rollcall.Record(ctx, c, key, rollcall.RecordConfig{}, func(context.Context, rollcall.RecordAttempt) (string, error) {
						return fmt.Sprintf("run %d", runs[i].Add(1)), nil
					})
					if errors.Is(err, rollcall.ErrInProgress) && ctx.Err() == nil {
						time.Sleep(time.Millisecond)
						continue
					}
					if err != nil || got != "run 1" {
						t.Errorf("caller %d, key %d: %q %v", n, i, got, err)
					}
					break
				}
			}
		})
	}
	all.Wait()
}
