package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/backoff"
)

// Subscription is one worker of a queue, on a connection of its own.
type Subscription struct {
	source *Source
	link   *link
	owner  rollcall.Owner // of a queue with a single active consumer
	ended  sync.WaitGroup
	alive  context.Context // ends when Close begins
	stop   context.CancelFunc
	cut    context.Context // ends when Close does not wait any longer
	end    context.CancelFunc

	mu       sync.Mutex
	changed  chan struct{}  // closed and made anew when there is more to look at
	token    rollcall.Token // of a shared queue: the worker's own
	sessions uint64
	session  *session // nil while there is none
	restart  *rollcall.Token
	closing  bool  // nothing more is handed over
	trouble  error // what the next Fetch tells
}

var (
	_ rollcall.Subscription = (*Subscription)(nil)
	_ rollcall.Emptier      = (*Subscription)(nil)
)

func (s *Source) subscribe(request rollcall.SubscribeRequest, owner rollcall.Owner) *Subscription {
	sub := &Subscription{source: s, link: s.cluster.link("receives " + s.queue + " as " + request.Group + " " + request.Worker), owner: owner, token: request.Token, changed: make(chan struct{})}
	sub.alive, sub.stop = context.WithCancel(context.Background())
	sub.cut, sub.end = context.WithCancel(context.Background())
	sub.ended.Go(sub.run)
	return sub
}

// run has one channel after the other. What was handed over by one is the broker's again
// when it ends.
func (s *Subscription) run() {
	for try := 0; s.alive.Err() == nil; {
		began := time.Now()
		err := s.serve()
		if s.alive.Err() != nil {
			return
		}
		if err == nil || time.Since(began) > time.Second {
			try = 0
		}
		if err != nil {
			s.tell(err)
			_ = sleep(s.alive, backoff.Delay(try, againFirst, againMost))
			try++
		}
	}
}

// tell the next Fetch what is wrong.
func (s *Subscription) tell(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
	s.wake()
}

// wake a Fetch that waits. The caller holds mu.
func (s *Subscription) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// serve opens a channel and takes what it brings, until it ends. nil: we ended it.
func (s *Subscription) serve() error {
	ch, _, err := s.link.channel(s.alive)
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }()
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	deliveries, err := within(s.alive, func() (<-chan amqp.Delivery, error) {
		if err := ch.Qos(s.source.config.Prefetch, 0, false); err != nil {
			return nil, err
		}
		return ch.Consume(s.source.queue, "", false, false, false, false, s.source.consumeArguments())
	})
	if err != nil {
		return denied(fmt.Errorf("rabbitmq: queue %q: %w", s.source.queue, err))
	}
	n := s.begin(ch)
	for d := range deliveries {
		if err = s.deliver(n, d); err != nil {
			break
		}
	}
	mine := s.over(n)
	switch {
	case err != nil:
		return err
	case mine:
		return nil
	case !ch.IsClosed():
		return s.cancelled()
	}
	return s.died(<-closes)
}

// cancelled: the broker ended the consumer and left the channel open. Mostly the queue
// is gone.
func (s *Subscription) cancelled() error {
	ctx, cancel := context.WithTimeout(s.alive, patience)
	defer cancel()
	if _, err := s.source.cluster.ready(ctx, s.source.queue); err != nil {
		return fmt.Errorf("the broker ended the consumer: %w", err)
	}
	return fmt.Errorf("rabbitmq: queue %q: the broker ended the consumer (the queue has another leader, or was made anew); it is joined again", s.source.queue)
}

// died says why a channel did. It is opened again whatever it was, so nothing of it is
// ErrConfig.
func (s *Subscription) died(why *amqp.Error) error {
	if why == nil {
		why = amqp.ErrClosed
	}
	if why.Code == amqp.PreconditionFailed {
		return fmt.Errorf("rabbitmq: queue %q: the broker closed the channel, what was not settled comes again: %w; if it timed out, raise the broker's consumer_timeout or make the work shorter", s.source.queue, why)
	}
	return fmt.Errorf("rabbitmq: queue %q: the channel died, what was not settled comes again: %w", s.source.queue, why)
}

// consumeArguments: mirrored classic queues of RabbitMQ 3 tell when another mirror
// leads.
func (s *Source) consumeArguments() amqp.Table {
	if s.config.Type == Classic && s.cluster.major() == 3 {
		return amqp.Table{"x-cancel-on-ha-failover": true}
	}
	return nil
}

// begin a session.
func (s *Subscription) begin(ch *amqp.Channel) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions++
	n := &session{number: s.sessions, ch: ch, token: s.token, shared: s.owner == nil || !s.source.config.SingleActive}
	if s.restart != nil { // the owner knows already
		n.token, n.owned, s.restart = *s.restart, true, nil
	}
	s.session = n
	return n
}

