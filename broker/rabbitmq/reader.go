package rabbitmq

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// reader is one channel that reads a stream.
type reader struct {
	ch         *amqp.Channel
	closes     <-chan *amqp.Error
	deliveries <-chan amqp.Delivery
}

// entry is one message of a stream.
type entry struct {
	amqp.Delivery
	offset int64
	from   *reader
}

// seen is a message that was done, or read.
type seen struct {
	offset int64
	print  int32 // 0: nothing is known
}

// prints are 30 bits of a message's content, and 1, for Position.LeaderEpoch: a stream has
// no epochs over AMQP, and a message is told from another one at its offset by this.
var prints = crc32.MakeTable(crc32.Castagnoli)

func print(d *amqp.Delivery) int32 {
	sum := crc32.Update(0, prints, d.Body)
	sum = crc32.Update(sum, prints, raw(d.Headers[rollcall.StampHeader]))
	sum = crc32.Update(sum, prints, []byte(d.MessageId))
	sum = crc32.Update(sum, prints, binary.BigEndian.AppendUint64(nil, uint64(d.Timestamp.Unix())))
	return int32(sum&(1<<30-1)) + 1
}

// stream is an entry as a delivery to the engine.
func (e *entry) delivery(source *Source, session uint64) rollcall.Delivery {
	return rollcall.Delivery{
		Message:  message(source.queue, &e.Delivery),
		Position: rollcall.Position{Incarnation: source.incarnation(), Offset: e.offset, LeaderEpoch: print(&e.Delivery)},
		Receipt:  rollcall.Receipt{Session: session, Number: uint64(e.offset)},
	}
}

// credit lets the broker send as many more as were handed over. An ack on a stream means
// no more than that.
func (r *reader) credit(entries []entry) {
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].from == r {
			_ = entries[i].Ack(true) // the channel that fails here is dead, and is opened again
			return
		}
	}
}

// reader from an offset on, of the stream's kinds: a number, "first", "last", a time.
func (s *Source) reader(ctx context.Context, l *link, from any, prefetch int) (*reader, error) {
	ch, _, err := l.channel(ctx)
	if err != nil {
		return nil, err
	}
	r := &reader{ch: ch, closes: ch.NotifyClose(make(chan *amqp.Error, 1))}
	r.deliveries, err = within(ctx, func() (<-chan amqp.Delivery, error) {
		if err := ch.Qos(prefetch, 0, false); err != nil {
			return nil, err
		}
		return ch.Consume(s.queue, consumer, false, false, false, false, amqp.Table{offsetHeader: from})
	})
	if err != nil {
		r.close()
		return nil, denied(fmt.Errorf("rabbitmq: stream %q: %w", s.queue, err))
	}
	return r, nil
}

// consumer is the tag of the only consumer of a channel.
const consumer = "rollcall"

func (r *reader) close() { go func() { _ = r.ch.Close() }() }

// entry of a delivery.
func (r *reader) entry(d amqp.Delivery) (entry, error) {
	offset, ok := d.Headers[offsetHeader].(int64)
	if !ok {
		return entry{}, fmt.Errorf("%w: rabbitmq: queue %q: a message without %s came: this is no stream", rollcall.ErrConfig, d.RoutingKey, offsetHeader)
	}
	return entry{d, offset, r}, nil
}

// peek reads what lies at a place: the message there, or from "last" the last chunk. It
// waits so long for the first message. After the cancel nothing comes, and what came
// before is complete.
func (s *Source) peek(ctx context.Context, from any, prefetch int, wait time.Duration) ([]entry, error) {
	r, err := s.reader(ctx, s.cluster.asking, from, prefetch)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var out []entry
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case d, ok := <-r.deliveries:
		if !ok {
			return nil, fmt.Errorf("rabbitmq: stream %q: the channel died: %w", s.queue, amqp.ErrClosed)
		}
		e, err := r.entry(d)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if _, err := within(ctx, func() (struct{}, error) { return struct{}{}, r.ch.Cancel(consumer, false) }); err != nil {
		return nil, fmt.Errorf("rabbitmq: stream %q: %w", s.queue, err)
	}
	for d := range r.deliveries {
		e, err := r.entry(d)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// bounds are the first offset of a stream and the one behind its last; the same when it
// is empty. It waits so long for a first message.
func (s *Source) bounds(ctx context.Context, wait time.Duration) (first, end int64, err error) {
	begin, err := s.peek(ctx, "first", 1, wait)
	if err != nil || len(begin) == 0 {
		return 0, 0, err
	}
	tail, err := s.peek(ctx, "last", chunk, patience)
	if err != nil {
		return 0, 0, err
	}
	if len(tail) == 0 {
		return 0, 0, fmt.Errorf("rabbitmq: stream %q: where it ends was not told", s.queue)
	}
	return begin[0].offset, tail[len(tail)-1].offset + 1, nil
}

const (
	// chunk is more messages than the broker keeps in one piece.
	chunk = 10_000
	// firstWait is how long a stream that may be empty is watched for a message.
	firstWait = 300 * time.Millisecond
	// lagWait is how long a replica may be behind what was read before.
	lagWait = 5 * time.Second
)
