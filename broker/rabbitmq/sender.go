package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// Sender is the sending half, with a connection of its own. It is safe for concurrent
// use.
type Sender struct {
	cluster *Cluster
	link    *link
	alive   context.Context
	stop    context.CancelFunc

	mu    sync.Mutex
	pipes map[string]*pipe // by exchange, so that a bad one spoils no other
	known map[route]bool   // found there, and not missed since
}

var _ rollcall.Sender = (*Sender)(nil)

// Sender with one more connection to the cluster, opened when it is needed.
func (c *Cluster) Sender() *Sender {
	s := &Sender{cluster: c, link: c.link("sends"), pipes: make(map[string]*pipe), known: make(map[route]bool)}
	s.alive, s.stop = context.WithCancel(context.Background())
	return s
}

// Capabilities is what RabbitMQ can do. A sender is not told where a message lies.
func (s *Sender) Capabilities() rollcall.Capabilities {
	can := s.cluster.capabilities()
	can.SettleOne = true
	return can
}

func (c *Cluster) capabilities() rollcall.Capabilities {
	return rollcall.Capabilities{Broker: "rabbitmq", Version: c.version, MaxBytes: c.config.MaxBytes}
}

// Lanes of a destination: one.
func (s *Sender) Lanes(ctx context.Context, destination string) (rollcall.Lanes, error) {
	r, err := parse(destination)
	if err != nil {
		return nil, err
	}
	if err := s.cluster.exists(ctx, r); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.known[r] = true
	s.mu.Unlock()
	return lane{r}, nil
}

// Publish sends each message and waits for the broker's confirm. Stored: a queue has it,
// as durable as the queue is. Refused: no queue takes it, or the queue said no, or it is
// too large. What has no answer when ctx ends, or when the channel died, is Unknown;
// what was not even written is rollcall.ErrTryAgain.
func (s *Sender) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	c := newCall(ctx, messages)
	r, err := parse(destination)
	if err == nil {
		err = s.ready(ctx, destination, r)
	}
	if err != nil {
		for i := range messages {
			c.finish(i, rollcall.PublishResult{Err: fmt.Errorf("%w: %w", rollcall.ErrTryAgain, err)})
		}
		return c.results
	}
	c.route = r
	for i := range messages {
		if err := c.pack(i, &messages[i], s.cluster.config.MaxBytes); err != nil {
			c.finish(i, rollcall.PublishResult{Fate: rollcall.Refused, Err: err})
		}
	}
	select {
	case s.pipe(r.exchange).calls <- c:
	case <-ctx.Done():
	case <-s.alive.Done():
		c.end(rollcall.ErrClosed)
	}
	return s.again(ctx, r, c.wait())
}

// errNoRoute: the broker gave the message back.
var errNoRoute = errors.New("no queue takes it")

// again: a queue that is there but away for now takes nothing, and nothing of what came
// back is stored. It may be tried again, where a queue that is not there may not.
func (s *Sender) again(ctx context.Context, r route, results []rollcall.PublishResult) []rollcall.PublishResult {
	cameBack := func(x rollcall.PublishResult) bool { return errors.Is(x.Err, errNoRoute) }
	if r.exchange != "" || !slices.ContainsFunc(results, cameBack) {
		return results
	}
	_, err := s.cluster.ready(ctx, r.key)
	if errors.Is(err, rollcall.ErrNoDestination) {
		return results
	}
	for i, x := range results {
		if cameBack(x) {
			results[i] = rollcall.PublishResult{Err: fmt.Errorf("%w: rabbitmq: queue %q takes nothing for now, it is there or may be: %w", rollcall.ErrTryAgain, r.key, errors.Join(errNoRoute, err))}
		}
	}
	return results
}

// ready refuses what cannot even begin: surely nothing was sent.
func (s *Sender) ready(ctx context.Context, destination string, r route) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.alive.Err() != nil {
		return rollcall.ErrClosed
	}
	s.mu.Lock()
	known := s.known[r]
	s.mu.Unlock()
	if known {
		return nil
	}
	_, err := s.Lanes(ctx, destination)
	return err
}

// missed makes the next Publish ask again whether there is such an exchange.
func (s *Sender) missed(exchange string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.known {
		if r.exchange == exchange {
			delete(s.known, r)
		}
	}
}

func (s *Sender) pipe(exchange string) *pipe {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pipes[exchange]
	if p == nil {
		p = &pipe{sender: s, exchange: exchange, calls: make(chan *call)}
		s.pipes[exchange] = p
		go p.run()
	}
	return p
}

// Close gives up the connection. What is in flight becomes Unknown.
func (s *Sender) Close(context.Context) error {
	s.stop()
	s.cluster.unlink(s.link)
	return nil
}

// call is one Publish.
type call struct {
	ctx      context.Context
	route    route
	packed   []amqp.Publishing
	messages []rollcall.Message

	mu      sync.Mutex
	results []rollcall.PublishResult
	settled []bool
	written []bool // its bytes may have gone out
	open    int
	over    bool // the caller has been told: what comes later is nobody's
	done    chan struct{}
}

func newCall(ctx context.Context, messages []rollcall.Message) *call {
	n := len(messages)
	c := &call{ctx: ctx, messages: messages, packed: make([]amqp.Publishing, n), results: make([]rollcall.PublishResult, n),
		settled: make([]bool, n), written: make([]bool, n), open: n, done: make(chan struct{})}
	if n == 0 {
		close(c.done)
	}
	return c
}

func (c *call) pack(i int, m *rollcall.Message, most int) (err error) {
	if size := m.Size(); size > most {
		return fmt.Errorf("%w: message %q takes %d bytes with its headers, the limit is %d (Config.MaxBytes, max_message_size)", rollcall.ErrTooLarge, m.ID, size, most)
	}
	if m.Partition != 0 {
		return fmt.Errorf("%w: a destination of RabbitMQ has one lane, and the message %q is for number %d", rollcall.ErrNoDestination, m.ID, m.Partition)
	}
	c.packed[i], err = envelope(m)
	return err
}

// begin says whether a message is still to be written.
func (c *call) begin(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.settled[i] {
		return false
	}
	c.written[i] = true
	return true
}

// unwritten: nothing of it went out after all.
func (c *call) unwritten(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written[i] = false
}

func (c *call) finish(i int, r rollcall.PublishResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.settled[i] {
		return
	}
	c.results[i], c.settled[i] = r, true
	if c.open--; c.open == 0 {
		close(c.done)
	}
}

// end gives up what has no fate yet.
func (c *call) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.open == 0 {
		return
	}
	c.over = true
	for i := range c.results {
		switch {
		case c.settled[i]:
		case c.written[i]:
			c.results[i].Err = fmt.Errorf("rabbitmq: %q: no confirm, it may be stored: %w", c.route.name(), why)
		default:
			c.results[i].Err = fmt.Errorf("%w: rabbitmq: %q: not written: %w", rollcall.ErrTryAgain, c.route.name(), why)
		}
	}
	close(c.done)
}

// name is the route's, for people.
func (r route) name() string {
	if r.exchange == "" {
		return r.key
	}
	return exchangePrefix + r.exchange + ":" + r.key
}

func (c *call) wait() []rollcall.PublishResult {
	select {
	case <-c.done:
	case <-c.ctx.Done():
		c.end(context.Cause(c.ctx))
	}
	return c.results
}
