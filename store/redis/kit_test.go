//go:build linux

package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/redis"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

// TestClaims is the acceptance test, on a real server. Time passes by making
// what lies there older.
func TestClaims(t *testing.T) {
	server := servers.Shared(t, servers.Redis)
	t.Log(server.Version())
	storetest.RunClaims(t, func(t testing.TB) storetest.ClaimStorage {
		bare := admin(t, server.Addr)
		return storetest.ClaimStorage{
			Open: func(testing.TB) rollcall.Claims { return open(t, redis.Config{Addr: server.Addr, Prefix: prefix(t)}) },
			Pass: func(d time.Duration) { pass(t, bare, prefix(t), d) },
		}
	})
}

// TestAll: many keys in one turn, answered one by one.
func TestAll(t *testing.T) {
	s := open(t, redis.Config{Addr: servers.Shared(t, servers.Redis).Addr, Prefix: prefix(t)})
	mine, other := wantFresh(t, s, key(1)), wantFresh(t, s, key(2))
	must(t, s.Complete(t.Context(), group, key(1), mine, []byte("paid"), time.Hour))
	got, err := s.ClaimAll(t.Context(), group, []rollcall.DedupKey{key(1), key(2), key(3), key(4)}, time.Minute)
	must(t, err)
	if got[0].State != rollcall.ClaimDone || string(got[0].Result) != "paid" || got[1].State != rollcall.ClaimInProgress ||
		got[2].State != rollcall.ClaimFresh || got[3].State != rollcall.ClaimFresh || got[2].Token <= other || got[3].Token == got[2].Token {
		t.Fatalf("%+v", got)
	}
	errs := s.CompleteAll(t.Context(), group, []redis.Completion{
		{Key: key(3), Token: got[2].Token, Result: []byte("three")}, {Key: key(4), Token: got[3].Token + 9}, {Key: key(5), Token: 1},
	}, time.Hour)
	if errs[0] != nil || !isFenced(errs[1]) || !isFenced(errs[2]) {
		t.Fatalf("%v, want the first recorded and the others fenced", errs)
	}
	wantState(t, s, key(3), rollcall.ClaimDone)
	wantState(t, s, key(4), rollcall.ClaimInProgress)
	if _, err := s.ClaimAll(t.Context(), group, []rollcall.DedupKey{key(6), key(6)}, time.Minute); err == nil {
		t.Fatal("a key twice in one turn: want an error")
	}
	wantFresh(t, s, key(6)) // nothing was claimed
	if none, err := s.ClaimAll(t.Context(), group, nil, time.Minute); err != nil || len(none) != 0 {
		t.Fatalf("%v %v", none, err)
	}
}

// TestKeep: a lease that is over is its owner's until another takes the key, or
// Keep is over; then nothing lies in Redis any more.
func TestKeep(t *testing.T) {
	server := servers.Shared(t, servers.Redis)
	s, bare := open(t, redis.Config{Addr: server.Addr, Prefix: prefix(t), Keep: time.Hour}), admin(t, server.Addr)
	token := wantFresh(t, s, key(1)) // for a minute
	pass(t, bare, prefix(t), 2*time.Minute)
	must(t, s.Renew(t.Context(), group, key(1), token, time.Minute))
	pass(t, bare, prefix(t), 30*time.Minute)
	must(t, s.Renew(t.Context(), group, key(1), token, time.Minute))
	pass(t, bare, prefix(t), 62*time.Minute)
	if err := s.Renew(t.Context(), group, key(1), token, time.Minute); !isFenced(err) {
		t.Fatalf("%v, want it forgotten", err)
	}
	names, err := bare.Keys(t.Context(), prefix(t)+":*").Result()
	must(t, err)
	if len(names) != 1 || !strings.HasSuffix(names[0], ":token") {
		t.Fatalf("%v lie there, want the token alone", names)
	}
}

// TestTokensRise: after the memory is lost, too.
func TestTokensRise(t *testing.T) {
	server := private(t, nil)
	s := open(t, redis.Config{Addr: server.Addr})
	var last rollcall.Token
	for range 3 {
		for range 100 {
			token := wantFresh(t, s, key(1))
			if token <= last {
				t.Fatalf("token %d after %d", token, last)
			}
			last = token
			must(t, s.Release(t.Context(), group, key(1), token))
		}
		must(t, admin(t, server.Addr).FlushAll(t.Context()).Err())
	}
	// A clock that was set back: the last token decides.
	bare := admin(t, server.Addr)
	ahead := last + 3_600_000_000
	must(t, bare.Set(t.Context(), "rollcall:{billing}:token", uint64(ahead), 0).Err())
	if token := wantFresh(t, s, key(1)); token <= ahead {
		t.Fatalf("token %d after %d: the clock was set back an hour", token, ahead)
	}
}
