// Package memory is a store in memory: the readable specification of the store
// contract. It has what the contract's hard cases need: row locks of several
// writers, READ COMMITTED, deadlock detection, savepoints, server deadlines,
// and a COMMIT whose answer can be lost.
//
// database.go is the server: rows, locks, transactions. store.go and the files
// beside it are the roles of rollcall.Store on top of it.
package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Errors of the server.
var (
	// ErrDeadlock: this transaction was chosen to end a deadlock.
	ErrDeadlock = errors.New("memory: deadlock")
	// ErrAborted: the server ended the transaction: its deadline passed, or the
	// connection was cut. It has not happened.
	ErrAborted = errors.New("memory: transaction aborted by the server")
)

// Config is the settings of a Database. The zero value is usable.
type Config struct {
	// Idle is how long a transaction may be without a statement before the
	// server ends it. Default: 5 s. Negative: for ever.
	Idle time.Duration
}

// row names one row.
type row struct{ table, key string }

// Database is the server. Several Stores, each standing for one process, can
// work on it.
type Database struct {
	config Config

	mu       sync.Mutex
	rows     map[row]any
	locks    map[row]map[*session]bool // holder to exclusive
	waiters  map[*session]bool
	sequence int64

	deadlocks int
	onCommit  func() CommitFault
}

// CommitFault is what goes wrong with one COMMIT.
type CommitFault struct {
	// Lost: the answer does not arrive: ErrInDoubt.
	Lost bool
	// Undone: with Lost, it did not happen. Else it did.
	Undone bool
	// Late: with Lost, it happens only after this time; its locks are held
	// until then.
	Late time.Duration
}

// NewDatabase starts a server.
func NewDatabase(config Config) *Database {
	if config.Idle == 0 {
		config.Idle = 5 * time.Second
	}
	return &Database{config: config, rows: make(map[row]any), locks: make(map[row]map[*session]bool),
		waiters: make(map[*session]bool)}
}

// OnCommit sets what goes wrong with each COMMIT from now on; nil: nothing.
func (d *Database) OnCommit(f func() CommitFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onCommit = f
}

// Deadlocks is how many there were.
func (d *Database) Deadlocks() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deadlocks
}

// session is one connection with its transaction.
type session struct {
	db     *Database
	writes map[row]any // nil value: deleted
	undo   []undoEntry
	waits  *session // whom it waits for
	wake   chan struct{}
	ended  bool
	failed error // why the server ended it
	idle   *time.Timer
}

type undoEntry struct {
	row    row
	had    bool
	value  any
	locked bool // not a write: the lock was taken here
}

func (d *Database) begin() *session {
	s := &session{db: d, writes: make(map[row]any), wake: make(chan struct{}, 1)}
	if d.config.Idle > 0 {
		s.idle = time.AfterFunc(d.config.Idle, func() { s.abort(fmt.Errorf("%w: idle in transaction", ErrAborted)) })
	}
	return s
}

// enter begins a statement: the caller holds the lock of the database.
func (s *session) enter() error {
	if s.failed != nil {
		return s.failed
	}
	if s.ended {
		return fmt.Errorf("%w: it has ended", ErrAborted)
	}
	if s.idle != nil {
		s.idle.Reset(s.db.config.Idle)
	}
	return nil
}

// abort ends the transaction from the server's side.
func (s *session) abort(why error) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if !s.ended {
		s.failed = why
		s.end()
	}
}

// end releases everything; the caller holds the lock.
func (s *session) end() {
	s.ended = true
	if s.idle != nil {
		s.idle.Stop()
	}
	for r, holders := range s.db.locks {
		if _, ok := holders[s]; ok {
			s.db.unlock(r, s)
		}
	}
	s.signal()
}

func (s *session) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// unlock releases one lock and wakes all who may wait for it.
func (d *Database) unlock(r row, s *session) {
	delete(d.locks[r], s)
	if len(d.locks[r]) == 0 {
		delete(d.locks, r)
	}
	d.wakeAll()
}

// waiting sessions look again whenever a lock is released.
func (d *Database) wakeAll() {
	for s := range d.waiters {
		s.signal()
	}
}

