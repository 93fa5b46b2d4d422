//go:build linux

package id_test

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/id"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

func TestServers(t *testing.T) {
	for _, c := range []struct {
		name, client string
		spec         *servers.Spec
	}{{"postgres15", "pgx", servers.Postgres15}, {"mysql", "mysql", servers.MySQL}, {"mariadb", "mysql", servers.MariaDB}} {
		t.Run(c.name, func(t *testing.T) {
			server := servers.Start(t, c.spec, servers.Config{})
			t.Run("killed", func(t *testing.T) { killed(t, 8, c.client+" "+server.URL()) })
			db, err := sql.Open(c.client, server.URL())
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			s, err := id.NewSQL(t.Context(), db, dialects[c.client])
			if err != nil {
				t.Fatal(err)
			}
			t.Run("series", func(t *testing.T) { serverSeries(t, db, s) })
			t.Run("least rights", func(t *testing.T) { leastRights(t, db, c.client, server.URL()) })
			t.Run("server killed", func(t *testing.T) { serverKilled(t, server, db, s) })
			t.Run("at once", func(t *testing.T) { atOnce(t, db, dialects[c.client]) })
			if c.client == "pgx" { // the other ones are REPEATABLE READ unless told
				strict, err := sql.Open(c.client, server.URL()+"&default_transaction_isolation=serializable")
				if err != nil {
					t.Fatal(err)
				}
				defer strict.Close()
				t.Run("at once, serializable", func(t *testing.T) { atOnce(t, strict, dialects[c.client]) })
			}
		})
	}
}

// serverSeries: series begin with 1 and do not meet, marks only rise, and what
// cannot be is an error.
func serverSeries(t *testing.T, db *sql.DB, s *id.SQL) {
	for _, name := range []string{"a", "A", "a.b-c:d_e"} {
		for _, take := range []struct{ size, want int64 }{{1, 1}, {10, 2}, {5, 12}} {
			if first, err := s.Next(t.Context(), name, take.size); err != nil || first != take.want {
				t.Fatalf("series %q, a block of %d begins with %d (%v), want %d", name, take.size, first, err, take.want)
			}
		}
	}
	for _, step := range []struct{ to, was int64 }{{5, 0}, {3, 5}, {9, 5}, {math.MaxInt64, 9}, {9, math.MaxInt64}} {
		if was, err := s.Raise(t.Context(), "m", step.to); err != nil || was != step.was {
			t.Fatalf("raised to %d: it was %d (%v), want %d", step.to, was, err, step.was)
		}
	}
	if _, err := s.Next(t.Context(), "long", math.MaxInt64-1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(t.Context(), "long", 2); err == nil {
		t.Error("a series went over its end")
	}
	if _, err := db.Exec("UPDATE rollcall_ids SET value = -5 WHERE name = 'long'"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(t.Context(), "long", 1); !errors.Is(err, rollcall.ErrDamaged) {
		t.Errorf("a negative row: %v", err)
	}
}

// serverKilled: what was given out stays given out when the server dies.
func serverKilled(t *testing.T, server *servers.Server, db *sql.DB, s *id.SQL) {
	if first, err := s.Next(t.Context(), "crash", 7); err != nil || first != 1 {
		t.Fatalf("%d (%v)", first, err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if first, err := s.Next(t.Context(), "crash", 7); err == nil {
		t.Fatalf("%d of a server that is dead", first)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // throws away the connections to the dead one
	if first, err := s.Next(t.Context(), "crash", 7); err != nil || first != 8 {
		t.Fatalf("%d (%v) after the server was killed, want 8", first, err)
	}
}

// leastRights: who may not make tables uses the one that is there.
func leastRights(t *testing.T, db *sql.DB, client, url string) {
	admin, user := "postgres@", "ids"
	if client == "mysql" {
		admin, user = "root@", "ids@'%'"
	}
	for _, text := range []string{map[string]string{"pgx": "CREATE ROLE ids LOGIN", "mysql": "CREATE USER " + user}[client], "GRANT SELECT, INSERT, UPDATE ON rollcall_ids TO " + user} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	theirs, err := sql.Open(client, strings.Replace(url, admin, "ids@", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if _, err := theirs.Exec("CREATE TABLE more (n int)"); err == nil {
		t.Fatal("the user may make tables")
	}
	s, err := id.NewSQL(t.Context(), theirs, dialects[client])
	if err != nil {
		t.Fatal(err)
	}
	if first, err := s.Next(t.Context(), "least", 3); err != nil || first != 1 {
		t.Fatalf("%d (%v)", first, err)
	}
}

// atOnce: eight make the table and the row of a series at the same time, and
// nobody gets an error or a number of another one; where the server ends one of
// them because of another it begins anew.
func atOnce(t *testing.T, db *sql.DB, dialect id.Dialect) {
	if _, err := db.Exec("DROP TABLE rollcall_ids"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	seen := make(map[int64]bool)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			s, err := id.NewSQL(ctx, db, dialect)
			for range 20 {
				var first int64
				if err == nil {
					first, err = s.Next(ctx, "together", 1)
				}
				mu.Lock()
				if err != nil || seen[first] {
					t.Errorf("number %d (seen %v): %v", first, seen[first], err)
				}
				seen[first] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(seen) != 160 || !seen[1] || !seen[160] {
		t.Errorf("%d numbers", len(seen))
	}
}
