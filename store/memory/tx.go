package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// transaction implements rollcall.Tx[*Tx].
type transaction struct {
	Tx
	saves []*savepoint // that can be undone
}

type savepoint struct{ mark int }

// User implements rollcall.Tx.
func (t *transaction) User() *Tx { return &t.Tx }

// Records implements rollcall.Tx.
func (t *transaction) Records() rollcall.TxRecords { return records{&t.Tx} }

// Asides implements rollcall.Tx.
func (t *transaction) Asides() rollcall.TxAsides { return txAsides{&t.Tx} }

// Fence implements rollcall.Tx: a share lock, then a comparison of what the
// locking read returned.
func (t *transaction) Fence(ctx context.Context, hold rollcall.Hold) error {
	return t.statement(func() error { return t.fence(ctx, hold) })
}

func (t *Tx) fence(ctx context.Context, hold rollcall.Hold) error {
	r := tokenRow(hold.Group, hold.Holder)
	if err := t.session.lock(ctx, r, false); err != nil {
		return err
	}
	v, _ := t.session.read(r)
	if now, _ := v.(token); now.value != hold.Token {
		return fmt.Errorf("%w: token %d of %s, the store has %d", rollcall.ErrFenced, hold.Token, r.key, now.value)
	}
	return nil
}

// Assume implements rollcall.Assumer. It asks: there is no turn to save here.
func (t *transaction) Assume(ctx context.Context, group string, keys []string, rolls []rollcall.RollRow) error {
	queues, err := t.Asides().Queues(ctx, group, keys)
	if err != nil {
		return err
	}
	scopes := make([]rollcall.Scope, len(rolls))
	for i, r := range rolls {
		scopes[i] = r.Scope
	}
	now, err := t.Records().Lock(ctx, group, scopes)
	if err != nil {
		return err
	}
	same := slices.EqualFunc(rolls, now, func(a, b rollcall.RollRow) bool { return bytes.Equal(a.Data, b.Data) })
	if same && len(queues) == 0 {
		return nil
	}
	return t.statement(func() error {
		t.session.failed = fmt.Errorf("memory: %w: rolls as believed %v, %d keys wait", rollcall.ErrOutdated, same, len(queues))
		return t.session.failed
	})
}

// Confirm implements rollcall.Assumer: everything was asked.
func (t *transaction) Confirm(context.Context) error { return nil }

// statement runs one statement of the transaction.
func (t *Tx) statement(f func() error) error {
	t.session.db.mu.Lock()
	defer t.session.db.mu.Unlock()
	if err := t.session.enter(); err != nil {
		return err
	}
	return f()
}

// Usable implements rollcall.Tx.
func (t *transaction) Usable() error {
	t.session.db.mu.Lock()
	defer t.session.db.mu.Unlock()
	if t.session.ended && t.session.failed == nil {
		return ErrAborted
	}
	return t.session.failed
}

// Savepoint implements rollcall.Tx.
func (t *transaction) Savepoint(context.Context) (func(context.Context) error, error) {
	var own *savepoint
	err := t.statement(func() error {
		own = &savepoint{len(t.session.undo)}
		t.saves = append(t.saves, own)
		return nil
	})
	undo := func(context.Context) error {
		return t.statement(func() error {
			at := slices.Index(t.saves, own)
			if at < 0 {
				return errors.New("memory: the savepoint, or one taken before it, was undone already")
			}
			t.session.rollbackTo(own.mark)
			t.saves = t.saves[:at]
			return nil
		})
	}
	return undo, err
}

// Commit implements rollcall.Tx.
func (t *transaction) Commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // not sent: it has not happened
	}
	err := t.session.commit()
	t.store.forget(t.session)
	return err
}

// Rollback implements rollcall.Tx.
func (t *transaction) Rollback() error {
	t.store.forget(t.session)
	t.session.db.mu.Lock()
	defer t.session.db.mu.Unlock()
	// A COMMIT under way at the server is not undone by the client's leaving.
	if !t.session.ended && !errors.Is(t.session.failed, rollcall.ErrInDoubt) {
		t.session.end()
	}
	return nil
}

