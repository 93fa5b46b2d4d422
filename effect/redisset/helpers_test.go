//go:build linux

package redisset_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/redisset"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

func TestMain(m *testing.M) {
	goredis.SetLogger(&logging.VoidLogger{}) // it tells the terminal of every kill
	if os.Getenv(relayStore) != "" {
		os.Exit(relayMain())
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var places atomic.Int64

// place is a beginning of keys that no other test has, nor this one when it is
// run again.
func place() string { return fmt.Sprintf("test-%d:", places.Add(1)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// admin is a bare client.
func admin(t testing.TB, addr string) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newSender(t testing.TB, target redisset.Target) *redisset.Sender {
	t.Helper()
	s, err := redisset.New(map[string]redisset.Target{"cache": target}, redisset.Config{})
	must(t, err)
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func message(key string, number uint64, value string) rollcall.Message {
	return redisset.Message("cache", key, number, []byte(value))
}

func publish(t testing.TB, s *redisset.Sender, messages ...rollcall.Message) []rollcall.PublishResult {
	t.Helper()
	results := s.Publish(t.Context(), "redis:cache", messages)
	if len(results) != len(messages) {
		t.Fatalf("%d results of %d messages", len(results), len(messages))
	}
	return results
}

// wantStored publishes, and demands that all of it is settled.
func wantStored(t testing.TB, s *redisset.Sender, messages ...rollcall.Message) {
	t.Helper()
	for i, r := range publish(t, s, messages...) {
		if r.Fate != rollcall.Stored || r.Err != nil {
			t.Fatalf("message %d: %v %v, want it stored", i, r.Fate, r.Err)
		}
	}
}

func wantValue(t testing.TB, c *goredis.Client, key, want string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key).Result(); err != nil || got != want {
		t.Fatalf("%s is %q %v, want %q", key, got, err, want)
	}
}

func wantCounts(t testing.TB, s *redisset.Sender, set, stale uint64) {
	t.Helper()
	if gotSet, gotStale := s.Counts(); gotSet != set || gotStale != stale {
		t.Fatalf("%d set, %d stale, want %d and %d", gotSet, gotStale, set, stale)
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}
