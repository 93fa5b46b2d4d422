package rabbitmq

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Cluster is a connection to a RabbitMQ cluster. It is safe for concurrent use.
type Cluster struct {
	addresses     []string
	config        Config
	version, name string
	asking        *link // questions: on a connection that never publishes, and so is never blocked

	mu       sync.Mutex
	good     int // address that answered last
	links    map[*link]bool
	warned   map[string]bool
	declared map[string]Queue // here, by name
}

// Open connects to one of these addresses (host:port), tried in turn. The error says
// what was tried, and is ErrConfig when the configuration cannot work.
func Open(ctx context.Context, addresses []string, config Config) (*Cluster, error) {
	config = config.withDefaults()
	if err := config.check(addresses); err != nil {
		return nil, err
	}
	c := &Cluster{addresses: slices.Clone(addresses), config: config, links: make(map[*link]bool), warned: make(map[string]bool), declared: make(map[string]Queue)}
	c.asking = c.link("asks")
	w, err := c.asking.get(ctx)
	if err != nil {
		return nil, err
	}
	c.version, _ = w.Properties["version"].(string)
	c.name, _ = w.Properties["cluster_name"].(string)
	c.exposed()
	return c, nil
}

// exposed warns of a password that travels in the clear.
func (c *Cluster) exposed() {
	for _, a := range c.addresses {
		host, _, _ := net.SplitHostPort(a)
		if ip := net.ParseIP(host); c.config.TLS == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			c.warn("the password travels to %s unencrypted: set TLS", a)
		}
	}
}

// Version of the broker.
func (c *Cluster) Version() string { return c.version }

// major version of the broker; 0 if it does not say.
func (c *Cluster) major() int {
	text, _, _ := strings.Cut(c.version, ".")
	n, _ := strconv.Atoi(text)
	return n
}

// Close gives up all connections: senders, sources and subscriptions end with it.
func (c *Cluster) Close() {
	c.mu.Lock()
	links := c.links
	c.links = make(map[*link]bool)
	c.mu.Unlock()
	var all sync.WaitGroup
	for l := range links {
		all.Go(l.close)
	}
	all.Wait()
}

// link makes one more connection, which is not open yet.
func (c *Cluster) link(purpose string) *link {
	l := newLink(c, purpose)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links[l] = true
	return l
}

// unlink closes one.
func (c *Cluster) unlink(l *link) {
	c.mu.Lock()
	delete(c.links, l)
	c.mu.Unlock()
	l.close()
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

// ask does something on a channel of its own, which an error of the broker closes.
func (c *Cluster) ask(ctx context.Context, what func(ch *amqp.Channel) error) error {
	ch, _, err := c.asking.channel(ctx)
	if err != nil {
		return err
	}
	_, err = within(ctx, func() (struct{}, error) {
		defer func() { _ = ch.Close() }()
		return struct{}{}, what(ch)
	})
	return err
}

// ready is how many messages of a queue wait. ErrNoDestination if there is no such queue.
func (c *Cluster) ready(ctx context.Context, queue string) (n int, err error) {
	err = c.ask(ctx, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		n = q.Messages
		return err
	})
	if err != nil {
		return 0, denied(fmt.Errorf("rabbitmq: queue %q: %w", queue, err))
	}
	return n, nil
}