// records implements rollcall.TxRecords.
type records struct{ *Tx }

type key struct {
	owner rollcall.Identity
	at    time.Time
}

type roll struct {
	data []byte
	at   time.Time
}

func keyRow(group string, k rollcall.DedupKey) row {
	return row{"key", fmt.Sprintf("%q %x", group, k)}
}

func rollRow(group string, scope rollcall.Scope) row {
	return row{"roll", fmt.Sprintf("%q %x", group, scope.Bytes())}
}

// Claim implements rollcall.TxRecords: insert, nothing on conflict. The lock
// on the key waits for a concurrent insert to end.
func (r records) Claim(ctx context.Context, group string, claims []rollcall.KeyClaim) ([]rollcall.KeyAnswer, error) {
	out := make([]rollcall.KeyAnswer, len(claims))
	err := r.statement(func() error {
		for i, c := range claims {
			at := keyRow(group, c.Key)
			if err := r.session.lock(ctx, at, true); err != nil {
				return err
			}
			v, taken := r.session.read(at)
			if !taken {
				r.session.write(at, key{c.Owner, r.store.now()})
				out[i] = rollcall.KeyAnswer{Fresh: true, Owner: c.Owner}
				continue
			}
			out[i] = rollcall.KeyAnswer{Owner: v.(key).owner, Held: r.held(group, c.Key)}
		}
		return nil
	})
	return out, err
}

func (t *Tx) held(group string, k rollcall.DedupKey) (held bool) {
	t.eachAside(group, func(a rollcall.Aside) {
		held = held || a.OwnsKey && a.DedupKey == k && (a.State == rollcall.AsideDead || a.State == rollcall.AsideParked)
	})
	return held
}

// Free implements rollcall.TxRecords.
func (r records) Free(ctx context.Context, group string, keys []rollcall.DedupKey) error {
	return r.statement(func() error {
		for _, k := range keys {
			if err := r.put(ctx, keyRow(group, k), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// Lock implements rollcall.TxRecords. The lock on a row that does not exist
// keeps others from creating it, as an insert would.
func (r records) Lock(ctx context.Context, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	out := make([]rollcall.RollRow, len(scopes))
	err := r.statement(func() error {
		for i, scope := range scopes {
			at := rollRow(group, scope)
			if err := r.session.lock(ctx, at, true); err != nil {
				return err
			}
			v, _ := r.session.read(at)
			data, _ := v.(roll)
			out[i] = rollcall.RollRow{Scope: scope, Data: data.data}
		}
		return nil
	})
	return out, err
}

// Write implements rollcall.TxRecords.
func (r records) Write(ctx context.Context, group string, rolls []rollcall.RollRow) error {
	return r.statement(func() error {
		for _, x := range rolls {
			if err := r.put(ctx, rollRow(group, x.Scope), roll{x.Data, r.store.now()}); err != nil {
				return err
			}
		}
		return nil
	})
}

type counter struct {
	group, destination string
	counts             rollcall.Counts
}

// Count implements rollcall.TxRecords.
func (r records) Count(ctx context.Context, group, destination string, slot int32, add rollcall.Counts) error {
	return r.statement(func() error {
		at := row{"count", fmt.Sprintf("%q %q %d", group, destination, slot)}
		if err := r.session.lock(ctx, at, true); err != nil {
			return err
		}
		v, _ := r.session.read(at)
		c, _ := v.(counter)
		r.session.write(at, counter{group, destination, plus(c.counts, add)})
		return nil
	})
}

func plus(a, b rollcall.Counts) rollcall.Counts {
	return rollcall.Counts{
		Applied: a.Applied + b.Applied, Repeated: a.Repeated + b.Repeated, Stale: a.Stale + b.Stale,
		Filtered: a.Filtered + b.Filtered, Discarded: a.Discarded + b.Discarded, Copies: a.Copies + b.Copies,
		Void: a.Void + b.Void, Lost: a.Lost + b.Lost,
	}
}
