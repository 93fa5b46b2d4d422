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
	deliveries, only := 2000, os.Getenv("ROLLCALL_BENCH")
	if only != "" { // how many, and which: to look into one with a profile
		if _, err := fmt.Sscan(only, &deliveries, &only); err != nil {
			t.Fatal(err)
		}
	}
	for _, network := range []bool{false, true} {
		var p Page
		c := Config{Postgres: postgres.URL(), Redis: strings.TrimPrefix(redis.URL(), "redis://"), Deliveries: deliveries, Network: network, Only: only, Repetitions: 1,
			Log: func(line string) { t.Log(line) }}
		if err := Run(context.Background(), c, &p); err != nil {
			t.Fatal(err)
		}
		if only == "" && len(p.Figures) != len((&postgresHall{c: c}).ways()) || p.Postgres == "" || p.Redis == "" {
			t.Fatalf("%d figures of %d, servers %q and %q", len(p.Figures), len((&postgresHall{c: c}).ways()), p.Postgres, p.Redis)
		}
	}
}
