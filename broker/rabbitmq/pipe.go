package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// pipe writes what is for one exchange, one call after the other. It does not wait for
// confirms.
type pipe struct {
	sender   *Sender
	exchange string
	calls    chan *call
	outlet   *outlet      // only run uses it
	silent   atomic.Int64 // channels in a row on which nothing was confirmed
}

func (p *pipe) run() {
	for {
		select {
		case c := <-p.calls:
			p.write(c)
		case <-p.sender.alive.Done():
			return
		}
	}
}

// write a call's messages. A write may hang as long as the broker reads nothing: the
// caller does not wait for it longer than its ctx.
func (p *pipe) write(c *call) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.sender.alive, func() { cancel(rollcall.ErrClosed) })()
	for i := 0; i < len(c.packed); {
		if c.isSettled(i) {
			i++
			continue
		}
		o, err := p.ready(ctx)
		if err != nil {
			c.end(err)
			return
		}
		if !c.begin(i) {
			o.leave()
			return // it is over
		}
		if o.publish(c, i) {
			i++
		}
	}
}

func (c *call) isSettled(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled[i]
}

// ready is an open channel to a broker that takes messages, with room for one more in
// flight. It waits for it as long as there is hope.
func (p *pipe) ready(ctx context.Context) (*outlet, error) {
	var last error
	for {
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(context.Cause(ctx), last)
		}
		if p.outlet == nil || p.outlet.isDead() {
			o, err := p.open(ctx)
			if errors.Is(err, rollcall.ErrConfig) || errors.Is(err, rollcall.ErrClosed) {
				return nil, err
			}
			if err != nil {
				last = err
				continue
			}
			p.outlet = o
		}
		if err := p.outlet.wire.unblocked(ctx); err != nil {
			return nil, err
		}
		select {
		case p.outlet.room <- struct{}{}:
			return p.outlet, nil
		case <-p.outlet.dead:
		case <-ctx.Done():
		}
	}
}

func (p *pipe) open(ctx context.Context) (*outlet, error) {
	ch, w, err := p.sender.link.channel(ctx)
	if err != nil {
		return nil, err
	}
	o := &outlet{pipe: p, ch: ch, wire: w, dead: make(chan struct{}), room: make(chan struct{}, mostInFlight), pending: make(map[uint64]slot)}
	o.closes = ch.NotifyClose(make(chan *amqp.Error, 1))
	o.returns = ch.NotifyReturn(make(chan amqp.Return, 1024))
	o.confirms = ch.NotifyPublish(make(chan amqp.Confirmation, 1024))
	if _, err := within(ctx, func() (struct{}, error) { return struct{}{}, ch.Confirm(false) }); err != nil {
		go func() { _ = ch.Close() }()
		return nil, fmt.Errorf("rabbitmq: confirms: %w", err)
	}
	go o.watch()
	return o, nil
}

// mostInFlight is how many messages of an exchange may wait for their confirm.
const mostInFlight = 10_000
