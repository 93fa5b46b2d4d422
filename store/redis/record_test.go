//go:build linux

package redis_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
	"github.com/rollcall-mq/rollcall/store/redis"
	_ "modernc.org/sqlite"
)

func openClaims(ctx context.Context, url, prefix string) (rollcall.Claims, func() error, error) {
	s, err := redis.Open(ctx, redis.Config{Addr: strings.TrimPrefix(url, "redis://"), Prefix: prefix})
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

// TestRecordCrash: once with a receiver that honours the key; once or parked,
// never doubled, with one that does not. Redis syncs every write here.
func TestRecordCrash(t *testing.T) {
	server := private(t, nil)
	for name, honours := range map[string]bool{"honours the key": true, "does not": false} {
		t.Run(name, func(t *testing.T) {
			crashtest.RunRecord(t, openClaims, server, prefix(t), crashtest.RecordLoad{Keys: 600, Honours: honours, Kills: 5, Sleeps: 2, ServerKills: 2})
		})
	}
}

// TestRecordForgets: what Redis forgets is done again, unless the receiver
// honours the key, which is the same as before.
func TestRecordForgets(t *testing.T) {
	server := servers.Start(t, servers.Redis, servers.Config{})
	s := open(t, redis.Config{Addr: server.Addr})
	for _, honours := range []bool{false, true} {
		effects, known := 0, make(map[string]bool) // the receiver
		pay := func() {
			t.Helper()
			config := rollcall.RecordConfig{Honours: honours, Lease: time.Minute}
			_, err := rollcall.Record(t.Context(), s, rollcall.OnceKey{Scope: group, Key: "order-1"}, config,
				func(_ context.Context, a rollcall.RecordAttempt) (string, error) {
					if !honours || !known[a.Key] {
						effects++
					}
					known[a.Key] = true
					return "paid", nil
				})
			must(t, err)
		}
		pay()
		pay()
		if effects != 1 {
			t.Fatalf("%d effects while Redis keeps its memory, want 1", effects)
		}
		must(t, admin(t, server.Addr).FlushAll(t.Context()).Err())
		pay()
		if want := map[bool]int{false: 2, true: 1}[honours]; effects != want {
			t.Fatalf("receiver honours the key: %v: %d effects after FLUSHALL, want %d", honours, effects, want)
		}
		must(t, admin(t, server.Addr).FlushAll(t.Context()).Err())
	}
}

// guarded is a row in a database: the lock lies in Redis, and the prefix of its
// claims is the name of the file.
var guarded = crashtest.Guarded{Open: openClaims, Write: func(ctx context.Context, _, file string, token rollcall.Token) (bool, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return false, err
	}
	defer func() { _ = db.Close() }()
	done, err := db.ExecContext(ctx, "UPDATE report SET token = ? WHERE token <= ?", int64(token), int64(token))
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}}

// TestLockStopped: a holder that was stopped past its lease is refused by the
// row, whose transaction compares the token.
func TestLockStopped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.db")
	db, err := sql.Open("sqlite", "file:"+file)
	must(t, err)
	_, err = db.Exec("CREATE TABLE report (token INTEGER NOT NULL); INSERT INTO report VALUES (0)")
	must(t, err)
	must(t, db.Close())
	crashtest.RunLock(t, guarded, servers.Shared(t, servers.Redis).URL(), file)
}
