package server

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestRun: every figure of both profiles can be measured, and ends with the
// right tables; what it measures at this size says nothing.
func TestRun(t *testing.T) {
	postgres, redis := servers.Start(t, servers.Postgres15, servers.Config{}), servers.Start(t, servers.Redis, servers.Config{})
	measureAll(t, Config{Postgres: postgres.URL(), Redis: strings.TrimPrefix(redis.URL(), "redis://")})
}

// TestRunMySQL is the same on both kinds of that server.
func TestRunMySQL(t *testing.T) {
	for _, kind := range []*servers.Spec{servers.MariaDB, servers.MySQL} {
		measureAll(t, Config{MySQL: servers.Start(t, kind, servers.Config{}).URL()})
	}
}

func measureAll(t *testing.T, c Config) {
	t.Helper()
	c.Deliveries, c.Repetitions, c.Log = 2000, 1, func(line string) { t.Log(line) }
	if only := os.Getenv("ROLLCALL_BENCH"); only != "" { // how many, and which: to look into one with a profile
		if _, err := fmt.Sscan(only, &c.Deliveries, &c.Only); err != nil {
			t.Fatal(err)
		}
	}
	for _, c.Network = range []bool{false, true} {
		var p Page
		if err := Run(context.Background(), c, &p); err != nil {
			t.Fatal(err)
		}
		all := (&postgresHall{c: c}).ways()
		if c.MySQL != "" {
			all = (&mysqlHall{c: c}).ways()
		}
		if c.Only == "" && len(p.Figures) != len(all) || p.Postgres == "" && len(p.MySQL) != 1 || p.Redis == "" && c.Redis != "" {
			t.Fatalf("%d figures of %d, servers %q, %q and %q", len(p.Figures), len(all), p.Postgres, p.MySQL, p.Redis)
		}
	}
}
