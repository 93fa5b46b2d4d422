package kafka

import (
	"context"
	"fmt"
	"time"
)

// watch looks every ten seconds, and when told, whether the topic is another one, has
// more partitions, or was cut where it is read.
func (t *tap) watch() {
	tick := time.NewTicker(metadataMaxAge)
	defer tick.Stop()
	for {
		select {
		case <-t.alive.Done():
			return
		case <-tick.C:
		case <-t.look:
		}
		ctx, cancel := context.WithTimeout(t.alive, patience)
		now, err := t.source.cluster.topic(ctx, t.source.topic.name)
		cancel()
		select {
		case t.seen <- sight{now, err}:
		case <-t.alive.Done():
			return
		}
	}
}

// change acts on what watch saw.
func (t *tap) change(ctx context.Context) error {
	select {
	case s := <-t.seen:
		if s.err != nil {
			t.trouble = s.err
			return nil
		}
		if s.topic.id != t.topic.id {
			t.other = s.topic
			break
		}
		if err := t.fit(ctx, s.topic); err != nil {
			t.trouble = err
		}
	default:
	}
	if t.other == nil {
		return nil
	}
	for _, p := range t.parts {
		if len(p.buffer) > 0 {
			return nil // what was read of the old one is handed over as that
		}
	}
	parts, err := t.begin(ctx, t.other, time.Time{})
	if err != nil {
		return err
	}
	t.miss("it was deleted and made again: its id was %s and is %s; what was not read of the old one is gone, and the new one is read from its beginning", idText(t.topic.id), idText(t.other.id))
	t.topic, t.other, t.parts = t.other, nil, parts
	return t.open()
}

// fit goes on where the partitions are now: behind what was removed, at the end where it
// was cut off, at the beginning of those that are new.
func (t *tap) fit(ctx context.Context, now *topic) error {
	admin, name := t.source.cluster.admin, t.topic.name
	first, err := admin.ListStartOffsets(ctx, name)
	if err = offsetsError(first, err); err != nil {
		return fmt.Errorf("kafka: topic %q: where it begins: %w", name, err)
	}
	end, err := admin.ListEndOffsets(ctx, name)
	if err = offsetsError(end, err); err != nil {
		return fmt.Errorf("kafka: topic %q: where it ends: %w", name, err)
	}
	moved := false
	for n := range int32(now.partitions) {
		from, _ := first.Lookup(name, n)
		to, _ := end.Lookup(name, n)
		p := t.parts[n]
		switch {
		case p == nil:
			t.parts[n] = newPart(n, from.Offset)
		case p.next < from.Offset:
			t.miss("partition %d: offsets %d to %d were removed (retention, or an operator) before they were read", n, p.next, from.Offset-1)
			p.lost, p.next = from.Offset, from.Offset
		case p.next > to.Offset:
			t.miss("partition %d: it was read up to offset %d and ends at %d: it was cut off", n, p.next-1, to.Offset)
			p.next = to.Offset
		default:
			continue
		}
		moved = true
	}
	t.topic = now
	if !moved {
		return nil
	}
	return t.open()
}
