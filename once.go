package rollcall

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rollcall-mq/rollcall/internal/canonical"
)

// Once runs fn for the first call of a key, inside the caller's own
// transaction, and records what it returns there. Every later call, of whatever
// process, returns that result and does not run fn:
//
//	tx, err := db.DB().BeginTx(ctx, nil)
//	…
//	receipt, err := rollcall.Once(ctx, db.Store().Results(tx), rollcall.OnceKey{Scope: "pay", Key: id},
//		func(ctx context.Context) (Receipt, error) { return pay(ctx, tx, order) })
//	…
//	return tx.Commit()
//
// Effect and record become durable with the caller's Commit, or neither does.
// While the first transaction is open, other calls of the key wait for its end.
//
// After an error of fn, a panic, or the end of ctx the key is free and what fn
// did in the transaction is undone, so that even a caller who commits all the
// same has not recorded a failure as done; what the caller did before stays.
//
// Errors: ErrKeyReused when the content is another than the first call's,
// ErrConfig for an incomplete key, ErrInDoubt when the first call committed
// without returning: in each case fn was not run. Whether the caller's own
// COMMIT happened is the caller's to find out: by calling Once again, in
// another transaction.
//
// The result is []byte as it is, or JSON of any other R, at most MaxResult
// bytes. The first call returns what was recorded as well, so that what does not
// survive JSON is missed at once.
func Once[R any](ctx context.Context, tx Results, key OnceKey, fn func(context.Context) (R, error)) (result R, err error) {
	hash, content, err := key.hash()
	if err != nil {
		return result, err
	}
	first, err := tx.Take(ctx, key.Scope, hash, content)
	switch {
	case err != nil:
		return result, fmt.Errorf("once %s: %w", key, err)
	case first.Fresh:
		return runOnce(ctx, tx, key, hash, fn)
	case !first.Done:
		return result, fmt.Errorf("%w: once %s: an earlier call took the key and ended the transaction before it returned, or is still "+
			"running in this very one; fn was not run: look whether its effect is there", ErrInDoubt, key)
	case first.Content != content && first.Content != Fingerprint{} && content != Fingerprint{}:
		return result, fmt.Errorf("%w: once %s; fn was not run: new business needs a new key", ErrKeyReused, key)
	}
	result, err = decodeResult[R](first.Result)
	if err != nil {
		err = fmt.Errorf("once %s: it has happened, but its result of %d bytes is no %T: read it as the type it was recorded with: %w",
			key, len(first.Result), result, err)
	}
	return result, err
}

// runOnce runs fn with the key in hand.
func runOnce[R any](ctx context.Context, tx Results, key OnceKey, hash DedupKey, fn func(context.Context) (R, error)) (result R, err error) {
	kept := false
	defer func() { // also when fn panics or ends its goroutine
		if kept {
			return
		}
		var none R
		result = none
		if undo := tx.Undo(context.WithoutCancel(ctx)); undo != nil {
			err = errors.Join(err, fmt.Errorf("once %s: what fn did could not be undone, roll the transaction back: %w", key, undo))
		}
	}()
	got, err := fn(ctx)
	if err != nil {
		return result, err
	}
	if ctx.Err() != nil { // a call that is too late is no success
		return result, fmt.Errorf("once %s: it returned after its context had ended: %w", key, context.Cause(ctx))
	}
	data, err := encodeResult(got)
	if err == nil {
		result, err = decodeResult[R](data)
	}
	if err != nil {
		return result, fmt.Errorf("once %s: the result cannot be recorded, nothing was: %w", key, err)
	}
	if err := tx.Keep(ctx, key.Scope, hash, data); err != nil {
		return result, fmt.Errorf("once %s: %w", key, err)
	}
	kept = true
	return result, nil
}

// OnceKey names a piece of business. Scope and Key are required; the strings
// are compared byte by byte.
type OnceKey struct {
	// Scope is what the key is a key of, as "payments": one key of two scopes is
	// two keys. Upkeep.Sweep takes it as its group.
	Scope string
	// Key is the same for a repeat and another for new business: a
	// client's Idempotency-Key, an order's number.
	Key string
	// Content is what is asked for, as the body of a request: JSON is compared by
	// what it says, anything else byte by byte. With other content than the first
	// call's a key is ErrKeyReused. Default: none, not compared.
	Content []byte
}

func (k OnceKey) String() string { return fmt.Sprintf("%q of %q", k.Key, k.Scope) }

func (k OnceKey) hash() (key DedupKey, content Fingerprint, err error) {
	if k.Scope == "" {
		return key, content, configError("OnceKey.Scope", `""`, "name what the key is a key of; fn was not run")
	}
	if k.Key == "" { // equal to every other request without one
		return key, content, configError("OnceKey.Key", `""`, "refuse the request, or make a key of what it asks for; fn was not run")
	}
	h := sha256.New()
	h.Write([]byte{keyFormat})
	writeField(h, k.Scope)
	writeField(h, k.Key)
	copy(key[:], h.Sum(nil))
	if k.Content != nil {
		sum := sha256.Sum256([]byte(canonical.Content(k.Content)))
		copy(content[:], sum[:])
	}
	return key, content, nil
}

// Fingerprint tells contents apart: 16 bytes of SHA-256. Zero: none was given.
type Fingerprint [16]byte

// MaxResult is the most bytes of a result that Once records.
const MaxResult = 1 << 20

// Results keeps the first result of each key, within one transaction of the
// caller's. A store makes it of the transaction: store.Results(tx). One goroutine at a
// time uses it.
type Results interface {
	// Take inserts the key, or answers with what is recorded. It waits for
	// another transaction that has it to end. After a fresh Take comes Keep or Undo.
	Take(ctx context.Context, scope string, key DedupKey, content Fingerprint) (Recorded, error)
	// Keep records the result of the key just taken. It is an error when the
	// transaction has ended since, also when it has ended by itself.
	Keep(ctx context.Context, scope string, key DedupKey, result []byte) error
	// Undo undoes all that the transaction did since Take, the key included.
	Undo(ctx context.Context) error
}

// Recorded is what Results has of a key.
type Recorded struct {
	// Fresh: we have taken it. Else the rest is the first call's.
	Fresh   bool
	Done    bool // it returned
	Content Fingerprint
	Result  []byte // only when Done
}

func encodeResult(v any) (data []byte, err error) {
	data, raw := v.([]byte)
	if !raw {
		if data, err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	if len(data) > MaxResult {
		return nil, fmt.Errorf("it has %d bytes, at most %d are kept: return what names it instead", len(data), MaxResult)
	}
	return data, nil
}

func decodeResult[R any](data []byte) (result R, err error) {
	if raw, is := any(&result).(*[]byte); is {
		*raw = append([]byte{}, data...)
		return result, nil
	}
	return result, json.Unmarshal(data, &result)
}
