package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

var (
	_ rollcall.Measurer  = (*Source)(nil)
	_ rollcall.Explainer = (*Source)(nil)
	_ rollcall.Peeker    = (*Source)(nil)
)

var errQueue = errors.New("only streams have positions")

// Measure implements rollcall.Measurer, for streams.
func (s *Source) Measure(ctx context.Context) ([]rollcall.Extent, error) {
	if s.config.Type != Stream {
		return nil, fmt.Errorf("%w: rabbitmq: queue %q: %w", rollcall.ErrConfig, s.queue, errQueue)
	}
	first, end, err := s.bounds(ctx, firstWait)
	if err != nil {
		return nil, err
	}
	return []rollcall.Extent{{Partition: s.partition(), Incarnation: s.incarnation(), First: first, End: end}}, nil
}

// Explain implements rollcall.Explainer: within a stream every offset holds a message.
func (s *Source) Explain(ctx context.Context, partition rollcall.Partition, first, last int64) ([]rollcall.Hole, error) {
	if partition != s.partition() {
		return nil, fmt.Errorf("%w: rabbitmq: stream %q has no partition %d", rollcall.ErrNoDestination, s.queue, partition.Number)
	}
	all, err := s.Measure(ctx)
	if err != nil {
		return nil, err
	}
	var holes []rollcall.Hole
	first = max(first, 0)
	if begin := all[0].First; first < begin {
		holes = append(holes, rollcall.Hole{First: first, Last: min(last, begin-1), Cause: rollcall.HoleRemoved})
	}
	if end := all[0].End; last >= end {
		holes = append(holes, rollcall.Hole{First: max(first, end), Last: last, Cause: rollcall.HoleBeyond})
	}
	return holes, nil
}

// Peek reads the message at a position, without touching any group.
func (s *Source) Peek(ctx context.Context, _ rollcall.Partition, at rollcall.Position) (rollcall.Message, error) {
	if s.config.Type != Stream {
		return rollcall.Message{}, fmt.Errorf("%w: rabbitmq: queue %q: %w", rollcall.ErrConfig, s.queue, errQueue)
	}
	there, err := s.peek(ctx, at.Offset, 1, firstWait)
	if err != nil || len(there) == 0 || there[0].offset != at.Offset {
		return rollcall.Message{}, err
	}
	return message(s.queue, &there[0].Delivery), nil
}