// lock takes a lock on a row, whether the row exists or not, and waits for who
// holds it. The caller holds the lock of the database.
func (s *session) lock(ctx context.Context, r row, exclusive bool) error {
	for {
		if err := s.enter(); err != nil {
			return err
		}
		holder := s.conflict(r, exclusive)
		if holder == nil {
			if s.db.locks[r] == nil {
				s.db.locks[r] = make(map[*session]bool)
			}
			if _, had := s.db.locks[r][s]; !had {
				s.undo = append(s.undo, undoEntry{row: r, locked: true})
			}
			s.db.locks[r][s] = exclusive || s.db.locks[r][s]
			return nil
		}
		if err := s.waitFor(ctx, holder); err != nil {
			return err
		}
	}
}

func (s *session) conflict(r row, exclusive bool) *session {
	for holder, theirs := range s.db.locks[r] {
		if holder != s && (exclusive || theirs) {
			return holder
		}
	}
	return nil
}

func (s *session) waitFor(ctx context.Context, holder *session) error {
	for h := holder; h != nil; h = h.waits {
		if h == s {
			s.db.deadlocks++
			s.failed = ErrDeadlock
			s.end()
			return ErrDeadlock
		}
	}
	s.waits = holder
	s.db.waiters[s] = true
	if s.idle != nil {
		s.idle.Stop() // waiting is not idle
	}
	s.db.mu.Unlock()
	var err error
	select {
	case <-s.wake:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.db.mu.Lock()
	s.waits = nil
	delete(s.db.waiters, s)
	if err != nil && !s.ended { // as a statement that is interrupted takes its transaction with it
		s.failed = fmt.Errorf("memory: statement interrupted, transaction rolled back: %w", err)
		s.end()
	}
	return err
}

func (s *session) read(r row) (any, bool) {
	if v, ok := s.writes[r]; ok {
		return v, v != nil
	}
	v, ok := s.db.rows[r]
	return v, ok
}

func (s *session) write(r row, v any) {
	old, had := s.writes[r]
	s.undo = append(s.undo, undoEntry{row: r, had: had, value: old})
	s.writes[r] = v
}

// rollbackTo undoes the writes since a savepoint and releases the locks taken
// since, as PostgreSQL does: whoever waits for them may go on.
func (s *session) rollbackTo(mark int) {
	for len(s.undo) > mark {
		u := s.undo[len(s.undo)-1]
		s.undo = s.undo[:len(s.undo)-1]
		switch {
		case u.locked:
			s.db.unlock(u.row, s)
		case u.had:
			s.writes[u.row] = u.value
		default:
			delete(s.writes, u.row)
		}
	}
}

// apply makes the writes visible and ends the transaction.
func (s *session) apply() {
	for r, v := range s.writes {
		if v == nil {
			delete(s.db.rows, r)
		} else {
			s.db.rows[r] = v
		}
	}
	s.end()
}

func (s *session) commit() error {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.enter(); err != nil {
		return err
	}
	var fault CommitFault
	if s.db.onCommit != nil {
		fault = s.db.onCommit()
	}
	switch {
	case fault.Lost && fault.Late > 0:
		if s.idle != nil {
			s.idle.Stop()
		}
		time.AfterFunc(fault.Late, func() {
			s.db.mu.Lock()
			defer s.db.mu.Unlock()
			if !s.ended {
				s.apply()
			}
		})
		s.failed = fmt.Errorf("memory: COMMIT: %w", rollcall.ErrInDoubt)
		return s.failed
	case fault.Lost && fault.Undone:
		s.end()
	default:
		s.apply()
	}
	if fault.Lost {
		return fmt.Errorf("memory: COMMIT: %w", rollcall.ErrInDoubt)
	}
	return nil
}

// scan calls f for every row of a table as this session sees it, in the order
// of keys.
func (s *session) scan(table string, f func(key string, v any)) {
	seen := make(map[string]bool)
	for r := range s.db.rows {
		if r.table == table {
			seen[r.key] = true
		}
	}
	for r := range s.writes {
		if r.table == table {
			seen[r.key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(seen)) {
		if v, ok := s.read(row{table, key}); ok {
			f(key, v)
		}
	}
}

// SetIdle changes Config.Idle for transactions that begin from now on.
func (d *Database) SetIdle(idle time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config.Idle = idle
}
