package rocketmq

import (
	"context"
	"fmt"
	"slices"
	"sync"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
)

// Cluster is a connection to a RocketMQ cluster. It is safe for concurrent use.
type Cluster struct {
	config  Config
	access  *link    // what Open was given
	sending *session // of all senders

	mu     sync.Mutex
	links  map[string]*link // by addresses
	routes map[string]*route
	warned map[string]bool
	closed bool
}

// Open connects to the proxies at these endpoints (host:port), which must be alike. It
// returns when one of them has answered: the error says what was tried, and is ErrConfig
// when the configuration cannot work.
func Open(ctx context.Context, endpoints []string, config Config) (*Cluster, error) {
	if err := config.check(endpoints); err != nil {
		return nil, err
	}
	c := &Cluster{config: config.withDefaults(), links: make(map[string]*link), routes: make(map[string]*route), warned: make(map[string]bool)}
	var err error
	if c.access, err = c.link(endpointsOf(slices.Clone(endpoints))); err != nil {
		return nil, err
	}
	c.sending = c.session(v2.ClientType_PRODUCER, publishing(nil))
	c.sending.orphan = c.orphan
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	if err := c.sending.stream(c.access).wait(ctx); err != nil {
		c.Close()
		next := "is this the gRPC port of a proxy, is it up, and does it speak TLS? (if not: plaintext)"
		if lasts(err) {
			next = "trying again is of no use"
		}
		return nil, fmt.Errorf("rocketmq: no connection: %w; nothing was sent or read; %s", err, next)
	}
	return c, nil
}

// link to these addresses, made when it is first asked for.
func (c *Cluster) link(endpoints *v2.Endpoints) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, rollcall.ErrClosed
	}
	l, err := c.config.connect(endpoints)
	if err != nil {
		return nil, configError("endpoints", endpoints, err.Error())
	}
	if known := c.links[l.name]; known != nil {
		_ = l.conn.Close()
		return known, nil
	}
	c.links[l.name] = l
	return l, nil
}

// Close gives up the connections. Senders and sources of the cluster end with it, and so
// do subscriptions that were not closed before.
func (c *Cluster) Close() {
	c.sending.close(context.Background())
	c.mu.Lock()
	c.closed = true
	links := c.links
	c.links = nil
	c.mu.Unlock()
	for _, l := range links {
		_ = l.conn.Close()
	}
}

// resource is a name in the namespace.
func (c *Cluster) resource(name string) *v2.Resource {
	return &v2.Resource{ResourceNamespace: c.config.Namespace, Name: name}
}

// warn says a thing once.
func (c *Cluster) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.mu.Lock()
	again := c.warned[text]
	c.warned[text] = true
	c.mu.Unlock()
	if !again {
		c.config.Warn(text)
	}
}
