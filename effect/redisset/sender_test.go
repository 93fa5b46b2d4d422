//go:build linux

package redisset_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/redisset"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// wantUnsettled: Unknown, surely not set or in doubt, and the error says all of
// that.
func wantUnsettled(t *testing.T, r rollcall.PublishResult, surely bool, parts ...string) {
	t.Helper()
	t.Log(r.Err)
	if r.Fate != rollcall.Unknown || errors.Is(r.Err, rollcall.ErrTryAgain) != surely {
		t.Fatalf("%v %v, want it Unknown, surely not set: %v", r.Fate, r.Err, surely)
	}
	wantParts(t, r.Err, parts...)
}

func wantRefused(t *testing.T, r rollcall.PublishResult, parts ...string) {
	t.Helper()
	t.Log(r.Err)
	if r.Fate != rollcall.Refused {
		t.Fatalf("%v %v, want it refused", r.Fate, r.Err)
	}
	wantParts(t, r.Err, parts...)
}

func wantParts(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Fatalf("%v\nwant it to say %q", err, part)
		}
	}
}

// TestGuard: only a higher number sets, in whatever order and batch they come.
func TestGuard(t *testing.T) {
	server := servers.Shared(t, servers.Redis)
	at := place()
	s, c := newSender(t, redisset.Target{Addr: server.Addr, Keys: at}), admin(t, server.Addr)
	wantStored(t, s, message("a", 2, "two"), message("b", 1, "one"), message("a", 1, "one"))
	wantValue(t, c, at+"a", "two")
	wantValue(t, c, at+"b", "one")
	wantCounts(t, s, 2, 1)

	wantStored(t, s, message("a", 2, "two")) // a repeat
	wantCounts(t, s, 2, 2)
	must(t, c.Set(t.Context(), at+"a", "by hand", 0).Err())
	wantStored(t, s, message("a", 2, "two"), message("a", 1, "one"))
	wantValue(t, c, at+"a", "by hand") // a repeat touches nothing
	wantStored(t, s, message("a", 3, "three"), message("a", 5, "five"), message("a", 4, "four"), message("a", 3, "three"))
	wantValue(t, c, at+"a", "five")
	wantCounts(t, s, 4, 6)

	// Ten is above nine, and what differs in the 54th bit differs.
	wantStored(t, s, message("c", 9, "9"), message("c", 10, "10"), message("c", 9, "9"))
	wantValue(t, c, at+"c", "10")
	wantStored(t, s, message("d", 1<<53, "even"), message("d", 1<<53+1, "odd"), message("d", 1<<53, "even"))
	wantValue(t, c, at+"d", "odd")
	wantStored(t, s, message("d", 1<<64-1, "last"), message("d", 1<<63, "before"), message("e", 1, ""), message("e", 2, "\x00\xff"))
	wantValue(t, c, at+"d", "last")
	wantValue(t, c, at+"e", "\x00\xff")
}

// TestRefused: what can never be set says why, and keeps nobody else from it.
func TestRefused(t *testing.T) {
	server := servers.Shared(t, servers.Redis)
	at := place()
	s, c := newSender(t, redisset.Target{Addr: server.Addr, Keys: at}), admin(t, server.Addr)
	must(t, c.HSet(t.Context(), at+"hash", "theirs", "too").Err())
	must(t, c.LPush(t.Context(), "rollcall:number:"+at+"list", "x").Err())
	must(t, c.Set(t.Context(), "rollcall:number:"+at+"text", "x", 0).Err())
	nameless, unnumbered, zero := message("", 1, "x"), message("u", 1, "x"), message("z", 0, "x")
	unnumbered.Headers = nil
	wantStored(t, s, message("twice", 7, "one"))
	got := publish(t, s, message("hash", 1, "x"), message("list", 1, "x"), message("text", 1, "x"), nameless, unnumbered, zero,
		message("twice", 7, "another"), message("good", 1, "fine"))
	wantRefused(t, got[0], "WRONGTYPE", at+"hash", "a hash", "use another key")
	wantRefused(t, got[1], "WRONGTYPE", "rollcall:number:"+at+"list", "Target.Numbers")
	wantRefused(t, got[2], "WRONGTYPE", "rollcall:number:"+at+"text", "Target.Numbers")
	wantRefused(t, got[3], "Key is empty")
	wantRefused(t, got[4], `"u"`, redisset.NumberHeader, "redisset.Message")
	wantRefused(t, got[5], `"z"`, `"0"`)
	wantRefused(t, got[6], at+"twice", "number 7", "another value")
	if got[7].Fate != rollcall.Stored {
		t.Fatal(got[7])
	}
	wantValue(t, c, at+"good", "fine")
	wantValue(t, c, at+"twice", "one")
	if kind := c.Type(t.Context(), at+"hash").Val(); kind != "hash" {
		t.Fatalf("their hash is a %s now", kind)
	}
}

