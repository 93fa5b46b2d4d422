package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	mysqlclient "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/effect/pgxeffect"
	"github.com/rollcall-mq/rollcall/effect/redisset"
	"github.com/rollcall-mq/rollcall/embedded"
	"github.com/rollcall-mq/rollcall/id"
	"github.com/rollcall-mq/rollcall/pipeline"
	"github.com/rollcall-mq/rollcall/store/mysql"
	"github.com/rollcall-mq/rollcall/store/postgres"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// This file is the only list of drivers. Everything else of the command knows
// the contracts alone.

// drivers are the drivers with the modules of their clients.
var drivers = []struct{ Kind, Name, Client string }{
	{"source", "embedded", "modernc.org/sqlite"},
	{"source", "kafka", "github.com/twmb/franz-go"},
	{"source", "rabbitmq", "github.com/rabbitmq/amqp091-go"},
	{"source", "rocketmq", "google.golang.org/grpc"},
	{"store", "sqlite", "modernc.org/sqlite"},
	{"store", "postgres", "github.com/jackc/pgx/v5"},
	{"store", "mysql", "github.com/go-sql-driver/mysql"},
	{"effect", "redis", "github.com/redis/go-redis/v9"},
}

// broker is the source of a pipeline, open for sending and receiving.
type broker struct {
	sender      rollcall.Sender
	source      rollcall.Source
	destination string
	// beside opens another destination of the same broker for reading;
	// rollcall.ErrNoDestination when there is none.
	beside func(ctx context.Context, destination string) (rollcall.Source, error)
	close  func() error
}

// openBroker opens the source of a pipeline. An embedded destination that is not
// there is made. claims are the store's, nil where nothing is worked off.
func openBroker(ctx context.Context, a *app, f *pipeline.File, claims rollcall.Claims) (*broker, error) {
	switch {
	case f.Source.Kafka != nil:
		return openKafka(ctx, a, f.Beside(*f.Source.Kafka), inFile(f, "kafka"))
	case f.Source.RabbitMQ != nil:
		return openRabbitMQ(ctx, a, f, claims)
	case f.Source.RocketMQ != nil:
		return openRocketMQ(ctx, a, f)
	}
	e := f.Source.Embedded
	config := filelog.Config{Retention: e.Retention, Side: f.Audit.Side, OnError: a.backgroundError}
	log, err := openLog(ctx, f.Folder(), e.Destination, e.Partitions, config)
	if errors.Is(err, rollcall.ErrConfig) {
		if e.Partitions > 0 {
			return nil, f.Problem("source.embedded.partitions", "write as many as there are, or take partitions out: it counts when the destination is created", "%s", plain(err))
		}
		return nil, f.Problem("source.embedded.path", "", "%s", plain(err))
	}
	return log, err
}

// openEmbedded opens the embedded log in a folder.
func openEmbedded(ctx context.Context, a *app, folder, destination string) (*broker, error) {
	return openLog(ctx, folder, destination, 0, filelog.Config{OnError: a.backgroundError})
}

