//go:build linux

package servers_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// client is a standard client of a server, as far as the tests need one.
type client struct {
	name    string
	spec    *servers.Spec
	driver  string // of database/sql; "" is Redis
	version string // the statement that asks for it
}

var clients = []client{
	{"postgres15", servers.Postgres15, "pgx", "SHOW server_version"},
	{"postgres18", servers.Postgres18, "pgx", "SHOW server_version"},
	{"mariadb", servers.MariaDB, "mysql", "SELECT VERSION()"},
	{"mysql", servers.MySQL, "mysql", "SELECT VERSION()"},
	{"redis", servers.Redis, "", ""},
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write sets v, read gets it; both on a fresh connection.
func (c client) write(ctx context.Context, url string, v int) error {
	if c.driver == "" {
		r := redis.NewClient(redisOptions(url))
		defer func() { _ = r.Close() }()
		return r.Set(ctx, "v", v, 0).Err()
	}
	db, err := sql.Open(c.driver, url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS kept (v INT)`); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`INSERT INTO kept (v) VALUES (%d)`, v))
	return err
}

func (c client) read(ctx context.Context, url string) (v int, err error) {
	if c.driver == "" {
		r := redis.NewClient(redisOptions(url))
		defer func() { _ = r.Close() }()
		return r.Get(ctx, "v").Int()
	}
	db, err := sql.Open(c.driver, url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	return v, db.QueryRowContext(ctx, `SELECT MAX(v) FROM kept`).Scan(&v)
}

// asked is the version as the server itself says it.
func (c client) asked(ctx context.Context, url string) (v string, err error) {
	if c.driver == "" {
		r := redis.NewClient(redisOptions(url))
		defer func() { _ = r.Close() }()
		info, err := r.InfoMap(ctx, "server").Result()
		return info["Server"]["redis_version"], err
	}
	db, err := sql.Open(c.driver, url)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	return v, db.QueryRowContext(ctx, c.version).Scan(&v)
}

func redisOptions(url string) *redis.Options {
	o, err := redis.ParseURL(url)
	if err != nil {
		panic(err)
	}
	o.MaxRetries, o.ContextTimeoutEnabled = -1, true
	return o
}

// limited is a context for one statement.
func limited(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestLives takes each server through all that can be done to one: what was
// written is there afterwards.
func TestLives(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			s := servers.Start(t, c.spec, servers.Config{})
			started := time.Since(began)
			ctx := limited(t, time.Minute)
			version, err := c.asked(ctx, s.URL())
			must(t, err)

			must(t, c.write(ctx, s.URL(), 1))
			began = time.Now()
			must(t, s.Kill())
			if _, err := c.read(ctx, s.URL()); err == nil {
				t.Fatal("a killed server answers")
			}
			must(t, s.Restart())
			killed := time.Since(began)
			wantValue(t, c, s, 1)

			must(t, s.Pause())
			if v, err := c.read(limited(t, 200*time.Millisecond), s.URL()); err == nil {
				t.Fatalf("a paused server answers %d", v)
			}
			must(t, s.Resume())
			wantValue(t, c, s, 1)

			must(t, c.write(ctx, s.URL(), 2))
			must(t, s.Pause())
			must(t, s.Restart()) // what is paused is killed, too
			wantValue(t, c, s, 2)

			must(t, s.Stop())
			if s.Pid() != 0 {
				t.Fatal("a stopped server has a process")
			}
			must(t, s.Restart())
			wantValue(t, c, s, 2)
			t.Logf("%s: started in %v, killed and recovered in %v", version, started.Round(time.Millisecond), killed.Round(time.Millisecond))
		})
	}
}

func wantValue(t *testing.T, c client, s *servers.Server, want int) {
	t.Helper()
	if v, err := c.read(limited(t, time.Minute), s.URL()); err != nil || v != want {
		t.Fatalf("read %d %v, want %d\n%s", v, err, want, s.Log())
	}
}

// TestSettings: what a Config sets arrives, and two servers are two.
func TestSettings(t *testing.T) {
	s := servers.Start(t, servers.Redis, servers.Config{Settings: map[string]string{"maxmemory-policy": "allkeys-lru"}})
	r := redis.NewClient(redisOptions(s.URL()))
	defer func() { _ = r.Close() }()
	got, err := r.ConfigGet(t.Context(), "maxmemory*").Result()
	must(t, err)
	if got["maxmemory-policy"] != "allkeys-lru" {
		t.Fatalf("%v", got)
	}
	pg := servers.Start(t, servers.Postgres15, servers.Config{Settings: map[string]string{"max_connections": "17"}})
	db, err := sql.Open("pgx", pg.URL())
	must(t, err)
	defer func() { _ = db.Close() }()
	var fsync, connections string
	must(t, db.QueryRow(`SELECT current_setting('fsync'), current_setting('max_connections')`).Scan(&fsync, &connections))
	if fsync != "on" || connections != "17" {
		t.Fatalf("fsync %s, max_connections %s", fsync, connections)
	}
}

// TestShared: one for all, and it is left as it is.
func TestShared(t *testing.T) {
	one, two := servers.Shared(t, servers.Redis), servers.Shared(t, servers.Redis)
	if one != two || one.Pid() == 0 {
		t.Fatalf("%p %p: two servers, or none", one, two)
	}
}

// failing is a test that a server cannot be had for.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}
func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

// TestCannotStart: the test fails, with the server's own words or with what to
// do.
func TestCannotStart(t *testing.T) {
	missing := *servers.Redis
	missing.Program = "/nowhere/redis-server"
	for want, tried := range map[string]struct {
		spec     *servers.Spec
		settings map[string]string
	}{
		"no such file or directory: run scripts/servers": {&missing, nil},
		"Bad directive": {servers.Redis, map[string]string{"no-such-setting": "1"}},
		"Invalid value none for configuration num.io.threads": {servers.Kafka, map[string]string{"num.io.threads": "none"}},
		"unrecognized configuration parameter":                {servers.Postgres15, map[string]string{"no_such_setting": "1"}},
	} {
		f := &failing{TB: t}
		func() {
			defer func() { _ = recover() }()
			servers.Start(f, tried.spec, servers.Config{Settings: tried.settings})
		}()
		if !strings.Contains(f.said, want) {
			t.Errorf("said %q, want %q", f.said, want)
		}
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
