// Package kafkaproxy stands between Kafka clients and one broker in a test, and
// does to their connections what a network does: it loses the answer to a
// request that the broker has carried out, holds answers, cuts connections.
//
// It passes frames on unread but for the heads of requests, so it changes no
// address in an answer: the client dials through [Dialer], which knows which
// broker stands behind which proxy.
//
//	proxy := kafkaproxy.Start(t, broker)
//	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.Dialer(kafkaproxy.Dialer(proxy)))
//	proxy.Drop(kafkaproxy.Produce, 1) // the next Produce arrives; its answer does not
package kafkaproxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// The numbers of requests that tests ask for; the protocol has more.
const (
	Produce, Fetch, ListOffsets, Metadata       int16 = 0, 1, 2, 3
	OffsetCommit, OffsetFetch, FindCoordinator  int16 = 8, 9, 10
	JoinGroup, Heartbeat, LeaveGroup, SyncGroup int16 = 11, 12, 13, 14
	APIVersions, CreateTopics, InitProducerID   int16 = 18, 19, 22
	AddPartitionsToTxn, AddOffsetsToTxn, EndTxn int16 = 24, 25, 26
	TxnOffsetCommit, ConsumerGroupHeartbeat     int16 = 28, 68
)

// Request is one that came through, in the order in which they came.
type Request struct {
	// Key is the number of its kind.
	Key int16
	// Version of the kind.
	Version int16
	// Correlation is the number that the answer has, too.
	Correlation int32
}

// Proxy passes on what clients and one broker say. Its methods may be called at
// any time, by any goroutine.
type Proxy struct {
	// Broker is the address of the broker behind it.
	Broker string
	// Addr is the proxy's own, 127.0.0.1:port.
	Addr string

	listener net.Listener
	done     sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed, and made anew, when a rule or count changes
	links    map[*link]bool
	drops    map[int16]int
	holds    map[int16]bool
	delays   map[int16]time.Duration
	refuse   bool
	dropped  int
	requests []Request
}

// Start puts a proxy in front of the broker at the address, and ends it after
// the test.
func Start(t testing.TB, broker string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("a proxy for %s: %v", broker, err)
	}
	p := &Proxy{
		Broker: broker, Addr: listener.Addr().String(), listener: listener, changed: make(chan struct{}),
		links: make(map[*link]bool), drops: make(map[int16]int), holds: make(map[int16]bool), delays: make(map[int16]time.Duration),
	}
	p.done.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Refuse()
		p.done.Wait()
	})
	return p
}

// Dialer is for clients: it dials the proxy instead of the broker behind it,
// and every other address as it is.
func Dialer(proxies ...*Proxy) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		for _, p := range proxies {
			if p.Broker == addr {
				addr = p.Addr
			}
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// Drop loses the answers to the next n requests of the kind: the broker gets
// and carries out each, and when its answer is there the connection is cut
// instead.
func (p *Proxy) Drop(key int16, n int) {
	p.change(func() { p.drops[key] = n })
}

// Dropped counts the answers that were lost by Drop.
func (p *Proxy) Dropped() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}

// Hold keeps back the answers to requests of the kind from now on, and those
// behind them on the same connection, until Release or Cut.
func (p *Proxy) Hold(key int16) {
	p.change(func() { p.holds[key] = true })
}

// Release lets the held answers of the kind go on.
func (p *Proxy) Release(key int16) {
	p.change(func() { delete(p.holds, key) })
}

// Delay lets every answer to a request of the kind wait for so long from now
// on; 0 ends it.
func (p *Proxy) Delay(key int16, by time.Duration) {
	p.change(func() { p.delays[key] = by })
}

// Cut ends all connections that there are. Clients can dial again.
func (p *Proxy) Cut() {
	p.change(func() {
		for l := range p.links {
			l.cut()
		}
	})
}

// Refuse ends all connections, and each new one at once, until Accept: the
// broker cannot be reached through this proxy.
func (p *Proxy) Refuse() {
	p.change(func() { p.refuse = true })
	p.Cut()
}

// Accept ends what Refuse began.
func (p *Proxy) Accept() {
	p.change(func() { p.refuse = false })
}

// Requests are those that came through so far.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Request(nil), p.requests...)
}

// Wait returns when n requests of the kind have come through since the start,
// or says what it waited for.
func (p *Proxy) Wait(ctx context.Context, key int16, n int) error {
	for {
		p.mu.Lock()
		seen, changed := 0, p.changed
		for _, r := range p.requests {
			if r.Key == key {
				seen++
			}
		}
		p.mu.Unlock()
		if seen >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waited for %d requests %d to %s, saw %d: %w", n, key, p.Broker, seen, ctx.Err())
		}
	}
}

// change does something under the lock, and wakes all who wait for a change.
func (p *Proxy) change(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
	close(p.changed)
	p.changed = make(chan struct{})
}
