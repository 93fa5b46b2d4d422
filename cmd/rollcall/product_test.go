//go:build linux

package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

func init() { afterTests = append(afterTests, servers.Close) }

// password is that of the user app on every server; no test may ever read it.
const password = "tr0ub4dor-and-3"

// product is one kind of server.
type product struct {
	name string
	spec *servers.Spec
	kind string // as in the pipeline file
	text string // type of a column of a key
}

var products = []product{
	{"postgres15", servers.Postgres15, "postgres", "text"},
	{"mysql", servers.MySQL, "mysql", "VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin"},
	{"mariadb", servers.MariaDB, "mysql", "VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"},
}

// driver is the name of the client for database/sql.
func (p product) driver() string {
	if p.kind == "postgres" {
		return "pgx"
	}
	return "mysql"
}

// place is a database of the user app on a server, and a folder with a pipeline.
type place struct {
	product
	server *servers.Server
	dsn    string // of app
	store  string // section of the pipeline file
	db     *sql.DB
	folder string
}

// eachProduct runs a test on every kind of server.
func eachProduct(t *testing.T, test func(t *testing.T, p *place)) { onProducts(t, products, test) }

func onProducts(t *testing.T, products []product, test func(t *testing.T, p *place)) {
	t.Parallel()
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel() // most of them wait for servers
			test(t, newPlace(t, p, servers.Shared(t, p.spec)))
		})
	}
}

var (
	places  atomic.Int64
	settled sync.Mutex // servers make one user at a time
)

func newPlace(t *testing.T, p product, server *servers.Server) *place {
	t.Helper()
	settled.Lock()
	defer settled.Unlock()
	name := fmt.Sprintf("shop%d", places.Add(1))
	l := &place{product: p, server: server, folder: t.TempDir()}
	var url string
	if p.kind == "postgres" {
		url = l.postgres(t, name)
		l.store = fmt.Sprintf(`postgres: {dsn: "${file:%s}"}`, l.dsnFile())
	} else {
		url = l.mysql(t, name)
		l.store = fmt.Sprintf(`mysql: {dsn: "${file:%s}", schema: %s_rollcall}`, l.dsnFile(), name)
	}
	writeFile(t, l.folder, "dsn", l.dsn)
	l.db = openDB(t, p.driver(), url)
	return l
}

// dsnFile is a file with the DSN.
func (l *place) dsnFile() string { return filepath.Join(l.folder, "dsn") }

func openDB(t *testing.T, driver, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // servers are killed: no connection outlives its statement
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, text := range statements {
		if _, err := db.Exec(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// postgres makes the user, who must give his password, and his database.
func (l *place) postgres(t *testing.T, name string) string {
	t.Helper()
	hba := "host all app 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
	if err := os.WriteFile(filepath.Join(l.server.Dir, "data", "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		t.Fatal(err)
	}
	admin := openDB(t, "pgx", l.server.URL())
	execute(t, admin, "SELECT pg_reload_conf()",
		"DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD '"+password+"'; EXCEPTION WHEN duplicate_object THEN NULL; END $$", "CREATE DATABASE "+name+" OWNER app")
	l.dsn = "postgres://app:" + password + "@" + l.server.Addr + "/" + name + "?sslmode=disable"
	return l.dsn
}

func (l *place) mysql(t *testing.T, name string) string {
	t.Helper()
	admin := openDB(t, "mysql", l.server.URL())
	execute(t, admin, "CREATE DATABASE "+name, "CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY '"+password+"'",
		"GRANT ALL ON "+name+".* TO app@'%'", "GRANT ALL ON "+name+"_rollcall.* TO app@'%'", "GRANT ALL ON rollcall.* TO app@'%'")
	l.dsn = "app:" + password + "@tcp(" + l.server.Addr + ")/" + name
	return l.dsn
}

// pipeline writes a pipeline file; $STORE in it is the section of the place.
func (l *place) pipeline(t *testing.T, file, text string) {
	t.Helper()
	writeFile(t, l.folder, file, strings.ReplaceAll(text, "$STORE", l.store))
}

// rows are the rows of a query, as text.
func (l *place) rows(t *testing.T, text string) string {
	t.Helper()
	var out []string
	if err := query(l.db, text, func(row string) { out = append(out, row) }); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return strings.Join(out, "\n")
}

// ran runs rollcall to its end, which must be good, and looks for the password
// in all that it prints.
func (l *place) ran(t *testing.T, args ...string) string {
	t.Helper()
	c := start(t, l.folder, args...)
	if code := c.wait(); code != 0 {
		t.Fatalf("rollcall %v: exit code %d\n%s%s", args, code, c.out.String(), c.log.String())
	}
	secretless(t, c)
	return c.out.String()
}

func secretless(t *testing.T, c *child) {
	t.Helper()
	if text := c.out.String() + c.log.String(); strings.Contains(text, password) {
		t.Errorf("rollcall %v prints the password:\n%s", c.cmd.Args[1:], text)
	}
}
