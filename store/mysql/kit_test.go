//go:build linux

package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
	"github.com/rollcall-mq/rollcall/store/mysql"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

var kinds = map[string]*servers.Spec{"mysql": servers.MySQL, "mariadb": servers.MariaDB}

// eachServer runs a test on both kinds; each says which it is.
func eachServer(t *testing.T, f func(t *testing.T, s *servers.Server)) {
	for name, spec := range kinds {
		t.Run(name, func(t *testing.T) { f(t, servers.Shared(t, spec)) })
	}
}

// bothServers is eachServer, side by side: one works while the other one waits.
func bothServers(t *testing.T, f func(t *testing.T, s *servers.Server)) {
	for name, spec := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, servers.Shared(t, spec))
		})
	}
}

// TestKit is the acceptance test of store drivers.
func TestKit(t *testing.T) {
	bothServers(t, func(t *testing.T, s *servers.Server) { storetest.Run(t, harness(s)) })
}

// TestOnce and TestClaims are the same for what works without the consumer.
func TestOnce(t *testing.T) {
	bothServers(t, func(t *testing.T, s *servers.Server) { storetest.RunOnce(t, harness(s)) })
}

func TestClaims(t *testing.T) {
	bothServers(t, func(t *testing.T, server *servers.Server) {
		storetest.RunClaims(t, func(t testing.TB) storetest.ClaimStorage {
			name := schema()
			first := open(t, server, mysql.Config{Schema: name})
			t.Cleanup(func() { exec(t, first, "DROP DATABASE "+name) })
			return storetest.ClaimStorage{
				Open: func(t testing.TB) rollcall.Claims {
					return open(t, server, mysql.Config{Schema: name, Connections: 4}).Claims()
				},
				Pass: func(d time.Duration) { pass(t, first, name, d) },
				Sweep: func(t testing.TB, group string, window time.Duration) {
					if _, err := first.Upkeep().Sweep(context.Background(), group, window); err != nil {
						t.Fatal(err)
					}
				},
			}
		})
	})
}

// pass makes all claims older: that is what a clock that goes on looks like.
func pass(t testing.TB, s *mysql.Store, schema string, d time.Duration) {
	t.Helper()
	found, err := s.DB().Query("SELECT grp, dedup_key, token, done, ends, result FROM " + schema + ".claims")
	must(t, err)
	var all []rows.Claim
	for found.Next() {
		var r rows.Claim
		must(t, found.Scan(&r.Group, &r.Key, &r.Token, &r.Done, &r.Until, &r.Result))
		all = append(all, r)
	}
	must(t, found.Err())
	for _, r := range all {
		r.Until -= d.Nanoseconds()
		_, err := s.DB().Exec("UPDATE "+schema+".claims SET ends = ?, crc = ? WHERE grp = ? AND dedup_key = ?", r.Until, r.Sum(), []byte(r.Group), r.Key)
		must(t, err)
	}
}

var schemas atomic.Int64

// schema is a name that no other test has.
func schema() string { return fmt.Sprintf("rc_%d_%d", os.Getpid(), schemas.Add(1)) }

// isCommit recognises a COMMIT on the wire: a packet of 7 bytes, command 3.
func isCommit(written []byte) bool { return bytes.Equal(written, []byte("\x07\x00\x00\x00\x03COMMIT")) }

func open(t testing.TB, server *servers.Server, c mysql.Config) *mysql.Store {
	t.Helper()
	s, err := mysql.Open(context.Background(), server.URL(), c)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// harness makes a database for each case, with a ledger without a unique index.
func harness(server *servers.Server) storetest.Harness[*sql.Tx] {
	return func(t testing.TB) storetest.Storage[*sql.Tx] {
		name, idle := schema(), 30*time.Second
		var mu sync.Mutex
		wires := make(map[rollcall.Store[*sql.Tx]]*storetest.Wire)
		connect := func(t testing.TB) *mysql.Store {
			wire := new(storetest.Wire)
			s := open(t, server, mysql.Config{Schema: name, Idle: idle, Connections: 8, Dial: wire.Dial})
			mu.Lock()
			defer mu.Unlock()
			wires[s] = wire
			return s
		}
		first := connect(t)
		exec(t, first, "CREATE TABLE "+name+".ledger (n BIGINT AUTO_INCREMENT PRIMARY KEY, line VARBINARY(1000) NOT NULL) ENGINE=InnoDB")
		t.Cleanup(func() { exec(t, first, "DROP DATABASE "+name) })
		return storetest.Storage[*sql.Tx]{
			Open: func(t testing.TB) rollcall.Store[*sql.Tx] { return connect(t) },
			Record: func(ctx context.Context, tx *sql.Tx, line string) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO "+name+".ledger (line) VALUES (?)", []byte(line))
				return err
			},
			Ledger: func(t testing.TB) []string { return ledger(t, first, name) },
			Slow: func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO "+name+".ledger (line) SELECT CONCAT('slow', SLEEP(30))")
				return err
			},
			Writers:        true,
			UndoKeepsLocks: true, // InnoDB
			Kill: func(s rollcall.Store[*sql.Tx]) {
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
			ShortDeadline: func() { idle = time.Second },
			Results:       func(s rollcall.Store[*sql.Tx], tx *sql.Tx) rollcall.Results { return s.(*mysql.Store).Results(tx) },
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t testing.TB, s *mysql.Store, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if _, err := s.DB().ExecContext(ctx, query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func ledger(t testing.TB, s *mysql.Store, schema string) (lines []string) {
	t.Helper()
	rows, err := s.DB().Query("SELECT line FROM " + schema + ".ledger ORDER BY n")
	must(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var line string
		must(t, rows.Scan(&line))
		lines = append(lines, line)
	}
	must(t, rows.Err())
	return lines
}

func TestMain(m *testing.M) {
	if crashtest.Child(crashStorage) {
		return
	}
	if err := flag.Set("test.parallel", "4"); err != nil { // most of the time they wait for disks, timeouts and each other
		panic(err)
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
