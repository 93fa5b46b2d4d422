package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// RunOnce is the acceptance test of rollcall.Once on a store: Storage.Results
// must be there.
func RunOnce[X any](t *testing.T, h Harness[X]) {
	for _, c := range OnceCases[X]() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Run(t, h)
		})
	}
}

// OnceCases is the kit of Once, by name.
func OnceCases[X any]() []Case[X] {
	return []Case[X]{
		{"once-first-result", onceFirstResult[X]},
		{"once-failed", onceFailed[X]},
		{"once-rolled-back", onceRolledBack[X]},
		{"once-content", onceContent[X]},
		{"once-waits", onceWaits[X]},
		{"once-together", onceTogether[X]},
		{"once-inside", onceInside[X]},
		{"once-bounds", onceBounds[X]},
		{"once-no-key", onceNoKey[X]},
		{"once-in-doubt", onceInDoubt[X]},
		{"once-ended", onceEnded[X]},
		{"once-kept", onceKept[X]},
		{"once-window", onceWindow[X]},
	}
}

// desk is a caller of Once: a process with a store.
type desk[X any] struct {
	t       testing.TB
	storage Storage[X]
	store   rollcall.Store[X]
}

func newDesk[X any](t testing.TB, s Storage[X]) *desk[X] { return &desk[X]{t, s, s.Open(t)} }

type receipt struct {
	Number int
	By     string
}

// call is one transaction of a caller who commits whatever came of it.
func (d *desk[X]) call(ctx context.Context, key rollcall.OnceKey, fn func(ctx context.Context, tx X) (receipt, error)) (receipt, error) {
	d.t.Helper()
	tx, err := d.store.Begin(ctx)
	if err != nil {
		return receipt{}, err
	}
	defer func() { _ = tx.Rollback() }()
	result, err := d.once(ctx, tx, key, fn)
	return result, errors.Join(err, tx.Commit(context.WithoutCancel(ctx)))
}

func (d *desk[X]) once(ctx context.Context, tx rollcall.Tx[X], key rollcall.OnceKey, fn func(ctx context.Context, tx X) (receipt, error)) (receipt, error) {
	return rollcall.Once(ctx, d.storage.Results(d.store, tx.User()), key, func(ctx context.Context) (receipt, error) { return fn(ctx, tx.User()) })
}

// pay writes a line and returns it in a receipt.
func (d *desk[X]) pay(line string) func(ctx context.Context, tx X) (receipt, error) {
	return func(ctx context.Context, tx X) (receipt, error) {
		return receipt{len(line), line}, d.storage.Record(ctx, tx, line)
	}
}

// must calls and wants the receipt of the line.
func (d *desk[X]) must(key rollcall.OnceKey, line, want string) {
	d.t.Helper()
	got, err := d.call(ctxb, key, d.pay(line))
	if err != nil || got != (receipt{len(want), want}) {
		d.t.Fatalf("once %v: %+v %v, want the receipt of %q", key, got, err, want)
	}
}

func (d *desk[X]) wantLedger(want ...string) {
	d.t.Helper()
	if got := d.storage.Ledger(d.t); !slices.Equal(got, want) {
		d.t.Fatalf("ledger %q, want %q", got, want)
	}
}

var aKey = rollcall.OnceKey{Scope: "payments", Key: "k"}

// onceFirstResult: fn runs for the first call; every later one, of this process
// or another, gets its result. Scope and Key both tell keys apart, as bytes.
func onceFirstResult[X any](t *testing.T, h Harness[X]) {
	s := h(t)
	one, two := newDesk(t, s), newDesk(t, s)
	one.must(aKey, "first", "first")
	one.must(aKey, "second", "first")
	two.must(aKey, "third", "first")
	for i, key := range []rollcall.OnceKey{{Scope: "payment", Key: "sk"}, {Scope: "refunds", Key: "k"}, {Scope: "payments", Key: "K"},
		{Scope: "payments", Key: "k\x00"}, {Scope: "payments", Key: "\xff\xfe"}} {
		two.must(key, fmt.Sprint(i), fmt.Sprint(i))
	}
	one.wantLedger("first", "0", "1", "2", "3", "4")
}

