package storetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// RecordCases is the kit of rollcall.Record and rollcall.Lock on claims, by
// name. RunClaims runs it too.
func RecordCases() []ClaimCase {
	return []ClaimCase{
		{"record-result", recordResult},
		{"record-in-progress", recordInProgress},
		{"record-not-done", recordNotDone},
		{"record-honoured", recordHonoured},
		{"record-parked", recordParked},
		{"record-died", recordDied},
		{"record-died-before", recordDiedBefore},
		{"record-late", recordLate},
		{"record-overtaken", recordOvertaken},
		{"record-overtaken-not-done", recordOvertakenNotDone},
		{"record-lost-reply", recordLostReply},
		{"record-no-reply", recordNoReply},
		{"record-decided", recordDecided},
		{"record-did-not-return", recordDidNotReturn},
		{"record-bare", recordBare},
		{"record-together", recordTogether},
		{"lock", lockTaken},
		{"lock-lost", lockLost},
	}
}

// recordLease outlasts stalls of a busy machine where nothing is to be lost.
const recordLease = time.Second

var theRecord = rollcall.OnceKey{Scope: group, Key: "order-1"}

// parking is a receiver that does not honour the key, honouring one that does.
var (
	parking   = rollcall.RecordConfig{Lease: recordLease, Settle: 5 * time.Second}
	honouring = rollcall.RecordConfig{Lease: recordLease, Settle: 5 * time.Second, Honours: true}
)

// broken is a process whose calls to its claims may fail: hook stands around
// every one. None: all is well.
type broken struct {
	rollcall.Claims
	mu   sync.Mutex
	hook func(op string, call func() error) error
}

func (b *broken) set(hook func(op string, call func() error) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = hook
}

func (b *broken) do(op string, call func() error) error {
	b.mu.Lock()
	hook := b.hook
	b.mu.Unlock()
	if hook == nil {
		return call()
	}
	return hook(op, call)
}

func (b *broken) Claim(ctx context.Context, g string, k rollcall.DedupKey, lease time.Duration) (c rollcall.Claim, err error) {
	err = b.do("claim", func() (err error) { c, err = b.Claims.Claim(ctx, g, k, lease); return err })
	if err != nil {
		c = rollcall.Claim{}
	}
	return c, err
}

func (b *broken) Renew(ctx context.Context, g string, k rollcall.DedupKey, token rollcall.Token, lease time.Duration) error {
	return b.do("renew", func() error { return b.Claims.Renew(ctx, g, k, token, lease) })
}

func (b *broken) Complete(ctx context.Context, g string, k rollcall.DedupKey, token rollcall.Token, result []byte, window time.Duration) error {
	return b.do("complete", func() error { return b.Claims.Complete(ctx, g, k, token, result, window) })
}

func (b *broken) Release(ctx context.Context, g string, k rollcall.DedupKey, token rollcall.Token) error {
	return b.do("release", func() error { return b.Claims.Release(ctx, g, k, token) })
}

// cutOff: nothing gets to the store any more, as when the process is stopped.
func cutOff(string, func() error) error { return rollcall.ErrInDoubt }

// receiver counts what took effect there.
type receiver struct {
	t     testing.TB
	mu    sync.Mutex
	calls []rollcall.RecordAttempt
}

// pay is one call of Record that answers result, or fails after the effect.
func (r *receiver) pay(c rollcall.Claims, config rollcall.RecordConfig, result string, failure error) (string, error) {
	return rollcall.Record(ctxb, c, theRecord, config, func(_ context.Context, a rollcall.RecordAttempt) (string, error) {
		r.took(a)
		return result, failure
	})
}

func (r *receiver) took(a rollcall.RecordAttempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, a)
}

// want compares how often fn ran: always with one key, and under rising tokens.
func (r *receiver) want(n int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) != n {
		r.t.Fatalf("fn ran %d times, want %d", len(r.calls), n)
	}
	for i, a := range r.calls {
		if len(a.Key) != 32 || a.Token == 0 || i > 0 && (a.Key != r.calls[0].Key || a.Token <= r.calls[i-1].Token) {
			r.t.Fatalf("attempts %v: want one key of 32 digits and rising tokens", r.calls)
		}
	}
}

// wantPaid asks from another process, which must not run anything.
func (r *receiver) wantPaid(c rollcall.Claims, config rollcall.RecordConfig, want string) {
	r.t.Helper()
	r.mu.Lock()
	before := len(r.calls)
	r.mu.Unlock()
	if got, err := r.pay(c, config, "again", nil); err != nil || got != want {
		r.t.Fatalf("%q %v, want the recorded %q", got, err, want)
	}
	r.want(before)
}

// wantParked asks too: the error says which key and why.
func (r *receiver) wantParked(c rollcall.Claims, why string) {
	r.t.Helper()
	r.mu.Lock()
	before := len(r.calls)
	r.mu.Unlock()
	_, err := r.pay(c, parking, "again", nil)
	wantParkedError(r.t, err, why)
	r.want(before)
}

