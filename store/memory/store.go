package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Store implements rollcall.Store[*Tx]: one process's connection to a Database.
type Store struct {
	db  *Database
	now func() time.Time

	mu       sync.Mutex
	sessions map[*session]bool
	dead     bool
}

// Open connects to a database.
func Open(db *Database) *Store {
	return &Store{db: db, now: time.Now, sessions: make(map[*session]bool)}
}

// SetNow sets the store's own clock.
func (s *Store) SetNow(now func() time.Time) { s.now = now }

// Kill ends this process as seen by the server: open transactions are rolled
// back, and every later call fails.
func (s *Store) Kill() {
	s.mu.Lock()
	s.dead = true
	open := s.sessions
	s.sessions = make(map[*session]bool)
	s.mu.Unlock()
	for session := range open {
		session.abort(fmt.Errorf("%w: killed", ErrAborted))
	}
}

// Cut ends the connections of the open transactions, not the process.
func (s *Store) Cut() {
	s.mu.Lock()
	open := s.sessions
	s.sessions = make(map[*session]bool)
	s.mu.Unlock()
	for session := range open {
		session.abort(fmt.Errorf("%w: connection cut", ErrAborted))
	}
}

func (s *Store) session() (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil, fmt.Errorf("%w: killed", ErrAborted)
	}
	session := s.db.begin()
	s.sessions[session] = true
	return session, nil
}

func (s *Store) forget(session *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session)
}

// Tx is the transaction that a handler gets: rows of named tables.
type Tx struct {
	store   *Store
	session *session
}

// Begin implements rollcall.Store.
func (s *Store) Begin(context.Context) (rollcall.Tx[*Tx], error) {
	session, err := s.session()
	if err != nil {
		return nil, err
	}
	return &transaction{Tx: Tx{s, session}}, nil
}

// do runs a small transaction of the store's own.
func (s *Store) do(f func(t *Tx) error) error {
	session, err := s.session()
	if err != nil {
		return err
	}
	defer s.forget(session)
	t := &Tx{s, session}
	s.db.mu.Lock()
	err = session.enter()
	if err == nil {
		err = f(t)
	}
	if err == nil {
		session.apply()
	} else {
		session.end()
	}
	s.db.mu.Unlock()
	return err
}

// Put writes a row, waiting for who else has written it.
func (t *Tx) Put(ctx context.Context, table, key string, value any) error {
	t.session.db.mu.Lock()
	defer t.session.db.mu.Unlock()
	return t.put(ctx, row{"user." + table, key}, value)
}

func (t *Tx) put(ctx context.Context, r row, value any) error {
	if err := t.session.lock(ctx, r, true); err != nil {
		return err
	}
	t.session.write(r, value)
	return nil
}

// Append adds a row under a key of its own: a table without a unique index.
func (t *Tx) Append(ctx context.Context, table string, value any) error {
	t.session.db.mu.Lock()
	t.session.db.sequence++
	key := fmt.Sprintf("%020d", t.session.db.sequence)
	t.session.db.mu.Unlock()
	return t.Put(ctx, table, key, value)
}

// Get reads a row; forUpdate locks it until the end of the transaction.
func (t *Tx) Get(ctx context.Context, table, key string, forUpdate bool) (any, error) {
	t.session.db.mu.Lock()
	defer t.session.db.mu.Unlock()
	r := row{"user." + table, key}
	if err := t.session.enter(); err != nil {
		return nil, err
	}
	if forUpdate {
		if err := t.session.lock(ctx, r, true); err != nil {
			return nil, err
		}
	}
	v, _ := t.session.read(r)
	return v, nil
}

// All returns the committed rows of a user's table in the order of keys.
func (d *Database) All(table string) []any {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []any
	(&session{db: d}).scan("user."+table, func(_ string, v any) { out = append(out, v) })
	return out
}

// Classify implements rollcall.Store.
func (s *Store) Classify(err error) rollcall.Class {
	switch {
	case errors.Is(err, ErrDeadlock):
		return rollcall.ClassConflict
	case errors.Is(err, ErrAborted), errors.Is(err, rollcall.ErrInDoubt), errors.Is(err, context.Canceled):
		return rollcall.ClassEnvironment
	}
	return rollcall.ClassData
}

// token is the row of a holder.
type token struct {
	value    rollcall.Token
	released bool
	beat     time.Time
}

func tokenRow(group string, h rollcall.Holder) row {
	return row{"token", fmt.Sprintf("%q %q %q %d", group, h.Worker, h.Partition.Destination, h.Partition.Number)}
}

// Acquire implements rollcall.Store.
func (s *Store) Acquire(ctx context.Context, group string, holders []rollcall.Holder) ([]rollcall.Acquired, error) {
	out := make([]rollcall.Acquired, len(holders))
	order := make([]int, len(holders))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return slices.Compare([]byte(tokenRow(group, holders[a]).key), []byte(tokenRow(group, holders[b]).key))
	})
	err := s.do(func(t *Tx) error {
		for _, i := range order {
			r := tokenRow(group, holders[i])
			if err := t.session.lock(ctx, r, true); err != nil {
				return err
			}
			v, had := t.session.read(r)
			old, _ := v.(token)
			t.session.write(r, token{value: old.value + 1, beat: s.now()})
			out[i] = rollcall.Acquired{Token: old.value + 1, Clean: !had || old.released}
		}
		return nil
	})
	return out, err
}

// Release implements rollcall.Store.
func (s *Store) Release(ctx context.Context, holds []rollcall.Hold) error {
	return s.do(func(t *Tx) error {
		for _, h := range holds {
			r := tokenRow(h.Group, h.Holder)
			if err := t.session.lock(ctx, r, true); err != nil {
				return err
			}
			v, _ := t.session.read(r)
			if old, _ := v.(token); old.value == h.Token {
				old.released = true
				t.session.write(r, old)
			}
		}
		return nil
	})
}

// Rolls implements rollcall.Store.
func (s *Store) Rolls(_ context.Context, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	out := make([]rollcall.RollRow, len(scopes))
	err := s.do(func(t *Tx) error {
		for i, scope := range scopes {
			v, _ := t.session.read(rollRow(group, scope))
			data, _ := v.(roll)
			out[i] = rollcall.RollRow{Scope: scope, Data: data.data}
		}
		return nil
	})
	return out, err
}

// Asides implements rollcall.Store.
func (s *Store) Asides() rollcall.Asides { return asides{s} }

// Upkeep implements rollcall.Store.
func (s *Store) Upkeep() rollcall.Upkeep { return upkeep{s} }

// Outbox implements rollcall.Store.
func (s *Store) Outbox() rollcall.Outbox[*Tx] { return outbox{s} }
