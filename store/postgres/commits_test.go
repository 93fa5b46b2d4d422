package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// TestCommits: a batched run costs the server two commits a batch at most,
// counted by the server. What does not grow with the messages is bounded, too:
// opening and closing, and looking for work beside batches (signs of life, rows
// that are due, the end), a few times a second.
func TestCommits(t *testing.T) {
	const n, batch, openAndClose, eachSecond = 20_000, 500, 40, 60
	server := servers.Start(t, servers.Postgres15, servers.Config{Settings: map[string]string{"autovacuum": "off"}})
	s, err := postgres.Open(t.Context(), server.URL(), postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, s, "CREATE TABLE ledger (n int)")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.send(n, func(i int) string { return fmt.Sprint("k", i%97) })
	before := commits(t, server)
	begun := time.Now()
	if b.store, err = postgres.Open(t.Context(), server.URL(), postgres.Config{}); err != nil {
		t.Fatal(err)
	}
	b.run(rollcall.ConsumerConfig{Batch: batch, Gather: true}, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		return execValue(ctx, tx, "INSERT INTO ledger VALUES (cast($1::text as int))", string(m.Body))
	})
	took := time.Since(begun)
	if effects := b.number("SELECT count(*) FROM ledger"); effects != n {
		t.Fatalf("%d effects, want %d", effects, n)
	}
	if err := b.store.Close(); err != nil { // a session reports what it did when it ends
		t.Fatal(err)
	}
	got, most := commits(t, server)-before, int64(2*n/batch+openAndClose+int(eachSecond*took.Seconds()))
	t.Logf("%d commits for %d batches of %d in %v, %d are allowed", got, n/batch, batch, took, most)
	if got > most {
		t.Errorf("%d commits for %d messages in batches of %d, want %d at most", got, n, batch, most)
	}
}

// commits is the server's own count, when all sessions but ours have ended.
func commits(t *testing.T, server *servers.Server) (n int64) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	others := 1
	for deadline := time.Now().Add(20 * time.Second); others > 0; time.Sleep(10 * time.Millisecond) {
		err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&others)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("waited 20s for all sessions to end, %d are left: %v", others, err)
		}
	}
	if err := c.QueryRow(t.Context(), "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
