package server

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// turn is how much longer a request takes with the network profile.
const turn = 500 * time.Microsecond

// proxy passes bytes on and holds up what comes from clients.
type proxy struct {
	turns    atomic.Int64 // how often a client spoke after it had been answered
	listener net.Listener
	target   string
	mu       sync.Mutex
	conns    []net.Conn
}

func newProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target}
	go p.accept()
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		answered := new(atomic.Bool)
		answered.Store(true)
		go pass(server, client, func() {
			hold(turn)
			if answered.Swap(false) {
				p.turns.Add(1)
			}
		})
		go pass(client, server, func() { answered.Store(true) })
	}
}

// hold waits. It sleeps by the kernel: time.Sleep takes at least a millisecond in
// an idle program.
func hold(d time.Duration) {
	left := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&left, nil)
}

// pass copies until one side ends; before is called before each piece goes on.
func pass(to, from net.Conn, before func()) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 1<<20)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			before()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// turnsOf is the sum of several.
func turnsOf(proxies []*proxy) (n int64) {
	for _, p := range proxies {
		n += p.turns.Load()
	}
	return n
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
}
