package rabbitmq

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/backoff"
)

// link is a connection that is opened when it is needed, and again when it died.
type link struct {
	cluster *Cluster
	purpose string

	dialing chan struct{} // holds a token while nobody dials
	mu      sync.Mutex
	wire    *wire
	tries   int       // that failed since the last that did not
	last    time.Time // when the last one failed
	closed  bool
}

// wire is one open connection.
type wire struct {
	*amqp.Connection
	raw net.Conn

	mu      sync.Mutex
	blocked chan struct{} // closed when the broker takes messages again; nil: it does
	why     string
}

func newLink(c *Cluster, purpose string) *link {
	l := &link{cluster: c, purpose: purpose, dialing: make(chan struct{}, 1)}
	l.dialing <- struct{}{}
	return l
}

// get the open connection, or try once to open one. Tries are spread out.
func (l *link) get(ctx context.Context) (*wire, error) {
	select {
	case <-l.dialing:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { l.dialing <- struct{}{} }()
	l.mu.Lock()
	w, closed, tries, last := l.wire, l.closed, l.tries, l.last
	l.mu.Unlock()
	switch {
	case closed:
		return nil, rollcall.ErrClosed
	case w != nil && !w.IsClosed():
		return w, nil
	case tries > 0:
		if err := sleep(ctx, backoff.Delay(tries-1, againFirst, againMost)-time.Since(last)); err != nil {
			return nil, err
		}
	}
	w, err := l.cluster.dial(ctx, l.purpose)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.tries, l.last = l.tries+1, time.Now()
		return nil, err
	}
	if l.closed {
		go w.close()
		return nil, rollcall.ErrClosed
	}
	l.wire, l.tries = w, 0
	return w, nil
}

// close ends it for good.
func (l *link) close() {
	l.mu.Lock()
	w := l.wire
	l.closed, l.wire = true, nil
	l.mu.Unlock()
	if w != nil {
		w.close()
	}
}

// channel opens one on the connection.
func (l *link) channel(ctx context.Context) (*amqp.Channel, *wire, error) {
	w, err := l.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	ch, err := within(ctx, w.Channel)
	if err != nil {
		return nil, nil, fmt.Errorf("rabbitmq: a channel: %w", err)
	}
	return ch, w, nil
}

// within calls what knows no context. At the end of ctx it goes on alone.
func within[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		v, err := call()
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dial tries the addresses in turn, the one that answered last first.
func (c *Cluster) dial(ctx context.Context, purpose string) (*wire, error) {
	c.mu.Lock()
	first := c.good
	c.mu.Unlock()
	var failed error
	for i := range c.addresses {
		n := (first + i) % len(c.addresses)
		w, err := c.open(ctx, c.addresses[n], purpose)
		if err == nil {
			c.mu.Lock()
			c.good = n
			c.mu.Unlock()
			return w, nil
		}
		if failed = c.config.unopened(c.addresses[n], err); ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// open one connection.
func (c *Cluster) open(ctx context.Context, addr, purpose string) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	raw, err := c.config.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })() // the handshake knows no context
	conn := raw
	if c.config.TLS != nil {
		if conn, err = c.config.encrypt(ctx, raw, addr); err != nil {
			_ = raw.Close()
			return nil, err
		}
	}
	properties := amqp.NewConnectionProperties()
	properties["connection_name"] = c.config.Name + " " + purpose
	opened, err := amqp.Open(conn, amqp.Config{
		SASL: []amqp.Authentication{c.config.sasl()}, Vhost: c.config.VirtualHost, Heartbeat: heartbeat,
		FrameSize: frameMax, Locale: "en_US", Properties: properties, // Recovery stays nil: off
	})
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	w := &wire{Connection: opened, raw: raw}
	go w.watch(opened.NotifyBlocked(make(chan amqp.Blocking, 16)))
	return w, nil
}

// dialPatience is how long one address may take.
const dialPatience = 10 * time.Second

// frameMax is the largest frame: properties and headers of a message must fit into one.
const frameMax = 128 << 10

func (c Config) encrypt(ctx context.Context, raw net.Conn, addr string) (net.Conn, error) {
	secure := c.TLS.Clone()
	if secure.ServerName == "" {
		secure.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secure.MinVersion = max(secure.MinVersion, tls.VersionTLS12)
	conn := tls.Client(raw, secure)
	return conn, conn.HandshakeContext(ctx)
}

func (c Config) sasl() amqp.Authentication {
	if c.External {
		return &amqp.ExternalAuth{}
	}
	return &amqp.PlainAuth{Username: c.User, Password: c.Password}
}

// watch hears whether the broker takes messages: it does not while it is short of memory
// or disk.
func (w *wire) watch(news <-chan amqp.Blocking) {
	for b := range news {
		w.mu.Lock()
		switch {
		case b.Active && w.blocked == nil:
			w.blocked, w.why = make(chan struct{}), b.Reason
		case !b.Active && w.blocked != nil:
			close(w.blocked)
			w.blocked = nil
		}
		w.mu.Unlock()
	}
	w.mu.Lock() // it is closed: who waits shall see it
	defer w.mu.Unlock()
	if w.blocked != nil {
		close(w.blocked)
		w.blocked = nil
	}
}

// isBlocked says that the broker takes no messages now.
func (w *wire) isBlocked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blocked != nil
}

// unblocked waits until the broker takes messages.
func (w *wire) unblocked(ctx context.Context) error {
	w.mu.Lock()
	blocked, why := w.blocked, w.why
	w.mu.Unlock()
	if blocked == nil {
		return nil
	}
	select {
	case <-blocked:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("rabbitmq: the broker takes no messages now (%s): %w; see its memory and disk alarms", why, context.Cause(ctx))
	}
}

// close in order if the broker answers soon.
func (w *wire) close() {
	_ = w.CloseDeadline(time.Now().Add(closePatience))
	_ = w.raw.Close()
}

// closePatience is how long a broker may take to say goodbye.
const closePatience = 2 * time.Second
