// Package mysql keeps rollcall's records in MySQL (8.0 or newer) or MariaDB
// (10.6 or newer), in the very transaction of the effect.
//
// # What it promises
//
// Transactions are READ COMMITTED, tables are InnoDB, sessions are strict (a
// value that does not fit is an error, never cut). What Commit confirmed is as
// durable as the server makes it (Open refuses a server that flushes its log
// later, unless told). A worker that is stopped inside a transaction holds
// others up for Config.Idle at most, one that waits for a lock for
// Config.Statement: then the server ends it, by its own clock. A statement that
// works for longer than that is given up by the client, which has the server
// kill it.
//
// # What a handler may do with its transaction
//
// Everything but end it: its *sql.Tx refuses Commit and Rollback, and COMMIT,
// BEGIN, statements that commit without saying so (DDL, LOCK TABLES and others),
// prepared text (PREPARE, EXECUTE) and whatever it does not know. A procedure that commits can only be
// found out afterwards: what it did stays, the message fails and says so. After
// an error with which the server rolled back (a deadlock, a lost connection; a
// lock wait timeout counts as one) every further statement is refused: the server
// would run it in a transaction of its own. The same goes for transactions of DB.
//
// A context that ends inside a statement closes the connection, the transaction
// with it, and kills what the server still does. Settings that a handler changes
// (SET, USE) end with its transaction: the connection is not used again. The
// answer of a query is read whole before the handler gets its first row. Tables
// that a handler writes must be InnoDB: in others nothing can be undone.
//
// # Gathered handlers
//
// With rollcall.ConsumerConfig.Gather each lane gets a *sql.Tx of its own, whose
// statements travel together with those of others (docs/adr/0011): reads in one
// text, changes in another. They are the driver's as ever, with their own rows
// affected, ids and errors; prepared ones too, whose mistakes are found when they
// are run. What is one session's for all is an error that names it: savepoints
// (and so rollcall.Once), SET, USE, temporary tables, @variables, LAST_INSERT_ID()
// in a text. The deadline of a handler ends the text in which its statement
// travels, and the transaction with it. A text that may hide a second statement
// (a backslash in it is enough) is prepared and goes alone: write its value as ?.
//
// # What it cannot do
//
// Servers where a lock of one node means nothing on another (Galera, group
// replication with several primaries) and those that ignore shared locks (TiDB)
// are refused: two owners could commit.
package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/internal/sqltext"
	"github.com/rollcall-mq/rollcall/store/internal/sqlstore"
)

// Config is the settings of a Store. The zero value is safe.
type Config struct {
	// Schema is the database of the same server where rollcall's tables are.
	// Default: "rollcall".
	Schema string
	// Idle is how long a transaction may wait for its client before the server
	// ends it (wait_timeout, in whole seconds). A handler that works for longer
	// between two statements loses its transaction. Default: 30 s.
	Idle time.Duration
	// Statement is how long a statement may wait for locks
	// (innodb_lock_wait_timeout, lock_wait_timeout, in whole seconds); the client
	// gives up on one of the store's 5 s later. Default: 60 s.
	Statement time.Duration
	// Connections is the most that are open at once, those of DB apart, which has
	// as many again. Default: 16.
	Connections int
	// Dial opens a connection to the server. Default: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Unsafe accepts a server with innodb_flush_log_at_trx_commit or sync_binlog
	// other than 1: what was confirmed may be lost when it crashes. Default: false.
	Unsafe bool
	// NoMigrate leaves the tables alone: a role with the right to make them does
	// that (see Migrate and roles.sql). Default: false.
	NoMigrate bool
}

func (c Config) withDefaults() Config {
	if c.Schema == "" {
		c.Schema = "rollcall"
	}
	if c.Idle <= 0 {
		c.Idle = 30 * time.Second
	}
	if c.Statement <= 0 {
		c.Statement = 60 * time.Second
	}
	if c.Connections <= 0 {
		c.Connections = 16
	}
	return c
}

// Store is a database of a MySQL or MariaDB server. It is safe for concurrent
// use.
type Store struct {
	*sqlstore.Core
	config  Config
	name    string // address and database, for errors
	pool    *sql.DB
	user    *sql.DB
	lanes   *sql.DB // of virtual connections, see Tx.Gather
	texts   sqltext.Memo[said]
	version string
	closed  atomic.Bool
}

