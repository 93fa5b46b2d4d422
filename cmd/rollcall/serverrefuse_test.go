//go:build linux

package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// refused runs rollcall, which must end with an exit code, say some words, and
// tell the next step but never the password.
func (l *place) refused(t *testing.T, code int, says []string, args ...string) {
	t.Helper()
	c := start(t, l.folder, args...)
	if got := c.wait(); got != code {
		t.Errorf("rollcall %v: exit code %d, want %d\n%s%s", args, got, code, c.out.String(), c.log.String())
	}
	secretless(t, c)
	for _, words := range append(says, "next: ") {
		if !strings.Contains(c.log.String(), words) {
			t.Errorf("rollcall %v does not say %q:\n%s", args, words, c.log.String())
		}
	}
	if strings.Contains(c.log.String(), "goroutine") {
		t.Errorf("a stack trace:\n%s", c.log.String())
	}
}

const refuseFile = `
name: shop
source: {embedded: {destination: orders}}
store: {$STORE}
effect: {table: {name: orders, mode: upsert, key: [id], columns: {id: payload.id, amount: payload.amount}}}
`

// TestServerRefused: what is wrong with the way to a server is 3, what is wrong
// with file or server is 2, with line and caret.
func TestServerRefused(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) {
		p.pipeline(t, "rollcall.yaml", refuseFile)
		for _, c := range []struct {
			name, old, new string
			says           []string
		}{
			{"password", password, password + "4", []string{"refuses user or password", "store." + p.kind + ".dsn"}},
			{"port", p.server.Addr, "127.0.0.1:1", []string{"127.0.0.1:1", "refused"}},
			{"database", "/shop", "/nowhere", []string{"database"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				writeFile(t, p.folder, "dsn", strings.Replace(p.dsn, c.old, c.new, 1))
				p.refused(t, exitServer, c.says, "run")
				p.refused(t, exitServer, c.says, "dead", "list")
			})
		}
		writeFile(t, p.folder, "dsn", p.dsn)
		at := []string{"rollcall.yaml:5:", "^\n"}
		p.refused(t, exitUsage, append(at, `there is no table "orders"`), "run")
		execute(t, p.db, "CREATE TABLE orders (id "+p.text+" NOT NULL, amount BIGINT)")
		p.refused(t, exitUsage, append(at, "no unique index on (id)"), "run")
		execute(t, p.db, "ALTER TABLE orders ADD UNIQUE (id)", "ALTER TABLE orders ADD UNIQUE (amount)")
		p.refused(t, exitUsage, append(at, "decide"), "run")
		if text := p.rows(t, "SELECT count(*) FROM orders"); text != "0" {
			t.Errorf("%s rows", text)
		}
	})
}

// TestServerUnfit: a server that takes no writes is refused, and named.
func TestServerUnfit(t *testing.T) {
	t.Parallel()
	t.Run("postgres standby", func(t *testing.T) {
		server := servers.Start(t, servers.Postgres15, servers.Config{})
		p := newPlace(t, products[0], server)
		p.pipeline(t, "rollcall.yaml", refuseFile)
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(server.Dir, "data", "standby.signal"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		p.refused(t, exitUsage, []string{"rollcall.yaml:4:", "the server is a standby", "connect to the primary"}, "run")
	})
	t.Run("postgres without fsync", func(t *testing.T) {
		p := newPlace(t, products[0], servers.Start(t, servers.Postgres15, servers.Config{Settings: map[string]string{"fsync": "off"}}))
		p.pipeline(t, "rollcall.yaml", refuseFile)
		p.refused(t, exitUsage, []string{"rollcall.yaml:4:", "fsync is off", "next: turn it on\n"}, "run")
		p.refused(t, exitUsage, []string{"fsync is off", "next: turn it on; no id"}, "id", "next", "--store", "${file:dsn}")
	})
	t.Run("mariadb read-only", func(t *testing.T) {
		server := servers.Start(t, servers.MariaDB, servers.Config{})
		p := newPlace(t, products[2], server)
		p.pipeline(t, "rollcall.yaml", refuseFile)
		execute(t, openDB(t, "mysql", server.URL()), "SET GLOBAL read_only = ON")
		p.refused(t, exitUsage, []string{"rollcall.yaml:4:", "the server is read-only", "connect to the primary"}, "run")
	})
}

// TestServerSecrets: a password that stands in the file itself is not shown with
// the line of a mistake, wherever that is.
func TestServerSecrets(t *testing.T) {
	for _, dsn := range []string{"postgres://app:" + password + "@127.0.0.1:1/shop", "host=127.0.0.1 port=1 dbname=shop password=" + password} {
		for _, broken := range []string{"postgres: {dsn: \"$DSN\"}", "postgres: {dsn: \"$DSN\", shema: x}", "postgres: {url: \"$DSN\"}", "postgres: \"$DSN\"", "postgres: [dsn: \"$DSN\"",
			"mysql: {dsn: \"$DSN\"}"} {
			p := &place{folder: t.TempDir(), store: strings.Replace(broken, "$DSN", dsn, 1)}
			p.pipeline(t, "rollcall.yaml", refuseFile)
			code := exitUsage
			if broken == "postgres: {dsn: \"$DSN\"}" {
				code = exitServer
			}
			p.refused(t, code, nil, "run")
		}
	}
	for _, broken := range []string{"mysql: {dsn: \"$DSN\"}", "mysql: {dsn: $DSN, schema: \"a b\"}", "mysql: {dsn: {a: \"$DSN\"}}", "postgres: {dsn: \"$DSN\"}"} {
		p := &place{folder: t.TempDir(), store: strings.Replace(broken, "$DSN", "app:"+password+"@tcp(127.0.0.1:1)/shop", 1)}
		p.pipeline(t, "rollcall.yaml", refuseFile)
		code := exitUsage
		if broken == "mysql: {dsn: \"$DSN\"}" {
			code = exitServer
		}
		p.refused(t, code, nil, "run")
	}
}

// TestServerHangs: a server that accepts and says nothing is given up.
func TestServerHangs(t *testing.T) {
	openPatience = 200 * time.Millisecond
	defer func() { openPatience = 30 * time.Second }()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, kind := range []string{"postgres", "mysql"} {
		dsn := "postgres://app:" + password + "@" + listener.Addr().String() + "/shop?sslmode=disable"
		if kind == "mysql" {
			dsn = "app:" + password + "@tcp(" + listener.Addr().String() + ")/shop"
		}
		text := strings.Replace(refuseFile, "$STORE", kind+`: {dsn: "`+dsn+`"}`, 1)
		f, err := pipeline.Parse("rollcall.yaml", []byte(text), pipeline.Env{})
		if err != nil {
			t.Fatal(err)
		}
		for name, open := range map[string]func() error{
			"store": func() error { _, err := openStore(t.Context(), f, true); return err },
			"ids":   func() error { _, err := openIDs(t.Context(), dsn); return err },
		} {
			began := time.Now()
			err := open()
			var failed *failure
			if !errors.As(err, &failed) || failed.code != exitServer || strings.Contains(err.Error(), password) {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s, %s: it took %v", kind, name, took)
			}
		}
	}
}
