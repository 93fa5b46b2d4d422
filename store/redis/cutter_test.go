//go:build linux

package redis_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/redis"
)

// cutter is a TCP link to a server that can lose replies: the request gets
// there, its answer does not come back, the connection ends.
type cutter struct {
	addr  string
	lose  atomic.Int32 // how many replies to lose
	lost  atomic.Int32
	dials atomic.Int32
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := &cutter{addr: l.Addr().String()}
	var wait sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wait.Wait()
	})
	wait.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			c.dials.Add(1)
			far, err := net.Dial("tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			wait.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			wait.Go(func() { c.replies(near, far); _ = near.Close() })
		}
	})
	return c
}

func (c *cutter) replies(near, far net.Conn) {
	for buffer := make([]byte, 1<<16); ; {
		n, err := far.Read(buffer)
		if err != nil {
			return
		}
		if c.lose.Load() > 0 {
			c.lose.Add(-1)
			c.lost.Add(1)
			return
		}
		if _, err := near.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestLostReply: a claim whose reply is lost is recognised as our own, under
// the token that it was given; nobody else gets the key.
func TestLostReply(t *testing.T) {
	server := servers.Shared(t, servers.Redis)
	link := newCutter(t, server.Addr)
	s, other := open(t, redis.Config{Addr: link.addr, Prefix: prefix(t)}), open(t, redis.Config{Addr: server.Addr, Prefix: prefix(t)})
	// Once the scripts are known and there is a connection, a request is one
	// message: so what is lost is the answer to it.
	must(t, s.Complete(t.Context(), group, key(0), wantFresh(t, s, key(0)), nil, time.Hour))
	loseOne := func() {
		wantState(t, s, key(0), rollcall.ClaimDone)
		link.lose.Store(1)
	}

	loseOne()
	before := link.dials.Load()
	token := wantFresh(t, s, key(1))
	if link.lost.Load() != 1 || link.dials.Load() != before+1 {
		t.Fatalf("%d replies lost, %d new connections: want one each", link.lost.Load(), link.dials.Load()-before)
	}
	stored, err := admin(t, server.Addr).HGet(t.Context(), prefix(t)+":{billing}:30303030303030303030303030303031", "token").Uint64()
	must(t, err)
	if stored != uint64(token) {
		t.Fatalf("token %d, the key has %d", token, stored)
	}
	wantState(t, other, key(1), rollcall.ClaimInProgress)
	must(t, s.Renew(t.Context(), group, key(1), token, time.Minute))

	// Of a key that another holds, the repeated question says so.
	wantFresh(t, other, key(2))
	loseOne()
	wantState(t, s, key(2), rollcall.ClaimInProgress)

	// A completion is the caller's to repeat, and then it is no error.
	loseOne()
	if err := s.Complete(t.Context(), group, key(1), token, []byte("paid"), time.Hour); !errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("%v, want it in doubt", err)
	}
	must(t, s.Complete(t.Context(), group, key(1), token, []byte("paid again"), time.Hour))
	if got, err := other.Claim(t.Context(), group, key(1), time.Minute); err != nil || string(got.Result) != "paid" {
		t.Fatalf("%+v %v, want the first result", got, err)
	}
}

// TestLostTwice: lost again, it is in doubt, never Fresh. Nobody knows the
// token then: the key is in progress until the lease is over.
func TestLostTwice(t *testing.T) {
	server := servers.Shared(t, servers.Redis)
	link := newCutter(t, server.Addr)
	s := open(t, redis.Config{Addr: link.addr, Prefix: prefix(t)})
	wantFresh(t, s, key(0))
	link.lose.Store(2)
	if got, err := s.Claim(t.Context(), group, key(1), time.Minute); !errors.Is(err, rollcall.ErrInDoubt) || got.Token != 0 {
		t.Fatalf("%+v %v, want it in doubt", got, err)
	}
	wantState(t, s, key(1), rollcall.ClaimInProgress)
	pass(t, admin(t, server.Addr), prefix(t), time.Minute)
	wantFresh(t, s, key(1))
}
