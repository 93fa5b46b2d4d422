// Package postgres keeps rollcall's records in PostgreSQL (14 or newer), in the
// very transaction of the effect.
//
// # What it promises
//
// Transactions are READ COMMITTED. What Commit confirmed is as durable as the
// server makes it (Open refuses fsync=off unless told). A worker that is stopped
// inside a transaction holds others up for Config.Idle at most, one whose
// statement waits for Config.Statement at most: then the server ends it, by its
// own clock.
//
// A pooler (PgBouncer) must be in session mode, with these deadlines as the role's
// defaults if it ignores startup parameters: Open refuses all else.
//
// # What a handler may do with its transaction
//
// Everything but end it: its pgx.Tx refuses Commit and Rollback, and COMMIT,
// ROLLBACK, BEGIN and the like in the text of a statement. Begin is a savepoint.
// Conn and LargeObjects would go past all that, so they panic with that reason,
// which fails the message. A statement that fails leaves a transaction in which
// nothing works (25P02) until the engine has undone it; a handler that ignores
// the error has failed.
package postgres

import (
	"context"
	"fmt"
	"maps"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/internal/sqltext"
	"github.com/rollcall-mq/rollcall/store/internal/sqlstore"
)

// Config is the settings of a Store. The zero value is safe.
type Config struct {
	// Schema is where rollcall's tables are. Default: "rollcall".
	Schema string
	// Idle is how long a transaction may wait for its client before the server
	// ends it (idle_in_transaction_session_timeout). A handler that works for
	// longer between two statements loses its transaction. Default: 30 s.
	Idle time.Duration
	// Statement is how long a statement may take, waiting for locks included
	// (statement_timeout). Default: 60 s.
	Statement time.Duration
	// Connections is the most that are open at once. Default: 16.
	Connections int32
	// Dial opens a connection to the server. Default: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Unsafe accepts a server with fsync, full_page_writes or synchronous_commit
	// off: what was confirmed may be lost when it crashes. Default: false.
	Unsafe bool
	// NoMigrate leaves the tables alone: a role with the right to make them does
	// that (see Migrate). Default: false.
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

// Store is a schema of a PostgreSQL database. It is safe for concurrent use.
type Store struct {
	*sqlstore.Core
	config  Config
	name    string // host, port and database, for errors
	pool    *pgxpool.Pool
	version string
	closed  atomic.Bool
	defers  atomic.Bool // a COMMIT failed on a deferred constraint: see Tx.Check
	texts   sqltext.Memo[verdict]
}

// Open connects, looks whether the server can keep the promise, and brings the
// tables up to date. url is as pgx takes it, "postgres://user:password@host/db".
// Errors: rollcall.ErrConfig when the configuration or the server cannot work,
// rollcall.ErrNewerSchema when a newer rollcall made the tables. After an error
// nothing is open.
func Open(ctx context.Context, url string, config Config) (*Store, error) {
	config = config.withDefaults()
	if err := dialect.Check(config.Schema); err != nil {
		return nil, fmt.Errorf("%w: postgres: Schema: %w", rollcall.ErrConfig, err)
	}
	pc, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("%w: postgres: url: %w", rollcall.ErrConfig, err) // pgx leaves the password out
	}
	prepare(pc, config)
	s := &Store{config: config, name: fmt.Sprintf("%s:%d/%s", pc.ConnConfig.Host, pc.ConnConfig.Port, pc.ConnConfig.Database)}
	s.Core = &sqlstore.Core{Database: database{s}, D: newDialect(config.Schema)}
	if s.pool, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return nil, fmt.Errorf("postgres store %s: open: %w", s.name, err)
	}
	if err = s.inspect(ctx); err == nil && !config.NoMigrate {
		err = s.Migrate(ctx)
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func prepare(pc *pgxpool.Config, config Config) {
	pc.MaxConns = config.Connections
	cc := pc.ConnConfig
	if config.Dial != nil {
		cc.DialFunc = config.Dial
	}
	cc.AfterNetConnect = mark
	maps.Copy(cc.RuntimeParams, session(config))
	if cc.RuntimeParams["application_name"] == "" {
		cc.RuntimeParams["application_name"] = "rollcall"
	}
	cc.OnPgError = func(_ *pgconn.PgConn, err *pgconn.PgError) bool {
		return err.SeverityUnlocalized != "FATAL" && !foreignSession(err) // it would stay so
	}
	// A context that ends makes the server cancel the statement. pgx's default,
	// closing the connection, would take the whole batch's transaction with it.
	cc.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 5 * time.Second}
	}
}

func newDialect(schema string) *sqlstore.Dialect {
	return &sqlstore.Dialect{Schema: `"` + schema + `"`, Arrays: true, Share: "FOR SHARE",
		Nanos: "(extract(epoch from clock_timestamp()) * 1000000000)::bigint"}
}

// Version is what the server says of itself.
func (s *Store) Version() string { return s.version }

// DB is the pool for the user: to create tables, to read, and to write beside
// rollcall (Outbox.Enqueue, Results). It is closed by Store.Close.
func (s *Store) DB() *pgxpool.Pool { return s.pool }

// Close closes the connections. Transactions in work are rolled back; later
// calls return rollcall.ErrClosed. Closing again does nothing.
func (s *Store) Close() error {
	if s.closed.CompareAndSwap(false, true) {
		s.pool.Close()
	}
	return nil
}

func (s *Store) open() error {
	if s.closed.Load() {
		return fmt.Errorf("%w: postgres store %s: open it again", rollcall.ErrClosed, s.name)
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
func (s *Store) Outbox() rollcall.Outbox[pgx.Tx] { return outbox{sqlstore.Outbox{Core: s.Core}} }

type outbox struct{ sqlstore.Outbox }

// Enqueue writes messages in the user's transaction, in order; they are sent if
// and only if it commits. It may be a handler's transaction or any other on the
// same database.
func (o outbox) Enqueue(ctx context.Context, tx pgx.Tx, messages []rollcall.Message) error {
	return o.Outbox.Enqueue(ctx, direct{tx, o.D}, messages)
}

// Results keeps the first results of rollcall.Once in a transaction on this
// database: a handler's, or one of DB. It must be READ COMMITTED, as is usual:
// in a stricter one a call that waited for the first fails with 40001 and is to
// be done again in a new transaction.
// A gathered handler has none: a savepoint of its own would hold the work of others.
func (s *Store) Results(tx pgx.Tx) rollcall.Results {
	var q sqlstore.Querier = direct{tx, s.D}
	if u, is := tx.(*userTx); is {
		q = own{u}
	}
	return &sqlstore.Results{Core: s.Core, Q: q}
}

var (
	_ rollcall.Store[pgx.Tx]  = (*Store)(nil)
	_ rollcall.Outbox[pgx.Tx] = outbox{}

	_ rollcall.Gatherer[pgx.Tx] = (*Tx)(nil)
	_ rollcall.Checker          = (*Tx)(nil)
)