// deliver takes one message in. The first one on a single active consumer says that the
// queue is ours.
func (s *Subscription) deliver(n *session, d amqp.Delivery) error {
	s.mu.Lock()
	asks := !n.shared && !n.owned && s.session == n
	s.mu.Unlock()
	if asks {
		starts, err := s.owner.Assigned(s.alive, []rollcall.Assignment{{Partition: s.source.partition()}})
		if err != nil {
			return fmt.Errorf("rabbitmq: queue %q: it was assigned and could not be taken: %w", s.source.queue, err)
		}
		s.mu.Lock()
		ours := s.session == n
		n.owned, n.token = ours, starts[0].Token
		s.mu.Unlock()
		if !ours { // it ended meanwhile
			s.owner.Lost([]rollcall.Partition{s.source.partition()})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == n {
		n.buffer = append(n.buffer, d)
		s.wake()
	}
	return nil
}

// over ends a session, and tells the owner that the queue is not ours any more. It says
// whether it was ended here.
func (s *Subscription) over(n *session) (mine bool) {
	s.mu.Lock()
	mine = s.session != n || s.closing
	lost := n.owned && s.session == n && !s.closing
	if s.session == n {
		s.session = nil
	}
	s.wake()
	s.mu.Unlock()
	if lost {
		s.owner.Lost([]rollcall.Partition{s.source.partition()})
	}
	return mine
}

// Fetch implements rollcall.Subscription.
func (s *Subscription) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	return waitFor(ctx, request.Wait, func(late bool) ([]rollcall.Batch, <-chan struct{}, error) { return s.hand(request, late) })
}

// hand over what there is: if it is enough, or late. Else what to wait for.
func (s *Subscription) hand(request rollcall.FetchRequest, late bool) ([]rollcall.Batch, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, nil, rollcall.ErrClosed
	}
	if err := s.trouble; err != nil {
		s.trouble = nil
		return nil, nil, err
	}
	n := s.session
	there := 0
	if n != nil && !slices.Contains(request.Paused, s.source.partition()) {
		there = len(n.buffer)
	}
	if there < max(1, request.Min) && !late {
		return nil, s.changed, nil
	}
	if there == 0 {
		return nil, nil, nil
	}
	return []rollcall.Batch{n.take(s.source.partition(), max(1, request.Max))}, nil, nil
}

// Restart implements rollcall.Subscription: the channel is closed, so that the broker has
// all back, and another one opened. A single active consumer may lose the queue by that;
// then others have it until the broker gives it back.
func (s *Subscription) Restart(ctx context.Context, partition rollcall.Partition, start rollcall.Start) error {
	s.mu.Lock()
	n := s.session
	if s.source.config.SingleActive && (partition != s.source.partition() || n == nil || !n.owned) {
		s.mu.Unlock()
		return rollcall.ErrNotOwner
	}
	if s.source.config.SingleActive {
		s.restart = &start.Token
	} else {
		s.token = start.Token
	}
	s.session = nil
	s.mu.Unlock()
	if n == nil {
		return nil // the next one begins with it
	}
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, n.close() })
	if errors.Is(err, amqp.ErrClosed) {
		return nil
	}
	return err
}

// Empty implements rollcall.Emptier. The broker is asked on the channel that delivers,
// so what it sent before has arrived; the pause is for what our own client has in hand.
func (s *Subscription) Empty(ctx context.Context) (bool, error) {
	n, idle := s.idle(nil)
	if n == nil || !idle {
		return false, nil
	}
	q, err := within(ctx, func() (amqp.Queue, error) {
		return n.ch.QueueDeclarePassive(s.source.queue, true, false, false, false, nil)
	})
	if err != nil {
		return false, denied(fmt.Errorf("rabbitmq: queue %q: %w", s.source.queue, err))
	}
	if q.Messages > 0 {
		return false, nil
	}
	if err := sleep(ctx, emptyPause); err != nil {
		return false, err
	}
	if _, idle = s.idle(n); !idle {
		return false, nil
	}
	return s.source.nothingToGet(ctx)
}

// emptyPause is much longer than a delivery takes from the client to our buffer.
const emptyPause = 50 * time.Millisecond

// idle says whether there is nothing in hand, in that session if one is given.
func (s *Subscription) idle(of *session) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.session
	return n, n != nil && (of == nil || of == n) && len(n.buffer) == 0 && len(n.held) == 0
}

// Close implements rollcall.Subscription. The queue goes only when the owner has drained
// it: the consumer stays until then, or the next one would get what lies behind.
func (s *Subscription) Close(ctx context.Context) error {
	s.mu.Lock()
	again := s.closing
	s.closing = true
	n := s.session
	owned := n != nil && n.owned
	s.wake()
	s.mu.Unlock()
	if again {
		return nil
	}
	if owned {
		s.owner.Revoked(ctx, []rollcall.Partition{s.source.partition()})
	}
	s.stop()
	if n != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
		_, _ = within(closing, func() (struct{}, error) { return struct{}{}, n.close() }) // in order, so that all is back when we return
		cancel()
	}
	s.source.cluster.unlink(s.link)
	s.ended.Wait()
	return nil
}
