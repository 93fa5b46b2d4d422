package postgres_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

var versions = map[string]*servers.Spec{"15": servers.Postgres15, "18": servers.Postgres18}

// eachServer runs a test on every version, side by side: one works while the other one waits.
func eachServer(t *testing.T, f func(t *testing.T, s *servers.Server)) {
	for name, spec := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, servers.Shared(t, spec))
		})
	}
}

// TestKit is the acceptance test of store drivers.
func TestKit(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) { storetest.Run(t, harness(s)) })
}

// TestOnce and TestClaims are the same for what works without the consumer.
func TestOnce(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) { storetest.RunOnce(t, harness(s)) })
}

var schemas atomic.Int64

// schema is a name that no other test has.
func schema() string { return fmt.Sprintf("rc_%d_%d", os.Getpid(), schemas.Add(1)) }

// isCommit recognises a COMMIT on the wire by pgx's name of the prepared one.
func isCommit(written []byte) bool {
	sum := sha256.Sum256([]byte("COMMIT"))
	return bytes.Contains(written, []byte("stmtcache_"+hex.EncodeToString(sum[:24]))) && !bytes.Contains(written, []byte("COMMIT\x00"))
}

// harness makes a schema for each case, with a ledger without a unique index.
func harness(server *servers.Server) storetest.Harness[pgx.Tx] {
	return func(t testing.TB) storetest.Storage[pgx.Tx] {
		name, idle := schema(), 30*time.Second
		var mu sync.Mutex
		wires := make(map[rollcall.Store[pgx.Tx]]*storetest.Wire)
		open := func(t testing.TB) *postgres.Store {
			wire := new(storetest.Wire)
			s, err := postgres.Open(context.Background(), server.URL(), postgres.Config{Schema: name, Idle: idle, Connections: 8, Dial: wire.Dial})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			mu.Lock()
			defer mu.Unlock()
			wires[s] = wire
			return s
		}
		first := open(t)
		exec(t, first, "CREATE TABLE "+name+".ledger (n bigint GENERATED ALWAYS AS IDENTITY, line text NOT NULL)")
		t.Cleanup(func() { exec(t, first, "DROP SCHEMA "+name+" CASCADE") })
		return storetest.Storage[pgx.Tx]{
			Open: func(t testing.TB) rollcall.Store[pgx.Tx] { return open(t) },
			Record: func(ctx context.Context, tx pgx.Tx, line string) error {
				_, err := tx.Exec(ctx, "INSERT INTO "+name+".ledger (line) VALUES ($1)", line)
				return err
			},
			Ledger: func(t testing.TB) []string { return ledger(t, first, name) },
			Slow: func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "INSERT INTO "+name+".ledger (line) SELECT 'slow' FROM pg_sleep(30)")
				return err
			},
			Writers: true,
			Kill: func(s rollcall.Store[pgx.Tx]) {
				mu.Lock()
				defer mu.Unlock()
				wires[s].Cut()
			},
			LateCommit: func() {
				mu.Lock()
				defer mu.Unlock()
				for _, w := range wires {
					w.Late(isCommit)
				}
			},
			ShortDeadline: func() { idle = 300 * time.Millisecond },
			Results:       func(s rollcall.Store[pgx.Tx], tx pgx.Tx) rollcall.Results { return s.(*postgres.Store).Results(tx) },
		}
	}
}

func exec(t testing.TB, s *postgres.Store, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := s.DB().Exec(ctx, query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func ledger(t testing.TB, s *postgres.Store, schema string) []string {
	t.Helper()
	rows, err := s.DB().Query(context.Background(), "SELECT line FROM "+schema+".ledger ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
