package rabbitmq

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// outlet is one channel on which messages are published.
type outlet struct {
	pipe     *pipe
	ch       *amqp.Channel
	wire     *wire
	closes   <-chan *amqp.Error
	returns  <-chan amqp.Return
	confirms <-chan amqp.Confirmation
	dead     chan struct{}
	room     chan struct{} // a token for each message in flight
	// retired: nothing more is published on it. RabbitMQ 3.10 says no for ever on a channel
	// that was opened while the queue's leader was dead; another one is taken.
	retired atomic.Bool
	givenUp bool // only watch uses it

	mu      sync.Mutex
	ended   bool
	next    uint64
	pending map[uint64]slot
	moved   time.Time // when something began to be in flight, or the broker last said something of it
}

// slot is one message in flight.
type slot struct {
	call     *call
	n        int
	returned error // no queue took it
}

func (o *outlet) isDead() bool {
	select {
	case <-o.dead:
		return true
	default:
		return o.retired.Load() || o.ch.IsClosed()
	}
}

// leave gives back the room for one.
func (o *outlet) leave() { <-o.room }

// publish writes one message and says whether it has, or will have, a fate. If not,
// surely nothing of it is stored and another channel may take it.
func (o *outlet) publish(c *call, i int) bool {
	o.mu.Lock()
	if o.ended {
		o.mu.Unlock()
		c.unwritten(i)
		o.leave()
		return false
	}
	o.next++
	if len(o.pending) == 0 {
		o.moved = time.Now()
	}
	tag := o.next
	o.pending[tag] = slot{call: c, n: i}
	o.mu.Unlock()
	p := c.packed[i]
	p.CorrelationId = tagPrefix + strconv.FormatUint(tag, 36)
	err := o.ch.Publish(c.route.exchange, c.route.key, true, false, p)
	if err == nil || !errors.Is(err, amqp.ErrClosed) {
		return true // or the channel is dying, and watch tells its fate
	}
	if _, mine := o.take(tag); !mine {
		return true
	}
	c.unwritten(i) // the channel was closed before all of it was written
	return false
}

// take a message out of those in flight.
func (o *outlet) take(tag uint64) (slot, bool) {
	o.mu.Lock()
	s, ok := o.pending[tag]
	delete(o.pending, tag)
	o.moved = time.Now()
	o.mu.Unlock()
	if ok {
		o.leave()
	}
	return s, ok
}

// watch tells fates as the broker does. It gives a message back before it confirms it;
// both come by Go channels of their own, so those that came back are looked at first.
func (o *outlet) watch() {
	look := time.NewTicker(silence / 4)
	defer look.Stop()
	for returns := o.returns; ; {
		select {
		case <-look.C:
			o.hurry()
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			o.cameBack(&r)
		case c, ok := <-o.confirms:
			o.drain(returns)
			if !ok {
				o.end(<-o.closes)
				return
			}
			o.confirmed(c)
		}
	}
}

// silence is how long the broker may confirm nothing of what is in flight. RabbitMQ 3.10
// never confirms what was published to a stream whose writer was just starting (measured
// after a kill, one time in three), on a channel and a connection that live. The channel is
// given up then, and what is in flight on it is Unknown: it is sent again.
const silence = time.Second

// mostSilence bounds the doubling of it: a broker that is slow must not be sent more and
// more.
const mostSilence = time.Minute

// hurry gives the channel up when nothing was confirmed for too long.
func (o *outlet) hurry() {
	o.mu.Lock()
	quiet := time.Since(o.moved)
	waits := len(o.pending) > 0 && !o.ended
	o.mu.Unlock()
	limit := min(silence<<min(o.pipe.silent.Load(), 10), mostSilence)
	if !waits || quiet < limit || o.wire.isBlocked() || o.givenUp {
		return
	}
	o.givenUp = true
	o.retired.Store(true)
	o.pipe.silent.Add(1)
	go func() { _ = o.ch.Close() }()
}

func (o *outlet) drain(returns <-chan amqp.Return) {
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				return
			}
			o.cameBack(&r)
		default:
			return
		}
	}
}

// cameBack marks a message that no queue took. Its confirm is to come, and says nothing
// of that.
func (o *outlet) cameBack(r *amqp.Return) {
	tag, err := strconv.ParseUint(strings.TrimPrefix(r.CorrelationId, tagPrefix), 36, 64)
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ok := o.pending[tag]; ok {
		s.returned = fmt.Errorf("%w: rabbitmq: %q: %w (%d %s); make the queue, or bind it to the exchange with this key", rollcall.ErrNoDestination, s.call.route.name(), errNoRoute, r.ReplyCode, r.ReplyText)
		o.pending[tag] = s
	}
}

func (o *outlet) confirmed(c amqp.Confirmation) {
	s, ok := o.take(c.DeliveryTag)
	o.pipe.silent.Store(0)
	switch {
	case !ok:
	case s.returned != nil:
		s.call.finish(s.n, rollcall.PublishResult{Fate: rollcall.Refused, Err: s.returned})
	case c.Ack:
		s.call.finish(s.n, rollcall.PublishResult{Fate: rollcall.Stored})
	default:
		s.call.finish(s.n, rollcall.PublishResult{Err: fmt.Errorf("rabbitmq: %q: a queue did not take it (basic.nack), and it is not said whether it may have it all the same; is the queue full, or did its leader die?", s.call.route.name())})
		o.retired.Store(true)
	}
	if o.retired.Load() && o.idle() {
		go func() { _ = o.ch.Close() }()
	}
}

func (o *outlet) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending) == 0
}

// end tells the fate of what was in flight when the channel died: Unknown. Two proofs
// say more. What came back is nowhere. And where the broker closed the channel because
// of something that we published, it took nothing from there on: the last one is
// refused, whichever of them it was.
func (o *outlet) end(why *amqp.Error) {
	o.mu.Lock()
	o.ended = true
	pending, last := o.pending, o.next
	o.pending = make(map[uint64]slot)
	o.mu.Unlock()
	close(o.dead)
	err := error(amqp.ErrClosed)
	if why != nil {
		err = denied(why)
	}
	blamed := why != nil && why.Server && !o.wire.IsClosed()
	if blamed {
		o.pipe.sender.missed(o.pipe.exchange)
	}
	for tag, s := range pending {
		o.leave()
		r := rollcall.PublishResult{Err: fmt.Errorf("rabbitmq: %q: the channel died before a confirm came, it may be stored: %w", s.call.route.name(), err)}
		switch {
		case s.returned != nil:
			r = rollcall.PublishResult{Fate: rollcall.Refused, Err: s.returned}
		case blamed && tag == last:
			r = rollcall.PublishResult{Fate: rollcall.Refused, Err: fmt.Errorf("rabbitmq: %q: the broker closed the channel and took nothing more: %w", s.call.route.name(), err)}
		}
		s.call.finish(s.n, r)
	}
}
