package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
)

var (
	_ rollcall.Tapper    = (*Source)(nil)
	_ rollcall.SideMaker = (*Sender)(nil)
)

// Tap implements rollcall.Tapper for replayable partitions. Since goes by when the
// broker took a message.
func (s *Source) Tap(_ context.Context, since time.Time) (rollcall.Tap, error) {
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.config.Shape != Replayable {
		return nil, fmt.Errorf("memory: only replayable partitions can be tapped")
	}
	d := b.destination(s.destination)
	t := &tap{broker: b, destination: s.destination, incarnation: d.incarnation, next: slices.Clone(d.first)}
	for n, records := range d.partitions {
		for t.next[n] < int64(len(records)) && records[t.next[n]].stored.Before(since) {
			t.next[n]++
		}
	}
	return t, nil
}

// tap reads without a group. broker.mu guards it.
type tap struct {
	broker      *Broker
	destination string
	incarnation rollcall.Incarnation
	next        []int64 // by partition
	closed      bool
}

// Fetch implements rollcall.Tap.
func (t *tap) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	b := t.broker
	wake := func() { b.mu.Lock(); b.changed.Broadcast(); b.mu.Unlock() }
	deadline := time.Now().Add(request.Wait)
	timer := time.AfterFunc(request.Wait, wake)
	defer timer.Stop()
	defer context.AfterFunc(ctx, wake)()
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if t.closed {
			return nil, rollcall.ErrClosed
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		missed := t.missed()
		batches, n := t.peek(request)
		if missed != nil || n >= max(1, request.Min) || !time.Now().Before(deadline) {
			for _, batch := range batches {
				t.next[batch.Partition.Number] = behind(batch)
			}
			return batches, missed
		}
		b.changed.Wait()
	}
}

// missed finds what can no longer be read, and goes on behind it.
func (t *tap) missed() error {
	d := t.broker.destination(t.destination)
	if d.incarnation != t.incarnation {
		t.incarnation, t.next = d.incarnation, slices.Clone(d.first)
		return fmt.Errorf("%w: memory: destination %q was made again", rollcall.ErrMissed, t.destination)
	}
	for n, first := range d.first {
		if next := t.next[n]; next < first {
			t.next[n] = first
			return fmt.Errorf("%w: memory: destination %q, partition %d: offsets %d to %d were removed", rollcall.ErrMissed, t.destination, n, next, first-1)
		}
	}
	return nil
}

func (t *tap) peek(request rollcall.FetchRequest) (out []rollcall.Batch, n int) {
	d := t.broker.destination(t.destination)
	for number, records := range d.partitions {
		batch := rollcall.Batch{Partition: rollcall.Partition{Destination: t.destination, Number: int32(number)}}
		if slices.Contains(request.Paused, batch.Partition) {
			continue
		}
		for offset := t.next[number]; offset < int64(len(records)) && len(batch.Deliveries) < max(1, request.Max); offset++ {
			if records[offset].marker {
				batch.Covered = append(batch.Covered, rollcall.OffsetRange{First: offset, Last: offset})
				continue
			}
			batch.Deliveries = append(batch.Deliveries, rollcall.Delivery{Message: records[offset].message, Position: t.broker.position(d, offset)})
		}
		if got := len(batch.Deliveries) + len(batch.Covered); got > 0 {
			out, n = append(out, batch), n+got
		}
	}
	return out, n
}

// behind is the offset behind all that is in a batch.
func behind(b rollcall.Batch) (next int64) {
	if n := len(b.Deliveries); n > 0 {
		next = b.Deliveries[n-1].Position.Offset + 1
	}
	if n := len(b.Covered); n > 0 {
		next = max(next, b.Covered[n-1].Last+1)
	}
	return next
}

// Close implements rollcall.Tap.
func (t *tap) Close() error {
	t.broker.mu.Lock()
	defer t.broker.mu.Unlock()
	t.closed = true
	return nil
}

// Explain implements rollcall.Explainer.
func (s *Source) Explain(_ context.Context, partition rollcall.Partition, first, last int64) (holes []rollcall.Hole, err error) {
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.destination(s.destination)
	if partition.Destination != s.destination || int(partition.Number) >= len(d.partitions) {
		return nil, fmt.Errorf("%w: memory: %v", rollcall.ErrNoDestination, partition)
	}
	records := d.partitions[partition.Number]
	for offset := max(first, 0); offset <= last; offset++ {
		var cause rollcall.HoleCause
		switch {
		case offset < d.first[partition.Number]:
			cause = rollcall.HoleRemoved
		case offset >= int64(len(records)):
			return append(holes, rollcall.Hole{First: offset, Last: last, Cause: rollcall.HoleBeyond}), nil
		case records[offset].marker:
			cause = rollcall.HoleMarker
		default:
			continue
		}
		if n := len(holes) - 1; n >= 0 && holes[n].Cause == cause && holes[n].Last == offset-1 {
			holes[n].Last = offset
			continue
		}
		holes = append(holes, rollcall.Hole{First: offset, Last: offset, Cause: cause})
	}
	return holes, nil
}

// Noted implements rollcall.Noter: behind the first that is not acknowledged.
func (s *Source) Noted(_ context.Context, groupName string) (map[rollcall.Partition]int64, error) {
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[rollcall.Partition]int64)
	if g := b.groups[keyOf(groupName, s.destination)]; g != nil {
		for p := range maps.Keys(g.parts) {
			if low := g.parts[p].low; low > 0 {
				out[p] = low
			}
		}
	}
	return out, nil
}

// MakeSide implements rollcall.SideMaker: a destination is made when it is used.
func (s *Sender) MakeSide(context.Context, string) error { return nil }
