//go:build linux

package redis_test

import (
	"net"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/redis"
)

// TestFailover shows what a failover doubles: what the master answered and had
// not yet sent to its replica, however durable the master was. What had come to
// the replica is kept. A sentinel on a busy machine may take its time: it
// trusts nothing for 30 seconds when its own timer was late.
func TestFailover(t *testing.T) {
	master := private(t, nil)
	host, port, err := net.SplitHostPort(master.Addr)
	must(t, err)
	replica := private(t, map[string]string{"replicaof": host + " " + port})
	sentinel := servers.Start(t, servers.Sentinel, servers.Config{Settings: map[string]string{
		"sentinel monitor": "shop " + host + " " + port + " 1", "sentinel down-after-milliseconds": "shop 500",
		"sentinel failover-timeout": "shop 5000",
	}})
	watch := admin(t, sentinel.Addr)
	waitFor(t, 2*time.Minute, "the sentinel to know the replica", func() bool {
		reply, err := watch.Do(t.Context(), "SENTINEL", "REPLICAS", "shop").Slice()
		return err == nil && len(reply) == 1
	})
	s := open(t, redis.Config{Sentinel: redis.Sentinel{Master: "shop", Addrs: []string{sentinel.Addr}}})
	if s.Durability() != redis.DurabilityEvery {
		t.Fatalf("durability %q: the master syncs every claim", s.Durability())
	}

	bare := admin(t, master.Addr)
	kept := wantFresh(t, s, key(1))
	waitFor(t, time.Minute, "the first claim to be replicated", func() bool { return bare.Wait(t.Context(), 1, time.Second).Val() == 1 })
	must(t, replica.Pause())
	must(t, bare.Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err()) // nothing more is on its way to it
	lost := wantFresh(t, s, key(2))
	must(t, s.Complete(t.Context(), group, key(2), lost, []byte("paid"), time.Hour))
	must(t, master.Kill())
	must(t, replica.Resume())

	var again rollcall.Claim
	waitFor(t, 2*time.Minute, "the replica to be promoted", func() bool {
		again, err = s.Claim(t.Context(), group, key(2), time.Minute)
		return err == nil
	})
	if again.State != rollcall.ClaimFresh {
		t.Fatalf("%+v: this test was to show a key that is done twice", again)
	}
	if again.Token <= lost {
		t.Fatalf("token %d after %d: a receiver that compares them must be able to refuse the older one", again.Token, lost)
	}
	t.Logf("key 2 was done under token %d and is fresh again under %d", lost, again.Token)
	if err := s.Complete(t.Context(), group, key(2), lost, nil, time.Hour); !isFenced(err) {
		t.Fatalf("%v, want its first owner fenced", err)
	}
	wantState(t, s, key(1), rollcall.ClaimInProgress)
	must(t, s.Complete(t.Context(), group, key(1), kept, nil, time.Hour))
}
