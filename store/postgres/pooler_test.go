package postgres_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

const ignored = "idle_in_transaction_session_timeout,statement_timeout,default_transaction_isolation"

// newPooler is a PgBouncer in front of a server.
func newPooler(t *testing.T, server *servers.Server, mode, ignore string) *servers.Server {
	t.Helper()
	_, port, err := net.SplitHostPort(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return servers.Start(t, servers.PgBouncer, servers.Config{Settings: map[string]string{
		"*": "host=127.0.0.1 user=postgres port=" + port, "pool_mode": mode, "ignore_startup_parameters": ignore}})
}

// setRole gives every session of the role what a pooler ignores.
func setRole(t *testing.T, server *servers.Server) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	_, err = c.Exec(t.Context(), `ALTER ROLE postgres SET idle_in_transaction_session_timeout = '30000';
		ALTER ROLE postgres SET statement_timeout = '60000'; ALTER ROLE postgres SET default_transaction_isolation = 'read committed'`)
	if err != nil {
		t.Fatal(err)
	}
}

// TestPooler: a pooler whose sessions are not ours is refused when it is opened;
// one in session mode is accepted if our settings arrive.
func TestPooler(t *testing.T) {
	server := servers.Start(t, servers.Postgres15, servers.Config{})
	refused := func(name, mode, ignore string, says ...string) {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, newPooler(t, server, mode, ignore).URL(), postgres.Config{}, says...)
		})
	}
	refused("settings refused", "session", "", "refuses session settings", "session mode")
	refused("settings ignored", "session", ignored, `statement_timeout is "0", not "60000"`, "ALTER ROLE … SET statement_timeout = '60000'")
	setRole(t, server)
	for range 2 { // and when it was opened before
		refused("transaction mode", "transaction", ignored, "a pooler in transaction mode", "in the same session", "session mode")
	}
	t.Run("session mode", func(t *testing.T) {
		s, err := postgres.Open(t.Context(), newPooler(t, server, "session", ignored).URL(), postgres.Config{Connections: 1})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
	})
}

// TestPoolerChanges: a pooler that becomes one in transaction mode while two
// stores run on it spoils no message: what cannot work pauses and goes on when
// the pool has sessions again. Every message takes effect once.
func TestPoolerChanges(t *testing.T) {
	const n = 3000
	server := servers.Start(t, servers.Postgres15, servers.Config{})
	setRole(t, server)
	p := newPooler(t, server, "session", ignored)
	mode := func(mode string) {
		c, err := pgx.Connect(context.Background(), "postgres://postgres@"+p.Addr+"/pgbouncer?sslmode=disable&default_query_exec_mode=simple_protocol")
		if err == nil {
			_, err = c.Exec(context.Background(), "SET pool_mode = "+mode)
			_ = c.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	}
	open := func() *postgres.Store {
		s, err := postgres.Open(t.Context(), p.URL(), postgres.Config{Schema: "pooled"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	b := newBench(t)
	b.store, b.schema = open(), "pooled"
	onServer, err := postgres.Open(t.Context(), server.URL(), postgres.Config{Schema: "pooled"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = onServer.Close() })
	exec(t, b.store, "CREATE TABLE pooled.ledger (n int)")
	b.send(n, func(i int) string { return fmt.Sprint("k", i) })
	stores := []*postgres.Store{b.store, open()}
	mode("transaction")
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := new(pauses)
	for i, s := range stores {
		wg.Go(func() {
			c := rollcall.NewConsumer("g", b.broker.Source("orders"), s, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
				_, err := tx.Exec(ctx, "INSERT INTO pooled.ledger VALUES ($1)", string(m.Body))
				return err
			}, rollcall.ConsumerConfig{Worker: fmt.Sprint("w", i), Batch: 20, Observer: seen, Retry: rollcall.RetryConfig{Attempts: 2, First: time.Millisecond}})
			_ = c.Run(ctx) // PgBouncer 1.18 may crash on the cancel requests of its end ("bad client state"): the ledger judges
		})
	}
	wait := func(what string, is func() bool) {
		for deadline := time.Now().Add(40 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited 40s for %s: %q", what, seen.all())
			}
		}
	}
	b.store = onServer
	wait("a pause that names the pooler", func() bool { return seen.says("a pooler in transaction mode") })
	time.Sleep(100 * time.Millisecond) // and some more work
	mode("session")
	wait("all effects", func() bool { return b.number("SELECT count(*) FROM ~ledger") >= n })
	cancel()
	wg.Wait()
	effects, distinct, dead := b.number("SELECT count(*) FROM ~ledger"), b.number("SELECT count(DISTINCT n) FROM ~ledger"),
		b.number("SELECT count(*) FROM ~asides WHERE state = 'dead'")
	if effects != n || distinct != n || dead != 0 {
		t.Fatalf("%d effects of %d messages, %d dead; want %d", effects, distinct, dead, n)
	}
}

// pauses are the causes of pauses.
type pauses struct {
	mu     sync.Mutex
	causes []string
}

// Observe implements rollcall.Observer.
func (p *pauses) Observe(e rollcall.Event) {
	paused, is := e.(rollcall.Paused)
	if !is {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.causes = append(p.causes, paused.Where+": "+paused.Err.Error())
}

func (p *pauses) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.causes)
}

func (p *pauses) says(text string) bool {
	return slices.ContainsFunc(p.all(), func(cause string) bool { return strings.Contains(cause, text) })
}
