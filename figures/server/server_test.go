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

// TestRunMySQL is the same on MariaDB; of MySQL a figure is enough.
func TestRunMySQL(t *testing.T) {
	measureAll(t, Config{MySQL: servers.Start(t, servers.MariaDB, servers.Config{}).URL()})
	measureAll(t, Config{MySQL: servers.Start(t, servers.MySQL, servers.Config{}).URL(), Only: "by stamp"})
}

// TestGrowth: growth can be measured, and a sweep beside it.
func TestGrowth(t *testing.T) {
	var p Page
	c := Config{Postgres: servers.Start(t, servers.Postgres15, servers.Config{}).URL(), Keys: 20_000, Deliveries: 2000, Repetitions: 1}
	if err := Run(context.Background(), c, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Growth) != 2 || p.Growth[0].Full == 0 || p.Growth[1].Full == 0 || p.Growth[0].Swept == 0 || p.Growth[0].FullWAL == 0 || p.Growth[0].LongestBy == 0 {
		t.Fatalf("%+v", p.Growth)
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
		if c.Postgres != "" && c.Only == "" && !c.Network && (p.Commits == nil || p.Commits.Transactions < int64(c.Deliveries)/perTransaction) {
			t.Fatalf("transactions %+v: fewer than batches", p.Commits)
		}
		if c.Network && p.Figures[0].Turns < 1 {
			t.Fatalf("%v turns a batch", p.Figures[0].Turns)
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
