package pipeline

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/pipeline/guarantee"
)

// Store says where "done" is recorded: one of its fields.
type Store struct {
	// SQLite is a file of this host, your own database or a new one.
	SQLite *SQLite `yaml:"sqlite"`
	// Postgres is a database of a PostgreSQL server.
	Postgres *Postgres `yaml:"postgres"`
	// MySQL is a database of a MySQL or MariaDB server.
	MySQL *MySQL `yaml:"mysql"`

	Redis Later `yaml:"redis" why:"cannot be the store: it holds claims only, and the effect must be recorded in the transaction that makes it" next:"use store: {sqlite: {path: shop.db}}"`
}

// SQLite is a SQLite file.
type SQLite struct {
	// Path is the file, relative to the pipeline file. Default: store.db in the
	// folder of the embedded log, or beside the pipeline file without one.
	Path string `yaml:"path"`
}

// Postgres is a database of a PostgreSQL server.
type Postgres struct {
	// DSN is postgres://user:password@host:5432/database, or words like
	// "host=db dbname=shop user=app". Its password is never printed. Required.
	DSN string `yaml:"dsn,required"`
	// Schema is where rollcall's own tables are; those of the effects are found
	// by the search path of the user. Default: rollcall.
	Schema string `yaml:"schema"`
	// Idle is how long a transaction may wait for a worker that stopped before
	// the server ends it. Default: 30s.
	Idle time.Duration `yaml:"idle"`
	// Statement is how long a statement may take, waiting for locks included.
	// Default: 60s.
	Statement time.Duration `yaml:"statement"`
}

// MySQL is a database of a MySQL or MariaDB server.
type MySQL struct {
	// DSN is user:password@tcp(host:3306)/database. Its password is never
	// printed. Required.
	DSN string `yaml:"dsn,required"`
	// Schema is the database of the same server where rollcall's own tables are.
	// Default: rollcall.
	Schema string `yaml:"schema"`
	// Idle is how long a transaction may wait for a worker that stopped before
	// the server ends it, in whole seconds. Default: 30s.
	Idle time.Duration `yaml:"idle"`
	// Statement is how long a statement may wait for locks, in whole seconds.
	// Default: 60s.
	Statement time.Duration `yaml:"statement"`
}

// StorePath is the file of the SQLite store.
func (f *File) StorePath() string {
	if f.Store.SQLite.Path == "" {
		return filepath.Join(f.Folder(), "store.db")
	}
	return f.beside(f.Store.SQLite.Path)
}

// kind is what guarantees depend on in the store, and its deadline.
func (s Store) kind() (guarantee.Store, time.Duration) {
	switch {
	case s.Postgres != nil:
		return guarantee.Postgres, s.Postgres.Idle
	case s.MySQL != nil:
		return guarantee.MySQL, s.MySQL.Idle
	}
	return guarantee.SQLite, 0
}

// The forms of a DSN, as next steps.
const (
	nextPostgres = `write dsn: "${DATABASE_URL}", with postgres://user:password@host:5432/database in it`
	nextMySQL    = `write dsn: "${DATABASE_URL}", with user:password@tcp(host:3306)/database in it`
)

// store: exactly one is chosen, and what can be said of it without a connection.
func (c *checker) store() {
	s := c.file.Store
	var named []string
	if s.SQLite != nil {
		named = append(named, "sqlite")
	}
	if p := s.Postgres; p != nil {
		named = append(named, "postgres")
		_, _, isURL := cutURL(p.DSN)
		if !isURL && !strings.Contains(p.DSN, "=") {
			c.problem("store.postgres.dsn", nextPostgres, "store.postgres.dsn names no server")
		}
		c.schema("store.postgres.schema", p.Schema)
	}
	if m := s.MySQL; m != nil {
		named = append(named, "mysql")
		address, database, _ := cutLast(m.DSN, "/")
		database, _, _ = strings.Cut(database, "?")
		switch {
		case strings.Contains(address, "://"):
			c.problem("store.mysql.dsn", nextMySQL, "store.mysql.dsn is a URL, and the client of MySQL takes none")
		case database == "":
			c.problem("store.mysql.dsn", nextMySQL, "store.mysql.dsn names no database")
		}
		c.schema("store.mysql.schema", m.Schema)
	}
	c.chosen("store", len(named) > 0, "sqlite: {path: shop.db}")
	if len(named) > 1 {
		c.problem("store", "keep one: effect and record are made in one transaction", "store names several: %s", strings.Join(named, ", "))
	}
}

func (c *checker) schema(path, name string) {
	if name == "" {
		return
	}
	if err := dialect.Check(name); err != nil {
		c.told(path, "", err)
	}
}

func cutURL(dsn string) (scheme, rest string, is bool) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, is := strings.CutPrefix(dsn, scheme); is {
			return scheme, rest, true
		}
	}
	return "", dsn, false
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
