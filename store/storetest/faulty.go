package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// faultyStore is a process's connection whose wire the case can cut.
type faultyStore[X any] struct {
	rollcall.Store[X]
	cutWire   func(rollcall.Store[X]) // nil: transactions are rolled back instead
	worker    atomic.Pointer[string]  // name of the worker, learnt from its Acquire
	suspended atomic.Bool             // no sign of life is written

	mu       sync.Mutex
	dead     bool
	open     map[*faultyTx[X]]bool
	onCommit func() commitFault
}

type commitFault uint8

const (
	commitWell   commitFault = iota
	commitDone               // it happens, the answer is lost
	commitUndone             // it does not happen, the answer is lost
)

var errCut = errors.New("storetest: the connection was cut")

func newFaultyStore[X any](s rollcall.Store[X], cutWire func(rollcall.Store[X])) *faultyStore[X] {
	return &faultyStore[X]{Store: s, cutWire: cutWire, open: make(map[*faultyTx[X]]bool)}
}

// Kill rolls back what is open, as the server does when a client dies, and
// fails every later call.
func (s *faultyStore[X]) Kill() {
	s.mu.Lock()
	s.dead = true
	open := s.open
	s.open = make(map[*faultyTx[X]]bool)
	s.mu.Unlock()
	if s.cutWire != nil {
		s.cutWire(s.Store)
	}
	for tx := range open {
		tx.cut()
	}
}

// OnCommit sets what goes wrong with each COMMIT.
func (s *faultyStore[X]) OnCommit(f func() commitFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCommit = f
}

func (s *faultyStore[X]) alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errCut
	}
	return nil
}

func (s *faultyStore[X]) Classify(err error) rollcall.Class {
	if errors.Is(err, errCut) || errors.Is(err, errKilled) {
		return rollcall.ClassEnvironment
	}
	return s.Store.Classify(err)
}

func (s *faultyStore[X]) Acquire(ctx context.Context, g string, holders []rollcall.Holder) ([]rollcall.Acquired, error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	for _, h := range holders {
		if h.Worker != "" {
			s.worker.Store(&h.Worker)
		}
	}
	return s.Store.Acquire(ctx, g, holders)
}

func (s *faultyStore[X]) Release(ctx context.Context, holds []rollcall.Hold) error {
	if err := s.alive(); err != nil {
		return err
	}
	return s.Store.Release(ctx, holds)
}

func (s *faultyStore[X]) Rolls(ctx context.Context, g string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	return s.Store.Rolls(ctx, g, scopes)
}

func (s *faultyStore[X]) Upkeep() rollcall.Upkeep { return faultyUpkeep[X]{s.Store.Upkeep(), s} }

type faultyUpkeep[X any] struct {
	rollcall.Upkeep
	store *faultyStore[X]
}

func (u faultyUpkeep[X]) Beat(ctx context.Context, holds []rollcall.Hold) error {
	if u.store.suspended.Load() {
		return errCut
	}
	if err := u.store.alive(); err != nil {
		return err
	}
	return u.Upkeep.Beat(ctx, holds)
}

func (s *faultyStore[X]) Begin(ctx context.Context) (rollcall.Tx[X], error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	tx, err := s.Store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	f := &faultyTx[X]{Tx: tx, store: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		_ = tx.Rollback()
		return nil, errCut
	}
	s.open[f] = true
	return f.powerful(), nil
}

// powerful is the transaction with the powers of the one that it stands for, and
// no others: the engine takes other ways with them.
func (t *faultyTx[X]) powerful() rollcall.Tx[X] {
	g, gathers := t.Tx.(rollcall.Gatherer[X])
	a, assumes := t.Tx.(rollcall.Assumer)
	switch {
	case gathers && assumes:
		return struct {
			*faultyTx[X]
			rollcall.Gatherer[X]
			rollcall.Assumer
		}{t, g, a}
	case gathers:
		return struct {
			*faultyTx[X]
			rollcall.Gatherer[X]
		}{t, g}
	case assumes:
		return struct {
			*faultyTx[X]
			rollcall.Assumer
		}{t, a}
	}
	return t
}

// faultyTx is a transaction on that connection.
type faultyTx[X any] struct {
	rollcall.Tx[X]
	store *faultyStore[X]
	wired atomic.Bool // its connection was cut
	mu    sync.Mutex
	gone  bool
}

func (t *faultyTx[X]) cut() {
	if t.store.cutWire != nil { // a transaction is for one goroutine: its own rolls it back
		t.wired.Store(true)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.gone {
		t.gone = true
		_ = t.Tx.Rollback()
	}
}

func (t *faultyTx[X]) finish() bool {
	t.store.mu.Lock()
	delete(t.store.open, t)
	t.store.mu.Unlock()
	return t.gone
}

// Commit implements rollcall.Tx.
func (t *faultyTx[X]) Commit(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.finish() {
		return errCut
	}
	if t.wired.Load() {
		t.gone = true
		_ = t.Tx.Rollback()
		return errCut
	}
	t.store.mu.Lock()
	on := t.store.onCommit
	t.store.mu.Unlock()
	fault := commitWell
	if on != nil {
		fault = on()
	}
	t.gone = true
	switch fault {
	case commitDone:
		if err := t.Tx.Commit(ctx); err != nil {
			return err
		}
		return fmt.Errorf("storetest: the answer to COMMIT was lost: %w", rollcall.ErrInDoubt)
	case commitUndone:
		_ = t.Tx.Rollback()
		return fmt.Errorf("storetest: COMMIT was lost: %w", rollcall.ErrInDoubt)
	}
	return t.Tx.Commit(ctx)
}

// Rollback implements rollcall.Tx.
func (t *faultyTx[X]) Rollback() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.finish() {
		return nil
	}
	t.gone = true
	return t.Tx.Rollback()
}

// hookStep returns a context in which bite is called, once, at a step.
func hookStep(ctx context.Context, step string, bite func()) context.Context {
	var once sync.Once
	return failpoint.With(ctx, func(_ context.Context, at string, n int) error {
		if at != step || n == 0 {
			return nil
		}
		once.Do(bite)
		return errKilled
	})
}