// Open connects, looks whether the server can keep the promise, and brings the
// tables up to date. dsn is as go-sql-driver/mysql takes it,
// "user:password@tcp(host:3306)/db?tls=true".
// Errors: rollcall.ErrConfig when the configuration or the server cannot work,
// rollcall.ErrNewerSchema when a newer rollcall made the tables. After an error
// nothing is open.
func Open(ctx context.Context, dsn string, config Config) (*Store, error) {
	config = config.withDefaults()
	if err := dialect.Check(config.Schema); err != nil {
		return nil, fmt.Errorf("%w: mysql: Schema: %w", rollcall.ErrConfig, err)
	}
	mc, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("%w: mysql: dsn: %w; it is user:password@tcp(host:port)/database", rollcall.ErrConfig, err)
	}
	s := &Store{config: config, name: fmt.Sprintf("%s(%s)/%s", mc.Net, mc.Addr, mc.DBName)}
	s.Core = &sqlstore.Core{Database: database{s}, D: newDialect(config.Schema)}
	if s.pool, s.user, err = pools(mc, config); err != nil {
		return nil, fmt.Errorf("%w: mysql: dsn: %w", rollcall.ErrConfig, err)
	}
	s.lanes = sql.OpenDB(virtual{})
	s.lanes.SetMaxIdleConns(100)
	if err = s.inspect(ctx); err == nil && !config.NoMigrate {
		err = s.Migrate(ctx)
	}
	if err == nil {
		err = s.engines(ctx)
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func newDialect(schema string) *sqlstore.Dialect {
	return &sqlstore.Dialect{Schema: "`" + schema + "`", Share: "LOCK IN SHARE MODE",
		Nanos: "CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000000 AS SIGNED)"}
}

// Version is what the server says of itself.
func (s *Store) Version() string { return s.version }

// DB is a pool for the user: to create tables, to read, and to write beside
// rollcall (Outbox.Enqueue, Results). It is closed by Store.Close.
func (s *Store) DB() *sql.DB { return s.user }

// Close closes the connections. Transactions in work are rolled back; later
// calls return rollcall.ErrClosed. Closing again does nothing.
func (s *Store) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	return errors.Join(s.pool.Close(), s.user.Close(), s.lanes.Close())
}

func (s *Store) open() error {
	if s.closed.Load() {
		return fmt.Errorf("%w: mysql store %s: open it again", rollcall.ErrClosed, s.name)
	}
	return nil
}

// Asides reads the rows set aside.
func (s *Store) Asides() rollcall.Asides { return sqlstore.Asides{Core: s.Core} }

// Upkeep is the sign of life, the sweeper and the tally.
func (s *Store) Upkeep() rollcall.Upkeep { return sqlstore.Upkeep{Core: s.Core} }

// Claims is the leased two-phase record, for effects outside of the database.
func (s *Store) Claims() rollcall.Claims { return sqlstore.Claims{Core: s.Core} }

// Outbox is the send-side table.
func (s *Store) Outbox() rollcall.Outbox[*sql.Tx] { return outbox{sqlstore.Outbox{Core: s.Core}} }

type outbox struct{ sqlstore.Outbox }

// Enqueue writes messages in the user's transaction, in order; they are sent if
// and only if it commits. It may be a handler's transaction, one of DB, or any
// other on the same server; of those the last is not guarded against going on
// after a deadlock.
func (o outbox) Enqueue(ctx context.Context, tx *sql.Tx, messages []rollcall.Message) error {
	return o.Outbox.Enqueue(ctx, direct{tx, o.D}, messages)
}

// Results keeps the first results of rollcall.Once in a transaction on this
// server: a handler's, or one of DB. It must be READ COMMITTED, as those are: in
// REPEATABLE READ, the server's default, a call that waited for the first would
// not see its result.
func (s *Store) Results(tx *sql.Tx) rollcall.Results {
	return &sqlstore.Results{Core: s.Core, Q: direct{tx, s.D}}
}

var (
	_ rollcall.Store[*sql.Tx]  = (*Store)(nil)
	_ rollcall.Outbox[*sql.Tx] = outbox{}
)
