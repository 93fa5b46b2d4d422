package kafkaproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// most is the size of the largest frame that is passed on: Kafka's own limit of
// a request.
const most = 100 << 20

// link is one client's connection, and the one to the broker made for it.
type link struct {
	proxy          *Proxy
	client, broker net.Conn
	over           chan struct{} // closed when it is cut
	once           sync.Once

	mu   sync.Mutex
	open map[int32]int16 // the kinds of requests without an answer, by number
}

// accept links clients until the listener is closed.
func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	broker, err := net.DialTimeout("tcp", p.Broker, 5*time.Second)
	if err != nil { // no broker, no connection
		_ = client.Close()
		return
	}
	l := &link{proxy: p, client: client, broker: broker, over: make(chan struct{}), open: make(map[int32]int16)}
	p.change(func() {
		p.links[l] = true
		if p.refuse {
			l.cut()
		}
	})
	var both sync.WaitGroup
	both.Go(func() { l.pass(client, broker, l.request) })
	both.Go(func() { l.pass(broker, client, l.answer) })
	both.Wait()
	p.change(func() { delete(p.links, l) })
}

func (l *link) cut() {
	l.once.Do(func() {
		close(l.over)
		_ = l.client.Close()
		_ = l.broker.Close()
	})
}

// pass reads frames, shows each, and passes it on, until one side is closed or
// the frame is not to go on.
func (l *link) pass(from, to net.Conn, show func(frame []byte) error) {
	defer l.cut()
	for {
		frame := make([]byte, 4)
		if _, err := io.ReadFull(from, frame); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(frame)
		if size < 4 || size > most {
			return
		}
		frame = append(frame, make([]byte, size)...)
		if _, err := io.ReadFull(from, frame[4:]); err != nil {
			return
		}
		if show(frame[4:]) != nil {
			return
		}
		if _, err := to.Write(frame); err != nil {
			return
		}
	}
}

// request notes the kind of a request: key, version and number stand first in
// every one.
func (l *link) request(body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("a request of %d bytes", len(body))
	}
	r := Request{
		Key:         int16(binary.BigEndian.Uint16(body)),
		Version:     int16(binary.BigEndian.Uint16(body[2:])),
		Correlation: int32(binary.BigEndian.Uint32(body[4:])),
	}
	l.mu.Lock()
	l.open[r.Correlation] = r.Key
	l.mu.Unlock()
	l.proxy.change(func() { l.proxy.requests = append(l.proxy.requests, r) })
	return nil
}

var errCut = errors.New("cut")

// answer does to an answer what the rules for its request say.
func (l *link) answer(body []byte) error {
	number := int32(binary.BigEndian.Uint32(body))
	l.mu.Lock()
	key, known := l.open[number]
	delete(l.open, number)
	l.mu.Unlock()
	if !known { // nobody asked: it goes on
		return nil
	}
	delay, drop := l.proxy.rule(key)
	if drop {
		return errCut
	}
	select {
	case <-time.After(delay):
	case <-l.over:
		return errCut
	}
	return l.held(key)
}

// rule is what is to be done to an answer; a drop is counted.
func (p *Proxy) rule(key int16) (delay time.Duration, drop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drops[key] == 0 {
		return p.delays[key], false
	}
	p.drops[key]--
	p.dropped++
	return 0, true
}

// held waits as long as answers of the kind are held.
func (l *link) held(key int16) error {
	for {
		l.proxy.mu.Lock()
		held, changed := l.proxy.holds[key], l.proxy.changed
		l.proxy.mu.Unlock()
		if !held {
			return nil
		}
		select {
		case <-changed:
		case <-l.over:
			return errCut
		}
	}
}
