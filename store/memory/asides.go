package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// aside is a row set aside with its group.
type aside struct {
	group string
	rollcall.Aside
}

func asideRow(id int64) row { return row{"aside", fmt.Sprintf("%020d", id)} }

func identityRow(group string, id rollcall.Identity) row {
	return row{"aside-identity", fmt.Sprintf("%q %x", group, id)}
}

// eachAside calls f for the rows of a group in the order of their ids.
func (t *Tx) eachAside(group string, f func(rollcall.Aside)) {
	t.session.scan("aside", func(_ string, v any) {
		if a := v.(aside); a.group == group {
			f(a.Aside)
		}
	})
}

// asides implements rollcall.Asides.
type asides struct{ store *Store }

// Due implements rollcall.Asides.
func (s asides) Due(_ context.Context, group string, now time.Time, most int) ([]rollcall.Aside, error) {
	var out []rollcall.Aside
	err := s.store.do(func(t *Tx) error {
		first := make(map[string]bool)
		t.eachAside(group, func(a rollcall.Aside) {
			if a.State != rollcall.AsideWaiting {
				return
			}
			k := a.Message.Key
			turn := k == "" || a.Early || !first[k]
			if !a.Early && k != "" {
				first[k] = true
			}
			if turn && len(out) < most && (!a.Due.After(now) || a.Updated.After(now)) {
				out = append(out, a)
			}
		})
		return nil
	})
	return out, err
}

// List implements rollcall.Asides.
func (s asides) List(_ context.Context, group string, f rollcall.AsideFilter) ([]rollcall.Aside, error) {
	if f.States == nil {
		f.States = []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked}
	}
	if f.Max == 0 {
		f.Max = 100
	}
	var out []rollcall.Aside
	err := s.store.do(func(t *Tx) error {
		t.eachAside(group, func(a rollcall.Aside) {
			if a.ID > f.After && len(out) < f.Max && slices.Contains(f.States, a.State) &&
				(f.IDs == nil || slices.Contains(f.IDs, a.ID)) &&
				(f.Destination == "" || f.Destination == a.Message.Destination) && (f.Key == "" || f.Key == a.Message.Key) {
				out = append(out, a)
			}
		})
		return nil
	})
	return out, err
}

// txAsides implements rollcall.TxAsides.
type txAsides struct{ *Tx }

// Queues implements rollcall.TxAsides: a plain read, READ COMMITTED.
func (x txAsides) Queues(_ context.Context, group string, keys []string) (map[string]rollcall.Queue, error) {
	out := make(map[string]rollcall.Queue)
	err := x.statement(func() error {
		x.eachAside(group, func(a rollcall.Aside) {
			k := a.Message.Key
			if a.State != rollcall.AsideWaiting || k == "" || !slices.Contains(keys, k) {
				return
			}
			q := out[k]
			if a.Early {
				q.Early = true
			} else if q.First == 0 {
				q.First = a.ID
			}
			out[k] = q
		})
		return nil
	})
	return out, err
}

// Put implements rollcall.TxAsides.
func (x txAsides) Put(ctx context.Context, group string, rows []rollcall.Aside) (n int, err error) {
	err = x.statement(func() error {
		for _, a := range rows {
			ok, err := x.putOne(ctx, group, a)
			if err != nil {
				return err
			}
			if ok {
				n++
			}
		}
		return nil
	})
	return n, err
}

func (x txAsides) putOne(ctx context.Context, group string, a rollcall.Aside) (bool, error) {
	at := identityRow(group, a.Identity)
	if err := x.session.lock(ctx, at, true); err != nil {
		return false, err
	}
	if v, ok := x.session.read(at); ok {
		old := asideRow(v.(int64))
		if err := x.session.lock(ctx, old, true); err != nil {
			return false, err
		}
		if o, ok := x.session.read(old); ok && o.(aside).State != rollcall.AsideAttempt {
			return false, nil
		}
		x.session.write(old, nil)
	}
	x.session.db.sequence++
	a.ID = x.session.db.sequence
	x.session.write(at, a.ID)
	return true, x.put(ctx, asideRow(a.ID), aside{group, a})
}

// Turn implements rollcall.TxAsides.
func (x txAsides) Turn(ctx context.Context, group string, id int64, from []rollcall.AsideState, to rollcall.AsideChange) (ok bool, err error) {
	err = x.statement(func() error {
		at := asideRow(id)
		if err := x.session.lock(ctx, at, true); err != nil {
			return err
		}
		v, found := x.session.read(at)
		if !found || v.(aside).group != group || !slices.Contains(from, v.(aside).State) {
			return nil
		}
		a := v.(aside)
		a.State, a.Cause, a.Attempts, a.Early, a.OwnsKey = to.State, to.Cause, to.Attempts, to.Early, to.OwnsKey
		a.Due, a.Updated = to.Due, to.Updated
		if to.State == rollcall.AsideDone || to.State == rollcall.AsideDiscarded {
			a.Message.Body, a.Message.Headers = nil, nil
		}
		x.session.write(at, a)
		ok = true
		return nil
	})
	return ok, err
}

// Wake implements rollcall.TxAsides.
func (x txAsides) Wake(ctx context.Context, group string, keys []string, due time.Time) error {
	return x.statement(func() error {
		var early []rollcall.Aside
		x.eachAside(group, func(a rollcall.Aside) {
			if a.State == rollcall.AsideWaiting && a.Early && slices.Contains(keys, a.Message.Key) {
				early = append(early, a)
			}
		})
		for _, a := range early {
			if err := x.session.lock(ctx, asideRow(a.ID), true); err != nil {
				return err
			}
			if v, ok := x.session.read(asideRow(a.ID)); ok && v.(aside).State == rollcall.AsideWaiting {
				now := v.(aside)
				now.Due = due
				x.session.write(asideRow(a.ID), now)
			}
		}
		return nil
	})
}

// Known implements rollcall.TxAsides.
func (x txAsides) Known(ctx context.Context, group string, ids []rollcall.Identity) (map[rollcall.Identity]rollcall.Aside, error) {
	out := make(map[rollcall.Identity]rollcall.Aside)
	err := x.statement(func() error {
		for _, id := range ids {
			at := identityRow(group, id)
			if err := x.session.lock(ctx, at, true); err != nil {
				return err
			}
			v, ok := x.session.read(at)
			if !ok {
				continue
			}
			if err := x.session.lock(ctx, asideRow(v.(int64)), true); err != nil {
				return err
			}
			if a, ok := x.session.read(asideRow(v.(int64))); ok {
				out[id] = a.(aside).Aside
			}
		}
		return nil
	})
	return out, err
}

// DropAttempts implements rollcall.TxAsides.
func (x txAsides) DropAttempts(ctx context.Context, group string, ids []rollcall.Identity) error {
	known, err := x.Known(ctx, group, ids)
	if err != nil {
		return err
	}
	return x.statement(func() error {
		for id, a := range known {
			if a.State == rollcall.AsideAttempt {
				x.session.write(asideRow(a.ID), nil)
				x.session.write(identityRow(group, id), nil)
			}
		}
		return nil
	})
}
