//go:build linux

package redis_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/redis"
)

func isFenced(err error) bool { return errors.Is(err, rollcall.ErrFenced) }

// wantError: it says all of that, and it has not happened.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	t.Log(err)
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v\nwant it to say %q", err, part)
		}
	}
	if errors.Is(err, rollcall.ErrInDoubt) {
		t.Errorf("%v\nis in doubt, want it not to have happened", err)
	}
}

// TestOpenRefuses: each with the field, the value and what to do.
func TestOpenRefuses(t *testing.T) {
	locked := private(t, map[string]string{"requirepass": "right", "maxmemory-policy": "allkeys-lru"})
	plain := servers.Shared(t, servers.Redis)
	replica := private(t, map[string]string{"replicaof": strings.Replace(plain.Addr, ":", " ", 1)})
	nobody := net.JoinHostPort("127.0.0.1", servers.FreePort(t))
	for name, c := range map[string]struct {
		config redis.Config
		parts  []string
	}{
		"no address":    {redis.Config{}, []string{"Config.Addr", "host:port"}},
		"two addresses": {redis.Config{Addr: "a:1", Sentinel: redis.Sentinel{Master: "m"}}, []string{"Config.Addr", "a:1", "leave it empty"}},
		"no sentinels":  {redis.Config{Sentinel: redis.Sentinel{Master: "m"}}, []string{"Config.Sentinel.Addrs"}},
		"negative":      {redis.Config{Addr: "a:1", Keep: -1}, []string{"Config.Keep", "negative"}},
		"no password":   {redis.Config{Addr: locked.Addr}, []string{"NOAUTH", "set Config.Password"}},
		"wrong password": {redis.Config{Addr: locked.Addr, Password: "wrong"},
			[]string{"WRONGPASS", "Config.Password is not the server's"}},
		"evicting": {redis.Config{Addr: locked.Addr, Password: "right"},
			[]string{"maxmemory-policy", "allkeys-lru", "noeviction", "Config.AllowEviction"}},
		"replica":           {redis.Config{Addr: replica.Addr}, []string{`role "slave"`, plain.Addr, "connect to the master"}},
		"nobody there":      {redis.Config{Addr: nobody}, []string{nobody, "connection refused", "is it up"}},
		"no sentinel there": {redis.Config{Sentinel: redis.Sentinel{Master: "m", Addrs: []string{nobody}}}, []string{"master m", "connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := redis.Open(t.Context(), c.config)
			if s != nil {
				t.Error("a store and an error")
			}
			wantError(t, err, c.parts...)
		})
	}
	s := open(t, redis.Config{Addr: locked.Addr, Password: "right", AllowEviction: true})
	wantFresh(t, s, key(1))
}

// TestMemoryFull: nothing is claimed, and what is held is not lost.
func TestMemoryFull(t *testing.T) {
	server := private(t, nil)
	s, bare := open(t, redis.Config{Addr: server.Addr}), admin(t, server.Addr)
	token := wantFresh(t, s, key(1))
	must(t, bare.ConfigSet(t.Context(), "maxmemory", "1").Err())
	_, err := s.Claim(t.Context(), group, key(2), time.Minute)
	wantError(t, err, "OOM", "nothing was claimed", "maxmemory")
	wantError(t, s.Complete(t.Context(), group, key(1), token, []byte("paid"), time.Hour), "OOM", "nothing was completed")
	must(t, bare.ConfigSet(t.Context(), "maxmemory", "0").Err())
	must(t, s.Complete(t.Context(), group, key(1), token, []byte("paid"), time.Hour))
	wantFresh(t, s, key(2))
}

