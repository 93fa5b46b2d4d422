//go:build linux

package effect_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/effect/pgxeffect"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

func init() {
	products["postgres15"] = func(t testing.TB) *database { return openPostgres(t, servers.Postgres15) }
	products["postgres18"] = func(t testing.TB) *database { return openPostgres(t, servers.Postgres18) }
	products["mysql"] = func(t testing.TB) *database {
		return openMySQL(t, servers.MySQL, effect.MySQL(mysqlNumber), "utf8mb4_0900_bin", "")
	}
	products["mariadb"] = func(t testing.TB) *database {
		return openMySQL(t, servers.MariaDB, effect.MariaDB(mysqlNumber), "utf8mb4_nopad_bin", "")
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// names of schemas and databases of this test binary.
var places atomic.Int64

func openPostgres(t testing.TB, spec *servers.Spec) *database {
	return openPostgresIn(t, spec, pgx.QueryExecModeCacheStatement)
}

func openPostgresIn(t testing.TB, spec *servers.Spec, mode pgx.QueryExecMode) *database {
	url := servers.Shared(t, spec).URL()
	place := fmt.Sprint("effect", places.Add(1))
	config, err := pgxpool.ParseConfig(url)
	must(t, err)
	config.ConnConfig.RuntimeParams["search_path"] = place
	config.ConnConfig.DefaultQueryExecMode = mode
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	_, err = pool.Exec(t.Context(), "CREATE SCHEMA "+place)
	must(t, err)
	db := &database{name: spec.Name, place: place, classify: classOf, product: "postgres", d: effect.PostgreSQL(), c: pgxeffect.Conn(pool), types: map[string]string{"key": "text", "text": "text", "int": "bigint",
		"trigger": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (new.amount); RETURN NULL; END $$; " +
			"CREATE TRIGGER tr AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION f()"}}
	db.begin = func(t testing.TB) transaction { return beginPgx(t, pool, db.level) }
	return db
}

func beginPgx(t testing.TB, pool *pgxpool.Pool, level sql.IsolationLevel) transaction {
	ctx := context.Background()
	options := pgx.TxOptions{}
	if level == sql.LevelRepeatableRead {
		options.IsoLevel = pgx.RepeatableRead
	}
	tx, err := pool.BeginTx(ctx, options)
	must(t, err)
	return transaction{c: pgxeffect.Tx(tx), commit: func() error { return tx.Commit(ctx) }, rollback: func() error { return tx.Rollback(ctx) },
		batch: func(ts *effect.Tables, ms []rollcall.Message) ([]error, error) { return batchOf(ts)(ctx, tx, ms) },
		one: func(ts *effect.Tables, m rollcall.Message) error {
			return effect.Handler(ts, pgxeffect.Tx)(ctx, tx, m)
		}}
}

// batchOf: no cast, and no type named.
func batchOf(ts *effect.Tables) rollcall.BatchHandler[pgx.Tx] {
	return effect.BatchHandler(ts, pgxeffect.Tx)
}

// classOf is what stores say: what is ours is nobody's fault.
func classOf(err error) rollcall.Class {
	if errors.Is(err, rollcall.ErrConfig) {
		return rollcall.ClassEnvironment
	}
	return rollcall.ClassData
}

func mysqlNumber(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

func openMySQL(t testing.TB, spec *servers.Spec, d dialect.Dialect, collation, settings string) *database {
	url := servers.Shared(t, spec).URL()
	place := fmt.Sprint("effect", places.Add(1))
	admin, err := sql.Open("mysql", url)
	must(t, err)
	_, err = admin.Exec("CREATE DATABASE " + place)
	must(t, errors.Join(err, admin.Close()))
	db, err := sql.Open("mysql", strings.TrimSuffix(url, "test")+place+"?"+settings)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	text := " CHARACTER SET utf8mb4 COLLATE " + collation
	out := &database{name: spec.Name, place: place, classify: classOf, product: strings.Split(spec.Name, "-")[0], d: d, c: effect.SQL(db), types: map[string]string{"key": "VARCHAR(200)" + text, "text": "LONGTEXT" + text, "int": "BIGINT",
		"trigger": "CREATE TRIGGER tr AFTER UPDATE ON orders FOR EACH ROW INSERT INTO seen VALUES (new.amount)"}}
	out.begin = func(t testing.TB) transaction {
		level := out.level
		if level == sql.LevelDefault {
			level = sql.LevelReadCommitted
		}
		tx, err := db.BeginTx(context.Background(), &sql.TxOptions{Isolation: level})
		must(t, err)
		return sqlTransaction(tx, tx.Commit, tx.Rollback)
	}
	return out
}
