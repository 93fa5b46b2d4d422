package rabbitmq

import (
	"fmt"
	"slices"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// session is what one channel has handed to us. Subscription.mu guards it.
type session struct {
	number uint64
	ch     *amqp.Channel
	token  rollcall.Token
	shared bool
	owned  bool            // the owner was told that the queue is ours
	buffer []amqp.Delivery // not handed over yet
	held   map[uint64]bool // delivery tags that were handed over and not settled

	writing sync.Mutex // one Settle at a time: a multiple ack reaches back
}

func (n *session) close() error {
	n.writing.Lock()
	defer n.writing.Unlock()
	return n.ch.Close()
}

// take hands over at most so many messages.
func (n *session) take(partition rollcall.Partition, most int) rollcall.Batch {
	most = min(most, len(n.buffer))
	b := rollcall.Batch{Partition: partition, Token: n.token, Deliveries: make([]rollcall.Delivery, most)}
	if n.held == nil {
		n.held = make(map[uint64]bool)
	}
	for i := range b.Deliveries {
		d := &n.buffer[i]
		n.held[d.DeliveryTag] = true
		b.Deliveries[i] = rollcall.Delivery{
			Message:     message(partition.Destination, d),
			Receipt:     rollcall.Receipt{Session: n.number, Number: d.DeliveryTag},
			Redelivered: d.Redelivered,
		}
	}
	clear(n.buffer[:most])
	if n.buffer = n.buffer[most:]; len(n.buffer) == 0 {
		n.buffer = nil
	}
	return b
}

// verdict is one settlement that is to be written.
type verdict struct {
	index int // among the settlements
	tag   uint64
	verb  rollcall.Verb
}

// claim the receipt of a settlement. Each is good once, and on its own channel only: the
// broker would close the channel on another.
func (n *session) claim(x rollcall.Settlement) error {
	if n == nil || x.Receipt.Session != n.number {
		return rollcall.ErrStaleReceipt
	}
	if !n.held[x.Receipt.Number] {
		return fmt.Errorf("%w: it is settled already", rollcall.ErrStaleReceipt)
	}
	delete(n.held, x.Receipt.Number)
	return nil
}

// below is the tag below which nothing is held.
func (n *session) below() uint64 {
	lowest := ^uint64(0)
	for tag := range n.held {
		lowest = min(lowest, tag)
	}
	return lowest
}

// write verdicts. An ack of many reaches back to the first message that is not settled,
// so what is given back is given back first, and it ends below the first that is held.
func (n *session) write(verdicts []verdict, below uint64, failed func(index int, err error)) {
	slices.SortFunc(verdicts, func(a, b verdict) int { return int(int64(a.tag) - int64(b.tag)) })
	prefix := -1 // index of the last ack below
	for i, v := range verdicts {
		switch {
		case v.verb != rollcall.Ack:
			if err := n.ch.Nack(v.tag, false, v.verb != rollcall.Reject); err != nil {
				failed(v.index, err)
			}
		case v.tag < below:
			prefix = i
		}
	}
	if prefix >= 0 {
		if err := n.ch.Ack(verdicts[prefix].tag, true); err != nil {
			for _, v := range verdicts[:prefix+1] {
				failed(v.index, err)
			}
		}
	}
	for _, v := range verdicts[prefix+1:] {
		if v.verb != rollcall.Ack {
			continue
		}
		if err := n.ch.Ack(v.tag, false); err != nil {
			failed(v.index, err)
		}
	}
}
