package postgres_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// TestRoles: the roles that are shipped suffice for everything that a consumer
// does, and the one that runs can make no table.
func TestRoles(t *testing.T) {
	server := servers.Start(t, servers.Postgres18, servers.Config{})
	text, err := os.ReadFile("roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	if _, err := admin.Exec(t.Context(), string(text)+"; CREATE TABLE ledger (n int); GRANT INSERT, SELECT ON ledger TO rollcall_run"); err != nil {
		t.Fatal(err)
	}
	as := func(role string) string { return strings.Replace(server.URL(), "postgres@", role+"@", 1) }
	migrating, err := postgres.Open(t.Context(), as("rollcall_migrate"), postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := migrating.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), as("rollcall_run"), postgres.Config{NoMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := &bench{t: t, store: s, schema: "public", broker: memory.New(memory.Config{Shape: memory.Replayable, Partitions: 1})}
	b.send(40, func(i int) string { return "k" })
	b.run(rollcall.ConsumerConfig{}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		if string(m.Body) == "7" {
			return rollcall.Dead(os.ErrInvalid)
		}
		if err := s.Outbox().Enqueue(ctx, tx, []rollcall.Message{{Destination: "out", Body: m.Body}}); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO ledger VALUES ($1)", string(m.Body))
		return err
	})
	if n := b.number("SELECT count(*) FROM ledger"); n != 39 {
		t.Fatalf("%d effects, want 39", n)
	}
	if _, err := s.Upkeep().Sweep(t.Context(), "g", 1); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Claims().Claim(t.Context(), "g", rollcall.DedupKey{1}, 1e9); err != nil || c.State != rollcall.ClaimFresh {
		t.Fatal(c, err)
	}
	noteOne(t, s)
	for _, refused := range []string{"CREATE TABLE rollcall.mine (n int)", "UPDATE rollcall.log SET verb = 'x'", "DELETE FROM rollcall.log", "TRUNCATE rollcall.log"} {
		if _, err := s.DB().Exec(t.Context(), refused); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Fatalf("the role that runs: %s: %v", refused, err)
		}
		if !strings.HasPrefix(refused, "CREATE") {
			if _, err := admin.Exec(t.Context(), refused); err == nil || !strings.Contains(err.Error(), "only grows") {
				t.Fatalf("even the superuser: %s: %v", refused, err)
			}
		}
	}
}

// noteOne writes an entry of the operator log and reads it back.
func noteOne(t *testing.T, s *postgres.Store) {
	t.Helper()
	tx, err := s.Begin(t.Context())
	if err == nil {
		err = tx.Records().Note(t.Context(), "g", []rollcall.OperatorEntry{{Verb: rollcall.OperatorWaive, Reason: "r"}})
	}
	if err == nil {
		err = tx.Commit(t.Context())
	}
	entries, rerr := s.Upkeep().Entries(t.Context(), "g", 0, 10)
	if err != nil || rerr != nil || len(entries) != 1 {
		t.Fatalf("entries %+v (%v, %v), want the one written", entries, err, rerr)
	}
}