func openLog(ctx context.Context, folder, destination string, partitions int, config filelog.Config) (*broker, error) {
	log, err := filelog.Open(filepath.Join(folder, embedded.LogFile), config)
	if err != nil {
		return nil, err
	}
	if partitions > 0 {
		err = log.Create(ctx, destination, partitions)
	} else {
		_, err = log.Sender().Lanes(ctx, destination)
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return logBroker(log, destination), nil
}

func logBroker(log *filelog.Log, destination string) *broker {
	beside := func(ctx context.Context, name string) (rollcall.Source, error) {
		source := log.Source(name)
		extents, err := source.Measure(ctx)
		if err == nil && len(extents) == 0 {
			err = fmt.Errorf("%w: %q", rollcall.ErrNoDestination, name)
		}
		return source, err
	}
	return &broker{sender: log.Sender(), source: log.Source(destination), destination: destination, beside: beside, close: log.Close}
}

// openToRead opens the source of a pipeline as it is: nothing is made.
func openToRead(ctx context.Context, a *app, f *pipeline.File) (*broker, error) {
	if f.Source.Embedded == nil {
		return openBroker(ctx, a, f, nil)
	}
	return readLog(ctx, a, f.Folder(), f.Source.Embedded.Destination)
}

// readLog opens a destination of the embedded log that is there.
func readLog(ctx context.Context, a *app, folder, destination string) (*broker, error) {
	path := filepath.Join(folder, embedded.LogFile)
	if _, err := os.Stat(path); err != nil {
		return nil, usage(fmt.Errorf("there is no log: %w", err), "name the folder in which it lies; rollcall send makes one")
	}
	log, err := filelog.Open(path, filelog.Config{OnError: a.backgroundError})
	if err != nil {
		return nil, err
	}
	b := logBroker(log, destination)
	if _, err := b.beside(ctx, destination); err != nil {
		if errors.Is(err, rollcall.ErrNoDestination) {
			err = usage(fmt.Errorf("%s holds no destination %q", folder, destination), "see the spelling; rollcall send makes one")
		}
		return nil, errors.Join(err, log.Close())
	}
	return b, nil
}

// openStore opens the store of a pipeline. fresh: a file may be made. On servers
// rollcall's tables are made if they are missing.
func openStore(ctx context.Context, f *pipeline.File, fresh bool) (store, error) {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	switch s := f.Store; {
	case s.Postgres != nil:
		return openPostgres(ctx, f)
	case s.MySQL != nil:
		return openMySQL(ctx, f)
	}
	return openSQLiteStore(f, fresh)
}

func openSQLiteStore(f *pipeline.File, fresh bool) (store, error) {
	path := f.StorePath()
	if _, err := os.Stat(path); err != nil && !fresh {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	s, err := sqlite.Open(path, sqlite.Config{})
	if err != nil {
		return nil, unfit(f, "store.sqlite.path", err)
	}
	return &typed[*sql.Tx]{Store: s, conn: effect.SQL(s.DB()), in: inSQL, dialect: effect.SQLite(), claims: s.Claims(), close: s.Close}, nil
}

// mostBytes is the most bytes of a message that the source takes.
func mostBytes(f *pipeline.File) int {
	switch {
	case f.Source.Kafka != nil:
		return kafka.DefaultMaxBytes
	case f.Source.RabbitMQ != nil:
		return rabbitmq.DefaultMaxBytes
	case f.Source.RocketMQ != nil:
		return rocketmq.DefaultMaxBytes
	}
	return filelog.DefaultMaxBytes
}

// redisRow makes the outbox row of a Redis effect.
var redisRow pipeline.RedisRow = redisset.Message

// openRequests is the sender of requests and keys; nil when a pipeline has none.
// Nothing is connected yet.
func openRequests(f *pipeline.File) (rollcall.Sender, error) {
	var sender rollcall.Sender
	requests, err := f.Sender()
	if err != nil {
		return nil, err
	}
	if requests != nil {
		sender = requests
	}
	servers := make(map[string]redisset.Target)
	for _, r := range f.RedisServers() {
		t := redisset.Target{Addr: r.Addr, Database: r.Database, Keys: r.Prefix, User: r.User, Password: r.Password, TTL: r.TTL, Remember: r.Remember, Timeout: r.Timeout}
		if r.TLS {
			t.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		servers[r.Name] = t
	}
	if len(servers) == 0 {
		return sender, nil
	}
	return redisset.New(servers, redisset.Config{Else: sender})
}

// dialPatience is how long a server may take to accept a connection: an address
// that nobody answers at would hold us for minutes. openPatience is how long it may
// take until all is open: one that hangs would hold us as long.
const dialPatience = 10 * time.Second

var openPatience = 30 * time.Second // of tests: shorter

func openPostgres(ctx context.Context, f *pipeline.File) (store, error) {
	at := f.Store.Postgres
	s, err := postgres.Open(ctx, at.DSN, postgres.Config{Schema: at.Schema, Idle: at.Idle, Statement: at.Statement,
		Dial: (&net.Dialer{Timeout: dialPatience}).DialContext})
	if err != nil {
		return nil, unfit(f, "store.postgres.dsn", err)
	}
	return &typed[pgx.Tx]{Store: s, conn: pgxeffect.Conn(s.DB()), in: pgxeffect.Tx, dialect: effect.PostgreSQL(), claims: s.Claims(), close: s.Close}, nil
}

func openMySQL(ctx context.Context, f *pipeline.File) (store, error) {
	at := f.Store.MySQL
	s, err := mysql.Open(ctx, at.DSN, mysql.Config{Schema: at.Schema, Idle: at.Idle, Statement: at.Statement})
	if err != nil {
		return nil, unfit(f, "store.mysql.dsn", err)
	}
	d := effect.MySQL(mysqlNumber)
	if strings.Contains(s.Version(), "MariaDB") {
		d = effect.MariaDB(mysqlNumber)
	}
	return &typed[*sql.Tx]{Store: s, conn: effect.SQL(s.DB()), in: inSQL, dialect: d, claims: s.Claims(), close: s.Close}, nil
}

func inSQL(tx *sql.Tx) effect.Conn { return effect.SQL(tx) }

// idStore is where ids and numbers are remembered.
type idStore struct {
	*id.SQL
	close func() error
}

// openIDs opens a file, or a database of a server: postgres://… or
// user:password@tcp(host:port)/database. Servers that forget what they committed
// are refused, as they are for pipelines: they would make ids come again.
func openIDs(ctx context.Context, at string) (*idStore, error) {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	switch {
	case strings.HasPrefix(at, "postgres://"), strings.HasPrefix(at, "postgresql://"), strings.Contains(at, "host="), strings.Contains(at, "dbname="):
		s, err := postgres.Open(ctx, at, postgres.Config{NoMigrate: true, Dial: (&net.Dialer{Timeout: dialPatience}).DialContext})
		if err != nil {
			return nil, unfitIDs(err)
		}
		db := stdlib.OpenDBFromPool(s.DB())
		return newIDStore(ctx, db, id.PostgreSQL(postgresState), func() error { return errors.Join(db.Close(), s.Close()) })
	case strings.Contains(at, "tcp("), strings.Contains(at, "unix("):
		s, err := mysql.Open(ctx, at, mysql.Config{NoMigrate: true})
		if err != nil {
			return nil, unfitIDs(err)
		}
		return newIDStore(ctx, s.DB(), id.MySQL(mysqlNumber), s.Close)
	case strings.Contains(at, "://"):
		return nil, usage(errors.New("--store is a URL of no database that is known"), "name a file, postgres://user@host/database, or user@tcp(host:3306)/database")
	}
	s, err := id.OpenFile(at)
	if err != nil {
		return nil, err
	}
	return &idStore{s, s.Close}, nil
}

func newIDStore(ctx context.Context, db *sql.DB, dialect id.Dialect, closeAll func() error) (*idStore, error) {
	s, err := id.NewSQL(ctx, db, dialect)
	if err != nil {
		return nil, errors.Join(unfitIDs(err), closeAll())
	}
	return &idStore{s, closeAll}, nil
}

// cutNext cuts the next step off what a store says of itself or its server, and
// out of that what programs can do and the command cannot.
func cutNext(err error) (what, next string) {
	what, next, _ = strings.Cut(strings.TrimSuffix(plain(err), "; nothing was changed"), "; ")
	return what, strings.TrimSuffix(next, ", or set Config.Unsafe")
}

// unfitIDs adds the next step to what is wrong with the way to a server.
func unfitIDs(err error) error {
	if errors.Is(err, rollcall.ErrConfig) {
		what, next := cutNext(err)
		return usage(errors.New(what), cmp.Or(next, "mend --store")+"; no id was given out")
	}
	return &failure{exitServer, err, "see that the server runs and takes this user, or mend --store; no id was given out"}
}

// postgresState is the SQLSTATE of an error of the server, "" of any other.
func postgresState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// mysqlNumber is the number of an error of the server, 0 of any other.
func mysqlNumber(err error) uint16 {
	var e *mysqlclient.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// unfit puts the place in the file to what is wrong with a store itself: that is
// configuration. What is wrong with the way to it is the server's or the network's.
func unfit(f *pipeline.File, path string, err error) error {
	if errors.Is(err, rollcall.ErrConfig) {
		what, next := cutNext(err)
		return f.Problem(path, next, "%s", what)
	}
	if path == "store.sqlite.path" {
		return err
	}
	return &failure{exitServer, err, "see that the server runs and takes this user, or mend " + path + "; nothing was worked off, nothing is lost"}
}

// demoLease is short: one that sleeps in demo is soon taken for dead.
const demoLease = 500 * time.Millisecond

func demoLog() filelog.Config { return filelog.Config{Partitions: 1, Lease: demoLease} }

func openDemoLog(folder string) (*filelog.Log, error) {
	return filelog.Open(filepath.Join(folder, embedded.LogFile), demoLog())
}

// openDemoStore opens the business database of rollcall as its store.
func openDemoStore(folder string) (*sqlite.Store, error) {
	return sqlite.Open(businessPath(folder, demoRollcall), sqlite.Config{})
}

func businessPath(folder, pattern string) string { return filepath.Join(folder, pattern+".db") }

// openBusiness opens the business database of a pattern as a program without
// rollcall would.
func openBusiness(folder, pattern string) (*sql.DB, error) {
	return openSQLite(businessPath(folder, pattern), 10*time.Second)
}

func openSQLite(path string, busy time.Duration) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return db, nil
}
