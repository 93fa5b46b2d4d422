//go:build linux

package redis_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
	"github.com/rollcall-mq/rollcall/store/redis"
)

const group = "billing"

func TestMain(m *testing.M) {
	goredis.SetLogger(&logging.VoidLogger{}) // it tells the terminal of every kill
	if os.Getenv(workerAddr) != "" {
		os.Exit(workerMain())
	}
	if crashtest.RecordChild(openClaims) || crashtest.LockChild(guarded) {
		return
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, c redis.Config) *redis.Store {
	t.Helper()
	s, err := redis.Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// prefixes are handed out once a test, and once more when it is run again.
var prefixes = struct {
	sync.Mutex
	of map[testing.TB]string
}{of: make(map[testing.TB]string)}

// prefix is the test's own part of a shared server.
func prefix(t testing.TB) string {
	prefixes.Lock()
	defer prefixes.Unlock()
	if prefixes.of[t] == "" {
		prefixes.of[t] = fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), len(prefixes.of))
	}
	return prefixes.of[t]
}

// admin is a bare client.
func admin(t testing.TB, addr string) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func private(t testing.TB, settings map[string]string) *servers.Server {
	t.Helper()
	return servers.Start(t, servers.Redis, servers.Config{Settings: settings})
}

func key(n int) (k rollcall.DedupKey) {
	copy(k[:], fmt.Sprintf("%016d", n))
	return k
}

// wantFresh claims and returns the token.
func wantFresh(t testing.TB, c rollcall.Claims, k rollcall.DedupKey) rollcall.Token {
	t.Helper()
	got, err := c.Claim(t.Context(), group, k, time.Minute)
	if err != nil || got.State != rollcall.ClaimFresh || got.Token == 0 {
		t.Fatalf("%+v %v, want it fresh", got, err)
	}
	return got.Token
}

func wantState(t testing.TB, c rollcall.Claims, k rollcall.DedupKey, want rollcall.ClaimState) {
	t.Helper()
	if got, err := c.Claim(t.Context(), group, k, time.Minute); err != nil || got.State != want {
		t.Fatalf("%+v %v, want state %d", got, err, want)
	}
}

func waitFor(t testing.TB, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// pass makes all that lies under the prefix older, as the passing of time would.
func pass(t testing.TB, c *goredis.Client, prefix string, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	names, err := c.Keys(ctx, prefix+":*").Result()
	must(t, err)
	for _, name := range names {
		left, err := c.PTTL(ctx, name).Result()
		must(t, err)
		switch {
		case left < 0: // the token, which stays
		case left <= d:
			must(t, c.Del(ctx, name).Err())
		default:
			must(t, c.PExpire(ctx, name, left-d).Err())
			must(t, c.HIncrBy(ctx, name, "till", -d.Microseconds()).Err())
		}
	}
}