// onceFailed: after an error of fn, a panic or the end of ctx nothing is
// recorded and what fn did is undone, though the caller commits; what the caller did before stays.
func onceFailed[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	refused := errors.New("card refused")
	for name, end := range map[string]func(cancel func()) error{
		"error": func(func()) error { return refused },
		"panic": func(func()) error { panic("boom") },
		"ended": func(cancel func()) error { cancel(); return nil },
	} {
		ctx, cancel := context.WithCancel(ctxb)
		defer cancel()
		tx, err := d.store.Begin(ctxb)
		noError(t, err)
		noError(t, d.storage.Record(ctxb, tx.User(), "before"))
		result, err := recovered(func() (receipt, error) {
			return d.once(ctx, tx, aKey, func(_ context.Context, x X) (receipt, error) {
				noError(t, d.storage.Record(ctxb, x, "half of "+name))
				return receipt{1, name}, end(cancel)
			})
		})
		if err == nil || result != (receipt{}) || name == "error" && !errors.Is(err, refused) || name == "ended" && !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %+v %v, want no result and its error", name, result, err)
		}
		noError(t, tx.Commit(ctxb))
	}
	d.wantLedger("before", "before", "before")
	d.must(aKey, "paid", "paid")
}

func recovered(f func() (receipt, error)) (r receipt, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// onceRolledBack: effect and record go together.
func onceRolledBack[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	tx, err := d.store.Begin(ctxb)
	noError(t, err)
	_, err = d.once(ctxb, tx, aKey, d.pay("rolled back"))
	noError(t, err)
	noError(t, tx.Rollback())
	d.must(aKey, "paid", "paid")
	d.wantLedger("paid")
}

// onceContent: the same key with other content is ErrKeyReused and fn is not
// run. JSON is compared by what it says; no content is not compared.
func onceContent[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	with := func(content string) rollcall.OnceKey {
		k := aKey
		k.Content = []byte(content)
		return k
	}
	d.must(with(`{"to":"ann","amount":5}`), "ann", "ann")
	d.must(with(`{ "amount": 5, "to": "ann" }`), "again", "ann")
	d.must(aKey, "again", "ann")
	got, err := d.call(ctxb, with(`{"to":"bob","amount":5}`), d.pay("bob"))
	if !errors.Is(err, rollcall.ErrKeyReused) || got != (receipt{}) {
		t.Fatalf("%+v %v, want ErrKeyReused and no result", got, err)
	}
	d.wantLedger("ann")
}

// onceWaits: while the first call's transaction is open others wait. When it
// commits they get its result; when it rolls back the next of them runs fn.
func onceWaits[X any](t *testing.T, h Harness[X]) {
	s := h(t)
	for _, end := range []string{"commits", "rolls back"} {
		key := rollcall.OnceKey{Scope: "payments", Key: end}
		one, two := newDesk(t, s), newDesk(t, s)
		tx, err := one.store.Begin(ctxb)
		noError(t, err)
		_, err = one.once(ctxb, tx, key, one.pay("one "+end))
		noError(t, err)
		type answer struct {
			receipt receipt
			err     error
		}
		second := make(chan answer, 1)
		go func() {
			r, err := two.call(ctxb, key, two.pay("two "+end))
			second <- answer{r, err}
		}()
		select {
		case a := <-second:
			t.Fatalf("the second call returned %+v while the first's transaction is open", a)
		case <-time.After(100 * time.Millisecond):
		}
		want := "one " + end
		if end == "commits" {
			noError(t, tx.Commit(ctxb))
		} else {
			noError(t, tx.Rollback())
			want = "two " + end
		}
		select {
		case a := <-second:
			if a.err != nil || a.receipt.By != want {
				t.Fatalf("the first %s: the second got %+v, want %q", end, a, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("waited 20s for the second call after the first %s", end)
		}
	}
	newDesk(t, s).wantLedger("one commits", "two rolls back")
}

// onceTogether: of many calls at the same time one runs fn, and all get its
// result.
func onceTogether[X any](t *testing.T, h Harness[X]) {
	const callers, keys = 8, 20
	s := h(t)
	results := make([][keys]receipt, callers)
	ctx, cancel := context.WithTimeout(ctxb, 60*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	for n := range callers {
		d := newDesk(t, s)
		wait.Go(func() {
			for i := range keys {
				var err error
				results[n][i], err = d.call(ctx, rollcall.OnceKey{Scope: "payments", Key: fmt.Sprint(i)}, d.pay(fmt.Sprintf("%d by %d", i, n)))
				if err != nil {
					t.Errorf("caller %d, key %d: %v", n, i, err)
				}
			}
		})
	}
	wait.Wait()
	lines := s.Ledger(t)
	if len(lines) != keys {
		t.Fatalf("%d effects of %d keys: %q", len(lines), keys, lines)
	}
	for n := range callers {
		for i, r := range results[n] {
			if !slices.Contains(lines, r.By) || !strings.HasPrefix(r.By, fmt.Sprintf("%d by ", i)) {
				t.Errorf("caller %d, key %d got %+v, which is not in the ledger %q", n, i, r, lines)
			}
		}
	}
}

// onceInside: fn may call Once itself; what fails is undone with what it called.
func onceInside[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	inner := rollcall.OnceKey{Scope: "mails", Key: "m"}
	both := func(failure error) (receipt, error) {
		tx, err := d.store.Begin(ctxb)
		noError(t, err)
		results := d.storage.Results(d.store, tx.User())
		r, err := rollcall.Once(ctxb, results, aKey, func(ctx context.Context) (receipt, error) {
			_, err := rollcall.Once(ctx, results, inner, func(ctx context.Context) (receipt, error) { return d.pay("mail")(ctx, tx.User()) })
			noError(t, err)
			r, err := d.pay("order")(ctx, tx.User())
			noError(t, err)
			return r, failure
		})
		noError(t, tx.Commit(ctxb))
		return r, err
	}
	refused := errors.New("refused")
	if _, err := both(refused); err != refused { //nolint: the very error, nothing joined to it
		t.Fatalf("%v, want just fn's error", err)
	}
	d.wantLedger()
	if r, err := both(nil); err != nil || r.By != "order" {
		t.Fatal(r, err)
	}
	d.must(inner, "mail again", "mail")
	d.wantLedger("mail", "order")
}

// onceBounds: results are bytes or JSON, of 0 to MaxResult bytes; what cannot be
// recorded is an error and undone.
func onceBounds[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	call := func(key string, result any) (got []byte, err error) {
		tx, err := d.store.Begin(ctxb)
		noError(t, err)
		k := rollcall.OnceKey{Scope: "bounds", Key: key}
		if raw, is := result.([]byte); is {
			got, err = rollcall.Once(ctxb, d.storage.Results(d.store, tx.User()), k, func(context.Context) ([]byte, error) { return raw, nil })
		} else {
			_, err = rollcall.Once(ctxb, d.storage.Results(d.store, tx.User()), k, func(context.Context) (any, error) { return result, nil })
		}
		noError(t, tx.Commit(ctxb))
		return got, err
	}
	for i, raw := range [][]byte{{}, {0}, {0xff, 0, 0xfe}, bytes.Repeat([]byte{0xc3}, rollcall.MaxResult)} {
		for _, said := range [][]byte{raw, []byte("another")} {
			if got, err := call(fmt.Sprint(i), said); err != nil || !bytes.Equal(got, raw) {
				t.Fatalf("%d bytes for %d: %v", len(got), len(raw), err)
			}
		}
	}
	for name, result := range map[string]any{"large": make([]byte, rollcall.MaxResult+1), "no JSON": make(chan int)} {
		if _, err := call(name, result); err == nil || !strings.Contains(err.Error(), "nothing was") {
			t.Fatalf("%s: %v, want it refused", name, err)
		}
		if got, err := call(name, []byte("free")); err != nil || string(got) != "free" {
			t.Fatalf("after a result that was %s: %q %v, want the key free", name, got, err)
		}
	}
}

// onceNoKey: without a key every request would be the same one.
func onceNoKey[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	for _, key := range []rollcall.OnceKey{{Scope: "payments"}, {Key: "k"}} {
		if _, err := d.call(ctxb, key, d.pay("unprotected")); !errors.Is(err, rollcall.ErrConfig) {
			t.Fatalf("%+v: %v, want ErrConfig", key, err)
		}
	}
	d.wantLedger()
}

// onceInDoubt: a first call that committed without a result, or is still running in
// the same transaction, is neither done nor run again.
func onceInDoubt[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	_, err := d.call(ctxb, aKey, func(ctx context.Context, tx X) (receipt, error) {
		_, err := rollcall.Once(ctx, d.storage.Results(d.store, tx), aKey, func(ctx context.Context) (receipt, error) { return d.pay("twice")(ctx, tx) })
		return receipt{}, err
	})
	if !errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("Once of a key inside itself: %v, want ErrInDoubt", err)
	}
	d.wantLedger()
}

// onceEnded: in a transaction that has ended fn does not run.
func onceEnded[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	tx, err := d.store.Begin(ctxb)
	noError(t, err)
	noError(t, tx.Commit(ctxb))
	if _, err := d.once(ctxb, tx, aKey, func(context.Context, X) (receipt, error) { t.Error("fn ran"); return receipt{}, nil }); err == nil {
		t.Fatal("no error")
	}
	d.must(aKey, "paid", "paid")
}

// onceKept: the first result stays, also against a program that keeps another for
// the same key while it has one more in hand.
func onceKept[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	outer, inner := rollcall.DedupKey{1}, rollcall.DedupKey{2}
	tx, err := d.store.Begin(ctxb)
	noError(t, err)
	results := d.storage.Results(d.store, tx.User())
	for _, key := range []rollcall.DedupKey{outer, inner} {
		if got, err := results.Take(ctxb, "kept", key, rollcall.Fingerprint{}); err != nil || !got.Fresh {
			t.Fatalf("%+v %v, want it fresh", got, err)
		}
	}
	noError(t, results.Keep(ctxb, "kept", inner, []byte("first")))
	if results.Keep(ctxb, "kept", inner, []byte("second")) == nil {
		t.Error("a second result was kept")
	}
	noError(t, results.Keep(ctxb, "kept", outer, []byte("outer")))
	noError(t, tx.Commit(ctxb))
	tx, err = d.store.Begin(ctxb)
	noError(t, err)
	defer func() { _ = tx.Rollback() }()
	for key, want := range map[rollcall.DedupKey]string{outer: "outer", inner: "first"} {
		got, err := d.storage.Results(d.store, tx.User()).Take(ctxb, "kept", key, rollcall.Fingerprint{})
		if err != nil || got.Fresh || !got.Done || string(got.Result) != want {
			t.Errorf("%+v %v, want the result %q", got, err, want)
		}
	}
}

// onceWindow: the sweeper keeps results for the window and removes them then,
// those of its scope only.
func onceWindow[X any](t *testing.T, h Harness[X]) {
	d := newDesk(t, h(t))
	other := rollcall.OnceKey{Scope: "refunds", Key: "k"}
	d.must(aKey, "first", "first")
	d.must(other, "other", "other")
	if swept, err := d.store.Upkeep().Sweep(ctxb, "payments", time.Hour); err != nil || swept.Results != 0 {
		t.Fatalf("within the window: %+v %v", swept, err)
	}
	d.must(aKey, "again", "first")
	time.Sleep(20 * time.Millisecond)
	if swept, err := d.store.Upkeep().Sweep(ctxb, "payments", 10*time.Millisecond); err != nil || swept.Results != 1 {
		t.Fatalf("after the window: %+v %v, want one result swept", swept, err)
	}
	d.must(aKey, "after the window", "after the window")
	d.must(other, "again", "other")
	d.wantLedger("first", "other", "after the window")
}