// TestNamesAndLives: the value lives for TTL, its number for Remember; a number
// outlives its value.
func TestNamesAndLives(t *testing.T) {
	server := servers.Shared(t, servers.Redis)
	at := place()
	s := newSender(t, redisset.Target{Addr: server.Addr, Database: 3, Keys: at, Numbers: "n:", TTL: 60 * time.Millisecond, Remember: time.Hour})
	c := admin(t, server.Addr)
	must(t, c.Do(t.Context(), "SELECT", 3).Err())
	wantStored(t, s, message("tea", 4, "300"))
	if life := c.PTTL(t.Context(), "n:"+at+"tea").Val(); life < 59*time.Minute || life > time.Hour {
		t.Fatalf("the number lives for %v, want an hour", life)
	}
	eventually(t, "the value's life to end", func() bool { return c.Exists(t.Context(), at+"tea").Val() == 0 })
	wantStored(t, s, message("tea", 4, "300"), message("tea", 3, "250"))
	if c.Exists(t.Context(), at+"tea").Val() != 0 {
		t.Fatal("a repeat brought a value back whose life was over")
	}
	s = newSender(t, redisset.Target{Addr: server.Addr, Database: 3, Keys: at, Numbers: "n:", TTL: time.Hour})
	wantStored(t, s, message("tea", 5, "320"))
	value, number := c.PTTL(t.Context(), at+"tea").Val(), c.PTTL(t.Context(), "n:"+at+"tea").Val()
	if value < 59*time.Minute || value > time.Hour || number != -1 {
		t.Fatalf("the value lives for %v and its number for %v, want an hour and for ever", value, number)
	}
}

// TestServerErrors: while the server cannot, all waits; nothing of a batch is set
// then, and all of it later.
func TestServerErrors(t *testing.T) {
	server := servers.Start(t, servers.Redis, servers.Config{})
	s := newSender(t, redisset.Target{Addr: server.Addr, Timeout: 300 * time.Millisecond})
	c := admin(t, server.Addr)
	batch := []rollcall.Message{message("a", 2, "two"), message("b", 2, "two")}
	wantAll := func(surely bool, parts ...string) {
		t.Helper()
		for _, r := range publish(t, s, batch...) {
			wantUnsettled(t, r, surely, parts...)
		}
	}
	wantStored(t, s, message("a", 1, "one"))
	must(t, c.ConfigSet(t.Context(), "maxmemory", "1").Err())
	wantAll(true, "OOM", "maxmemory", "nothing was set")
	wantValue(t, c, "a", "one")
	must(t, c.ConfigSet(t.Context(), "maxmemory", "0").Err())

	must(t, c.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err())
	wantAll(true, "READONLY", "name the master")
	must(t, c.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	wantValue(t, c, "a", "one")

	must(t, server.Pause())
	wantAll(false, "may have been set")
	must(t, server.Resume())
	must(t, server.Kill())
	eventually(t, "the dead connections to be noticed", func() bool { return errors.Is(publish(t, s, batch...)[0].Err, rollcall.ErrTryAgain) })
	wantAll(true, "no connection", "is it up")
	must(t, server.Restart())
	eventually(t, "the server to be found again", func() bool { return publish(t, s, batch...)[1].Fate == rollcall.Stored })
	c = admin(t, server.Addr)
	wantValue(t, c, "a", "two")
	wantValue(t, c, "b", "two")

	must(t, c.ConfigSet(t.Context(), "requirepass", "right").Err())
	open := newSender(t, redisset.Target{Addr: server.Addr})
	wantUnsettled(t, publish(t, open, batch[0])[0], true, "NOAUTH", "set Target.Password")
	wantUnsettled(t, publish(t, open, batch...)[0], true, "unauthenticated", "set Target.Password")
	locked := newSender(t, redisset.Target{Addr: server.Addr, Password: "wrong"})
	wantUnsettled(t, publish(t, locked, batch...)[0], true, "WRONGPASS", "Target.User")
	wantUnsettled(t, s.Publish(t.Context(), "redis:other", batch)[0], true, `"redis:other"`, "add it")
}

// elsewhere is a sender that takes all, and absorbs no second copy.
type elsewhere struct{ rollcall.Sender }

func (elsewhere) Publish(_ context.Context, _ string, messages []rollcall.Message) []rollcall.PublishResult {
	results := make([]rollcall.PublishResult, len(messages))
	for i := range results {
		results[i].Fate = rollcall.Stored
	}
	return results
}

func (elsewhere) Unrepeatable(string) bool { return true }

// TestElse: other destinations are the other sender's, with what it says of them.
func TestElse(t *testing.T) {
	s, err := redisset.New(map[string]redisset.Target{"cache": {Addr: "127.0.0.1:1"}}, redisset.Config{Else: elsewhere{}})
	must(t, err)
	defer func() { _ = s.Close(t.Context()) }()
	if got := s.Publish(t.Context(), "http:bank", []rollcall.Message{{}}); got[0].Fate != rollcall.Stored || !s.Unrepeatable("http:bank") {
		t.Fatalf("%v, want it stored elsewhere, once", got)
	}
	if got := s.Publish(t.Context(), "redis:cache", []rollcall.Message{message("k", 1, "v")}); got[0].Fate == rollcall.Stored || s.Unrepeatable("redis:cache") {
		t.Fatalf("%v, want it here, repeatable", got)
	}
}

// TestConfig: each with the field, the value and what to do.
func TestConfig(t *testing.T) {
	for field, target := range map[string]redisset.Target{
		"Addr":     {},
		"TTL":      {Addr: "a:1", TTL: -1},
		"Remember": {Addr: "a:1", Remember: time.Microsecond},
		"Timeout":  {Addr: "a:1", Timeout: -1},
	} {
		if _, err := redisset.New(map[string]redisset.Target{"cache": target}, redisset.Config{}); !errors.Is(err, rollcall.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", field, err)
		} else {
			wantParts(t, err, `"cache"`, field)
		}
	}
}
