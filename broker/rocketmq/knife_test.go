//go:build linux

package rocketmq_test

import (
	"context"
	"net"
	"sync/atomic"
)

// knife cuts the first connection that it opens after so many bytes, either way.
type knife struct {
	left int
	used atomic.Bool
	cut  atomic.Bool
}

func (k *knife) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || k.used.Swap(true) {
		return c, err
	}
	limited := &limitedConn{Conn: c, knife: k}
	limited.left.Store(int64(k.left))
	return limited, nil
}

type limitedConn struct {
	net.Conn
	knife *knife
	left  atomic.Int64
}

// spend says how many of n bytes still go through.
func (c *limitedConn) spend(n int) int {
	if left := c.left.Add(-int64(n)); left < 0 {
		return max(0, n+int(left))
	}
	return n
}

func (c *limitedConn) Write(b []byte) (int, error) {
	n := c.spend(len(b))
	if n == len(b) {
		return c.Conn.Write(b)
	}
	_, _ = c.Conn.Write(b[:n])
	c.end()
	return n, net.ErrClosed
}

func (c *limitedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if passed := c.spend(n); passed < n {
		c.end()
		return passed, net.ErrClosed
	}
	return n, err
}

func (c *limitedConn) end() {
	c.knife.cut.Store(true)
	_ = c.Conn.Close()
}
