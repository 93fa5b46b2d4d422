package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// upkeep implements rollcall.Upkeep.
type upkeep struct{ store *Store }

// Beat implements rollcall.Upkeep.
func (u upkeep) Beat(ctx context.Context, holds []rollcall.Hold) error {
	return u.store.do(func(t *Tx) error {
		for _, h := range holds {
			// The sign of life is a row beside the token: it waits for no batch.
			if err := t.put(ctx, beatRow(tokenRow(h.Group, h.Holder)), u.store.now()); err != nil {
				return err
			}
		}
		return nil
	})
}

func beatRow(token row) row { return row{"beat", token.key} }

// Sweep implements rollcall.Upkeep. The tokens of the silent are raised first:
// one that wakes from a suspended machine is fenced before anything it could
// repeat is forgotten.
func (u upkeep) Sweep(ctx context.Context, group string, window time.Duration) (swept rollcall.Swept, err error) {
	now := u.store.now()
	err = u.store.do(func(t *Tx) error {
		swept = rollcall.Swept{}
		n, err := t.fenceSilent(ctx, group, now.Add(-window/2))
		if err != nil {
			return err
		}
		swept.Fenced = n
		return nil
	})
	if err != nil {
		return swept, err
	}
	err = u.store.do(func(t *Tx) error {
		keys, lives := t.pinned(group)
		old := now.Add(-window)
		t.eachOf("key", group, func(r row, v any) {
			if k := v.(key); k.at.Before(old) && !keys[r] {
				t.session.write(r, nil)
				swept.Keys++
			}
		})
		t.eachOf("roll", group, func(r row, v any) {
			scope := scopeOf(r)
			if v.(roll).at.Before(old) && scope.Kind == rollcall.ScopeSender && !lives[rollcall.Life(scope.ID)] {
				t.session.write(r, nil)
				swept.Rolls++
			}
		})
		t.eachAside(group, func(a rollcall.Aside) {
			if a.Updated.Before(old) && !unfinished(a.State) {
				t.session.write(asideRow(a.ID), nil)
				t.session.write(identityRow(group, a.Identity), nil)
				swept.Asides++
			}
		})
		t.forget(group, now, old, &swept)
		return nil
	})
	return swept, err
}

// forget removes what Once and Claims keep, when it is over.
func (t *Tx) forget(group string, now, old time.Time, swept *rollcall.Swept) {
	t.eachOf("result", group, func(r row, v any) {
		if v.(result).at.Before(old) {
			t.session.write(r, nil)
			swept.Results++
		}
	})
	t.eachOf("claim", group, func(r row, v any) {
		// A lease that is over is kept for the window: its owner may still complete.
		if c := v.(claim); c.until.Before(old) || c.done && c.until.Before(now) {
			t.session.write(r, nil)
			swept.Claims++
		}
	})
}

func unfinished(s rollcall.AsideState) bool {
	return s == rollcall.AsideWaiting || s == rollcall.AsideDead || s == rollcall.AsideParked
}

// pinned are the keys and lives of rows that are waiting, dead or parked.
func (t *Tx) pinned(group string) (map[row]bool, map[rollcall.Life]bool) {
	keys, lives := make(map[row]bool), make(map[rollcall.Life]bool)
	t.eachAside(group, func(a rollcall.Aside) {
		if unfinished(a.State) {
			keys[keyRow(group, a.DedupKey)] = true
			lives[a.Message.Stamp.Life] = true
		}
	})
	return keys, lives
}

func (t *Tx) fenceSilent(ctx context.Context, group string, since time.Time) (n int, err error) {
	var silent []row
	t.eachOf("token", group, func(r row, v any) {
		last := v.(token).beat
		if b, ok := t.session.read(beatRow(r)); ok && b.(time.Time).After(last) {
			last = b.(time.Time)
		}
		if last.Before(since) && !v.(token).released {
			silent = append(silent, r)
		}
	})
	for _, r := range silent {
		if err := t.session.lock(ctx, r, true); err != nil {
			return n, err
		}
		v, _ := t.session.read(r)
		now := v.(token)
		now.value++
		now.beat = t.store.now()
		t.session.write(r, now)
		n++
	}
	return n, nil
}

// eachOf calls f for the rows of a table that belong to the group.
func (t *Tx) eachOf(table, group string, f func(r row, v any)) {
	prefix := fmt.Sprintf("%q ", group)
	t.session.scan(table, func(k string, v any) {
		if strings.HasPrefix(k, prefix) {
			f(row{table, k}, v)
		}
	})
}

func scopeOf(r row) rollcall.Scope {
	var raw []byte
	_, _ = fmt.Sscanf(r.key[strings.LastIndexByte(r.key, ' ')+1:], "%x", &raw)
	scope, err := rollcall.ParseScope(raw)
	if err != nil {
		panic(err) // the key was made by rollRow
	}
	return scope
}

// Tally implements rollcall.Upkeep.
func (u upkeep) Tally(_ context.Context, group string) ([]rollcall.Tally, error) {
	by := make(map[string]*rollcall.Tally)
	at := func(destination string) *rollcall.Tally {
		if by[destination] == nil {
			by[destination] = &rollcall.Tally{Destination: destination}
		}
		return by[destination]
	}
	err := u.store.do(func(t *Tx) error {
		t.eachOf("count", group, func(_ row, v any) {
			c := v.(counter)
			tally := at(c.destination)
			tally.Counts = plus(tally.Counts, c.counts)
		})
		t.eachAside(group, func(a rollcall.Aside) {
			switch a.State {
			case rollcall.AsideWaiting:
				at(a.Message.Destination).Waiting++
			case rollcall.AsideDead:
				at(a.Message.Destination).Dead++
			case rollcall.AsideParked:
				at(a.Message.Destination).Parked++
			}
		})
		return nil
	})
	var out []rollcall.Tally
	for _, name := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[name])
	}
	return out, err
}
