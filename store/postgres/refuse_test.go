package postgres_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// wantRefused opens and demands an error that says all of these.
func wantRefused(t *testing.T, url string, config postgres.Config, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := postgres.Open(ctx, url, config)
	if err == nil {
		_ = s.Close()
		t.Fatal("it was opened")
	}
	t.Log(err)
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q", text)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Error("the error shows the password")
	}
}

// TestRefused: servers and configurations that cannot keep the promise.
func TestRefused(t *testing.T) {
	server := servers.Start(t, servers.Postgres15, servers.Config{})
	admin, err := postgres.Open(t.Context(), server.URL(), postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, admin, "CREATE ROLE app LOGIN PASSWORD 'right'")
	exec(t, admin, "CREATE ROLE weak LOGIN")
	if err := admin.Close(); err != nil {
		t.Fatal(err)
	}
	hba := "host all app 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
	if err := os.WriteFile(filepath.Join(server.Dir, "data", "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	as := func(user, database, query string) string {
		return "postgres://" + user + "@" + server.Addr + "/" + database + "?" + query
	}
	t.Run("wrong password", func(t *testing.T) {
		wantRefused(t, as("app:secret", "postgres", "sslmode=disable"), postgres.Config{}, "refuses user or password", "28P01")
	})
	t.Run("no TLS", func(t *testing.T) {
		wantRefused(t, as("postgres", "postgres", "sslmode=verify-full"), postgres.Config{}, "TLS")
	})
	t.Run("no database", func(t *testing.T) {
		wantRefused(t, as("postgres", "nowhere", "sslmode=disable"), postgres.Config{}, "create the database", "3D000")
	})
	t.Run("no right to make tables", func(t *testing.T) {
		wantRefused(t, as("weak", "postgres", "sslmode=disable"), postgres.Config{Schema: "other"}, "lacks a right", "42501")
	})
	t.Run("no tables", func(t *testing.T) {
		s, err := postgres.Open(t.Context(), as("postgres", "postgres", "sslmode=disable"), postgres.Config{Schema: "none", NoMigrate: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		_, err = s.Acquire(t.Context(), "g", []rollcall.Holder{{Worker: "w"}})
		if err == nil || !strings.Contains(err.Error(), "run the migration") || s.Classify(err) != rollcall.ClassEnvironment {
			t.Fatalf("acquire without tables: %v", err)
		}
	})
	t.Run("a schema that is no name", func(t *testing.T) {
		wantRefused(t, server.URL(), postgres.Config{Schema: "x; DROP TABLE y"}, "Schema", "letters")
	})
	t.Run("not a url", func(t *testing.T) {
		wantRefused(t, "postgres://app:secret@[::1", postgres.Config{}, "url")
	})
	t.Run("standby", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(server.Dir, "data", "standby.signal"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, server.URL(), postgres.Config{}, "standby", "connect to the primary")
	})
	t.Run("stopped", func(t *testing.T) {
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, server.URL(), postgres.Config{}, "cannot be reached", "start it")
	})
}

// TestUnsafeServer: settings that lose what was confirmed are refused by name,
// unless told.
func TestUnsafeServer(t *testing.T) {
	for name, value := range map[string]string{"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"} {
		t.Run(name, func(t *testing.T) {
			server := servers.Start(t, servers.Postgres15, servers.Config{Settings: map[string]string{name: value}})
			wantRefused(t, server.URL(), postgres.Config{}, name, "Config.Unsafe")
			s, err := postgres.Open(t.Context(), server.URL(), postgres.Config{Unsafe: true})
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Close()
		})
	}
}

// TestNewerSchema: tables of a newer rollcall are left alone.
func TestNewerSchema(t *testing.T) {
	b := newBench(t)
	exec(t, b.store, "UPDATE "+b.schema+".schema_version SET version = 99")
	_, err := postgres.Open(t.Context(), servers.Shared(t, servers.Postgres15).URL(), postgres.Config{Schema: b.schema})
	if !errors.Is(err, rollcall.ErrNewerSchema) {
		t.Fatalf("open: %v, want ErrNewerSchema", err)
	}
}

// TestStatementTimeout: a handler's statement that takes longer than allowed is
// its message's failure; the others take effect.
func TestStatementTimeout(t *testing.T) {
	b := newBench(t, "CREATE TABLE ~ledger (n int)")
	b.send(4, func(int) string { return "k" })
	slow, err := postgres.Open(t.Context(), servers.Shared(t, servers.Postgres15).URL(), postgres.Config{Schema: b.schema, Statement: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slow.Close() })
	b.store = slow
	b.run(rollcall.ConsumerConfig{}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		if string(m.Body) == "1" {
			return execText(ctx, tx, "SELECT pg_sleep(20)")
		}
		_, err := tx.Exec(ctx, "INSERT INTO "+b.schema+".ledger VALUES ($1)", string(m.Body))
		return err
	})
	if n := b.number("SELECT count(*) FROM ~ledger"); n != 3 {
		t.Fatalf("%d effects, want 3", n)
	}
	dead, err := slow.Asides().List(t.Context(), "g", rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}})
	if err != nil || len(dead) != 1 || !strings.Contains(dead[0].Cause, "57014") {
		t.Fatalf("dead: %+v, %v", dead, err)
	}
}

// TestDroppedTable: a table that goes while the consumer runs is nobody's fault:
// the work stands still, and goes on when the table is back.
func TestDroppedTable(t *testing.T) {
	b := newBench(t, "CREATE TABLE ~ledger (n int)")
	b.send(3, func(int) string { return "k" })
	exec(t, b.store, "ALTER TABLE "+b.schema+".ledger RENAME TO gone")
	back := time.AfterFunc(700*time.Millisecond, func() { exec(t, b.store, "ALTER TABLE "+b.schema+".gone RENAME TO ledger") })
	defer back.Stop()
	b.run(rollcall.ConsumerConfig{}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		_, err := tx.Exec(ctx, "INSERT INTO "+b.schema+".ledger VALUES ($1)", string(m.Body))
		return err
	})
	if n := b.number("SELECT count(*) FROM ~ledger"); n != 3 {
		t.Fatalf("%d effects, want 3", n)
	}
}
