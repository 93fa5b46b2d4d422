// Package sqlite keeps rollcall's records in a SQLite file, in the very
// transaction of the effect. The file is the store's own or the user's: all
// tables of the store begin with "rollcall_", and user_version and
// application_id are left alone.
//
// # What it promises
//
// Write-ahead log with synchronous=FULL: what Commit confirmed survives a power
// cut. Every write transaction is BEGIN IMMEDIATE and holds the one write lock
// of the file, so transactions are serial, whatever process they are of; within
// a process they queue in the order of their coming, between processes SQLite
// does not promise an order. SQLite cannot break the lock of a stopped writer:
// a process that is suspended inside a transaction stops all others, until it
// goes on or is killed.
//
// # What a handler may do with its transaction
//
// Everything but end it: see Store.Begin.
package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
)

var (
	_ rollcall.Store[*sql.Tx]  = (*Store)(nil)
	_ rollcall.Outbox[*sql.Tx] = outbox{}
)

// Config is the settings of a Store. The zero value is safe.
type Config struct {
	// Busy is how long to wait for the write lock that another process holds,
	// before an error of rollcall.ClassEnvironment. Default: 10 s.
	Busy time.Duration
	// Cache is the most memory for pages of the writing connection, in KiB.
	// Default: 16384.
	Cache int
	// ForeignKeys enforces the foreign keys of the user's tables in handlers'
	// transactions. Default: false, as in SQLite.
	ForeignKeys bool
	// Now is the store's clock: signs of life, ages of keys and rolls. It
	// decides only what is old, never what may take effect. Default: time.Now.
	Now func() time.Time
	// Readers is the most connections that read beside the writer. Default: 4.
	Readers int
}

func (c Config) withDefaults() Config {
	if c.Busy <= 0 {
		c.Busy = 10 * time.Second
	}
	if c.Cache <= 0 {
		c.Cache = 16 << 10
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Readers <= 0 {
		c.Readers = 4
	}
	return c
}

// Store is a SQLite file with rollcall's tables. It is safe for concurrent use.
type Store struct {
	path   string
	config Config
	writer *sql.DB // one connection; taken only by the holder of turn
	reader *sql.DB // internal reads, query_only
	user   *sql.DB // what DB returns
	// turn is the right to write. Channels serve waiters in the order of their
	// coming, connection pools of database/sql do not.
	turn   chan struct{}
	line   *line
	closed chan struct{}
	once   sync.Once
}

// Open opens the file, creates it (mode 0600, missing folders 0700) and brings
// its tables up to date. Errors: rollcall.ErrNewerSchema when a newer rollcall
// wrote it, rollcall.ErrDamaged when it is not a whole SQLite database,
// rollcall.ErrConfig when it cannot be used as it is. After an error nothing is
// open, and tables were created all or not at all.
func Open(path string, config Config) (*Store, error) {
	s := &Store{config: config.withDefaults(), turn: make(chan struct{}, 1), closed: make(chan struct{})}
	abs, err := prepareFile(path)
	if err != nil {
		return nil, err
	}
	s.path, s.line = abs, newLine(abs)
	if err := s.openPools(); err != nil {
		return nil, err
	}
	if err := s.migrate(context.Background()); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// Path is the absolute path of the file.
func (s *Store) Path() string { return s.path }

// DB is a handle on the file for the user: to create tables, to read, and to
// write beside rollcall (Outbox.Enqueue, Results, in a transaction of its own).
// Its transactions are BEGIN IMMEDIATE; one that SQLite rolled back by itself
// takes no statement more. Do not write through it inside a handler:
// the handler's transaction holds the write lock, so it would wait for itself.
// It is closed by Store.Close.
func (s *Store) DB() *sql.DB { return s.user }

// Close closes the file. Transactions in work are rolled back; later calls
// return rollcall.ErrClosed. Closing again does nothing.
func (s *Store) Close() error {
	var first error
	s.once.Do(func() {
		close(s.closed)
		for _, db := range []*sql.DB{s.user, s.reader, s.writer} {
			if db == nil {
				continue
			}
			if err := db.Close(); err != nil && first == nil {
				first = s.wrap("close", err)
			}
		}
	})
	return first
}

// Asides reads the rows set aside.
func (s *Store) Asides() rollcall.Asides { return asides{s} }

// Upkeep is the sign of life, the sweeper and the tally.
func (s *Store) Upkeep() rollcall.Upkeep { return upkeep{s} }

// Outbox is the send-side table.
func (s *Store) Outbox() rollcall.Outbox[*sql.Tx] { return outbox{s} }

// Rolls reads rolls without locks, in the order asked.
func (s *Store) Rolls(ctx context.Context, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	rows, err := readRolls(ctx, s.reader, group, scopes)
	return rows, s.wrap("read rolls", err)
}

func (s *Store) open() error {
	select {
	case <-s.closed:
		return fmt.Errorf("%w: sqlite store %s: open it again", rollcall.ErrClosed, s.path)
	default:
		return nil
	}
}

// querier is a transaction or a pool.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// short is ctx for a statement of the store's own inside a transaction. They
// are over in no time, so it is enough to look at ctx before them: the driver
// starts a goroutine to watch every context that can end, and a statement that
// is interrupted takes the whole transaction with it.
func short(ctx context.Context) (context.Context, error) {
	return context.WithoutCancel(ctx), ctx.Err()
}

// each runs a query and calls scan for every row.
func each(ctx context.Context, q querier, query string, args []any, scan func(*sql.Rows) error) error {
	if _, ok := q.(*sql.Tx); ok {
		var err error
		if ctx, err = short(ctx); err != nil {
			return err
		}
	}
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
