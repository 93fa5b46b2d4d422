package storetest

import (
	"context"
	"net"
	"sync"
	"time"
)

// Wire is the connections of one store to its server, for drivers that let
// themselves be given a dialer: they can be cut as when the process dies, and a
// COMMIT can be held up with its answer lost.
type Wire struct {
	mu    sync.Mutex
	conns map[*wireConn]bool
	late  func(written []byte) bool
}

// Dial opens a connection.
func (w *Wire) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns == nil {
		w.conns = make(map[*wireConn]bool)
	}
	wired := &wireConn{Conn: c, wire: w}
	w.conns[wired] = true
	return wired, nil
}

// Cut ends every connection.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Conn.Close()
	}
	w.conns = nil
}

// Late holds up, once, the next write that match accepts: the client sees its
// connection end, the server gets what was written a moment later.
func (w *Wire) Late(match func(written []byte) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = match
}

// lateness is how much later the server gets a held up COMMIT.
const lateness = 200 * time.Millisecond

type wireConn struct {
	net.Conn
	wire *Wire
	mu   sync.Mutex
	held bool
	kept []byte // written since it is held up
}

func (c *wireConn) Write(b []byte) (int, error) {
	c.wire.mu.Lock()
	late := c.wire.late != nil && c.wire.late(b)
	if late {
		c.wire.late = nil
	}
	c.wire.mu.Unlock()
	c.mu.Lock()
	if !late && !c.held {
		c.mu.Unlock()
		return c.Conn.Write(b)
	}
	defer c.mu.Unlock()
	c.kept = append(c.kept, b...)
	if late {
		c.held = true
		time.AfterFunc(lateness, c.deliver)
		_ = c.Conn.SetReadDeadline(time.Now()) // wakes whoever reads already
	}
	return len(b), nil
}

// deliver gives the server what was held up, and ends the connection when it
// has read it.
func (c *wireConn) deliver() {
	c.mu.Lock()
	_, _ = c.Conn.Write(c.kept)
	c.mu.Unlock()
	time.Sleep(lateness)
	_ = c.Conn.Close()
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return 0, net.ErrClosed
	}
	return n, err
}

// Close implements net.Conn. One that is held up closes later, and by itself.
func (c *wireConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return nil
	}
	return c.Conn.Close()
}

// SetDeadline implements net.Conn.
func (c *wireConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return nil
	}
	return c.Conn.SetDeadline(t)
}