func wantParkedError(t testing.TB, err error, why string) {
	t.Helper()
	if !errors.Is(err, rollcall.ErrParked) || !errors.Is(err, rollcall.ErrInDoubt) || !strings.Contains(err.Error(), `"order-1"`) ||
		!strings.Contains(err.Error(), why) {
		t.Fatalf("%v, want ErrParked with key and cause %q", err, why)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

// recordResult: the first call runs, all others get its result; a key with
// other content or without a name is refused.
func recordResult(t *testing.T, s ClaimStorage) {
	r, one, two := &receiver{t: t}, s.Open(t), s.Open(t)
	if got, err := r.pay(one, parking, "paid", nil); err != nil || got != "paid" {
		t.Fatal(got, err)
	}
	s.Pass(2 * recordLease)
	r.wantPaid(two, parking, "paid")
	r.wantPaid(one, honouring, "paid")

	run := func(key rollcall.OnceKey) error {
		_, err := rollcall.Record(ctxb, two, key, parking, func(context.Context, rollcall.RecordAttempt) (string, error) { return "", nil })
		return err
	}
	noError(t, run(rollcall.OnceKey{Scope: group, Key: "2", Content: []byte(`{"a":1,"b":2}`)}))
	noError(t, run(rollcall.OnceKey{Scope: group, Key: "2", Content: []byte(`{"b":2, "a":1}`)}))
	wantError(t, run(rollcall.OnceKey{Scope: group, Key: "2", Content: []byte(`{"b":3}`)}), rollcall.ErrKeyReused)
	wantError(t, run(rollcall.OnceKey{Scope: group}), rollcall.ErrConfig)

	s.Pass(15 * 24 * time.Hour)
	if s.Sweep != nil {
		s.Sweep(t, group, time.Hour)
	}
	if got, err := r.pay(one, parking, "next", nil); err != nil || got != "next" {
		t.Fatalf("%q %v: after the window the key is new", got, err)
	}
}

// recordInProgress: while fn runs its lease is renewed and no other call runs.
func recordInProgress(t *testing.T, s ClaimStorage) {
	r, one, two := &receiver{t: t}, &broken{Claims: s.Open(t)}, s.Open(t)
	var renewed atomic.Int32
	enough := make(chan struct{})
	one.set(func(op string, call func() error) error {
		err := call()
		if op == "renew" && renewed.Add(1) == 4 {
			close(enough)
		}
		return err
	})
	got, err := rollcall.Record(ctxb, one, theRecord, parking, func(ctx context.Context, a rollcall.RecordAttempt) (string, error) {
		r.took(a)
		select {
		case <-enough:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		for _, config := range []rollcall.RecordConfig{parking, honouring} {
			_, err := r.pay(two, config, "second", nil)
			wantError(t, err, rollcall.ErrInProgress)
		}
		return "paid", nil
	})
	if err != nil || got != "paid" {
		t.Fatal(got, err)
	}
	r.want(1)
	r.wantPaid(two, parking, "paid")
}

// recordNotDone: the key is free at once, and the cause comes back.
func recordNotDone(t *testing.T, s ClaimStorage) {
	for _, config := range []rollcall.RecordConfig{parking, honouring} {
		config.Window = time.Hour
		r, c := &receiver{t: t}, s.Open(t)
		refused := errors.New("no connection")
		for range 2 {
			_, err := r.pay(c, config, "", rollcall.NotDone(refused))
			wantError(t, err, refused)
			if errors.Is(err, rollcall.ErrInDoubt) {
				t.Fatalf("%v is not in doubt", err)
			}
		}
		if got, err := r.pay(c, config, "paid", nil); err != nil || got != "paid" {
			t.Fatal(got, err)
		}
		r.want(3)
		r.wantPaid(c, config, "paid")
		s.Pass(2 * time.Hour)
	}
}

// recordHonoured: what is in doubt is done again at once, under the same key.
func recordHonoured(t *testing.T, s ClaimStorage) {
	r, c := &receiver{t: t}, s.Open(t)
	timeout := errors.New("no answer")
	_, err := r.pay(c, honouring, "", timeout)
	wantError(t, err, timeout)
	if !errors.Is(err, rollcall.ErrInDoubt) || errors.Is(err, rollcall.ErrParked) {
		t.Fatalf("%v, want ErrInDoubt and not parked", err)
	}
	if got, err := r.pay(s.Open(t), honouring, "paid", nil); err != nil || got != "paid" {
		t.Fatal(got, err)
	}
	r.want(2)
	r.wantPaid(c, honouring, "paid")
}

// recordParked: what is in doubt is never done again by itself, not after the
// window either, swept or not.
func recordParked(t *testing.T, s ClaimStorage) {
	r, c := &receiver{t: t}, s.Open(t)
	_, err := r.pay(c, parking, "", errors.New("no answer"))
	wantParkedError(t, err, "no answer")
	for _, d := range []time.Duration{0, 2 * recordLease, 365 * 24 * time.Hour} {
		s.Pass(d)
		if s.Sweep != nil {
			s.Sweep(t, group, time.Hour)
		}
		r.wantParked(s.Open(t), "no answer")
	}
	r.want(1)
}
