package server

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestRun: every figure of both profiles can be measured, and ends with the
// right tables; what it measures at this size says nothing.
func TestRun(t *testing.T) {
	postgres, redis := servers.Start(t, servers.Postgres15, servers.Config{}), servers.Start(t, servers.Redis, servers.Config{})
	deliveries := 2000
	if os.Getenv("ROLLCALL_BENCH") != "" {
		deliveries = 0
	}
	for _, network := range []bool{false, true} {
		var p Page
		c := Config{Postgres: postgres.URL(), Redis: strings.TrimPrefix(redis.URL(), "redis://"), Deliveries: deliveries, Network: network,
			Log: func(line string) { t.Log(line) }}
		if err := Run(context.Background(), c, &p); err != nil {
			t.Fatal(err)
		}
		if len(p.Figures) != len(ways(c)) || p.Postgres == "" || p.Redis == "" {
			t.Fatalf("%d figures of %d, servers %q and %q", len(p.Figures), len(ways(c)), p.Postgres, p.Redis)
		}
	}
}