// TestBecomesReplica: connections that were good before a failover are not
// after it.
func TestBecomesReplica(t *testing.T) {
	master, server := private(t, nil), private(t, nil)
	s := open(t, redis.Config{Addr: server.Addr, Connections: 1})
	wantFresh(t, s, key(1))
	host, port, err := net.SplitHostPort(master.Addr)
	must(t, err)
	must(t, admin(t, server.Addr).ReplicaOf(t.Context(), host, port).Err())
	_, err = s.Claim(t.Context(), group, key(2), time.Minute)
	wantError(t, err, "nothing was claimed", "replica", "connect to the master")
	_, err = s.Claim(t.Context(), group, key(2), time.Minute) // on a new connection
	wantError(t, err, "nothing was claimed", `role "slave"`, "connect to the master")
}

// TestOtherType: what lies at our key is not touched, and the other keys of the
// turn are not claimed.
func TestOtherType(t *testing.T) {
	server := servers.Shared(t, servers.Redis)
	s, bare := open(t, redis.Config{Addr: server.Addr, Prefix: prefix(t)}), admin(t, server.Addr)
	at := prefix(t) + ":{billing}:"
	must(t, bare.Set(t.Context(), at+"30303030303030303030303030303037", "theirs", 0).Err())
	_, err := s.ClaimAll(t.Context(), group, []rollcall.DedupKey{key(6), key(7)}, time.Minute)
	wantError(t, err, "WRONGTYPE", "nothing was claimed", "Config.Prefix")
	must(t, bare.HSet(t.Context(), at+"30303030303030303030303030303038", "theirs", "too").Err())
	_, err = s.ClaimAll(t.Context(), group, []rollcall.DedupKey{key(6), key(8)}, time.Minute)
	wantError(t, err, "WRONGTYPE", "nothing was claimed", "Config.Prefix")
	wantFresh(t, s, key(6))
	wantError(t, s.Complete(t.Context(), group, key(7), 1, nil, time.Hour), "WRONGTYPE", "nothing was completed")
	wantError(t, s.Renew(t.Context(), group, key(7), 1, time.Hour), "WRONGTYPE", "nothing was renewed")
	wantError(t, s.Release(t.Context(), group, key(7), 1), "WRONGTYPE", "nothing was released")
}

// TestServerGone: refused is not in doubt; a closed store and a context that is
// over do nothing.
func TestServerGone(t *testing.T) {
	server := private(t, nil)
	s := open(t, redis.Config{Addr: server.Addr})
	token := wantFresh(t, s, key(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Claim(ctx, group, key(2), time.Minute)
	wantError(t, err, "nothing was claimed", "context canceled")
	must(t, server.Kill())
	waitFor(t, time.Minute, "the dead connection to be noticed", func() bool {
		_, err = s.Claim(t.Context(), group, key(2), time.Minute)
		return !errors.Is(err, rollcall.ErrInDoubt)
	})
	wantError(t, err, "nothing was claimed", "connection refused", "is it up")
	must(t, server.Restart())
	must(t, s.Complete(t.Context(), group, key(1), token, nil, time.Hour)) // it was kept
	must(t, s.Close())
	_, err = s.Claim(t.Context(), group, key(2), time.Minute)
	wantError(t, err, "nothing was claimed")
	if !errors.Is(err, rollcall.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
}

// TestPaused: no answer in time is in doubt, and says what to do.
func TestPaused(t *testing.T) {
	server := private(t, nil)
	s := open(t, redis.Config{Addr: server.Addr, Timeout: 300 * time.Millisecond})
	token := wantFresh(t, s, key(1))
	must(t, server.Pause())
	for what, call := range map[string]func() error{
		"claim again":    func() error { _, err := s.Claim(t.Context(), group, key(2), time.Minute); return err },
		"complete again": func() error { return s.Complete(t.Context(), group, key(1), token, nil, time.Hour) },
	} {
		if err := call(); !errors.Is(err, rollcall.ErrInDoubt) || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want it in doubt, and %q", err, what)
		}
	}
	must(t, server.Resume())
	must(t, s.Complete(t.Context(), group, key(1), token, nil, time.Hour))
}
