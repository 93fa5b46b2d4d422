package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func (s *streaming) seenOf(start rollcall.Start) seen {
	if at := start.Seen; !at.IsZero() && at.Incarnation == s.source.incarnation() {
		return seen{at.Offset, at.LeaderEpoch}
	}
	return seen{}
}

// verify that the stream is the one that the position was taken from, as far as that can
// be told: it reaches that far, and the last message done is still the same where it lies.
func (s *streaming) verify(ctx context.Context, at rollcall.Position, last seen) error {
	if at.IsZero() {
		return nil // nothing of it is known: the earliest
	}
	name := s.source.queue
	if at.Incarnation != s.source.incarnation() {
		return fmt.Errorf("%w: rabbitmq: stream %q: the group's position is of another stream or virtual host", rollcall.ErrDamaged, name)
	}
	first, end, err := s.reaches(ctx, max(at.Offset, last.end()))
	switch {
	case err != nil:
		return err
	case max(at.Offset, last.end()) > end:
		return fmt.Errorf("%w: rabbitmq: stream %q: the group has done offset %d and the stream ends at %d: it was deleted and made again, or cut off, and new messages would get those offsets; "+
			"send what is in it to a new stream, or use a new group name", rollcall.ErrDamaged, name, max(at.Offset, last.end())-1, end)
	case last.print != 0 && last.offset >= first:
		if err := s.same(ctx, last); err != nil {
			return err
		}
	}
	if at.Offset < first && !s.source.config.AcceptLost {
		return s.overtaken(at.Offset, first)
	}
	return nil
}

// end is the offset behind it.
func (l seen) end() int64 {
	if l.print == 0 {
		return 0
	}
	return l.offset + 1
}

// reaches waits for a replica that is behind.
func (s *streaming) reaches(ctx context.Context, offset int64) (first, end int64, err error) {
	for begun := time.Now(); ; {
		first, end, err = s.source.bounds(ctx, firstWait)
		if err != nil || end >= offset || time.Since(begun) > lagWait {
			return first, end, err
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}

// same compares what lies at an offset with what lay there.
func (s *streaming) same(ctx context.Context, last seen) error {
	there, err := s.source.peek(ctx, last.offset, 1, lagWait)
	if err != nil {
		return err
	}
	if len(there) == 0 || there[0].offset != last.offset {
		return fmt.Errorf("rabbitmq: stream %q: offset %d could not be read", s.source.queue, last.offset)
	}
	if print(&there[0].Delivery) == last.print {
		return nil
	}
	return fmt.Errorf("%w: rabbitmq: stream %q: at offset %d, which group %q has done, lies another message now: the stream was deleted and made again; what the group had not done of the old one is gone; "+
		"send what is in it to a new stream, or use a new group name", rollcall.ErrDamaged, s.source.queue, last.offset, s.group)
}

// errRemoved: retention was faster.
var errRemoved = errors.New("removed")

func (s *streaming) overtaken(next, first int64) error {
	return fmt.Errorf("%w: rabbitmq: stream %q: offsets %d to %d were %w (retention) before group %q did them: up to %d messages are lost; "+
		"to go on behind them, say so: AcceptLost, run --accept-lost", rollcall.ErrDamaged, s.source.queue, next, first-1, errRemoved, s.group, first-next)
}

// read the stream until the channel dies, it is to be read elsewhere, or it is not ours.
func (s *streaming) read(h *holding) error {
	s.mu.Lock()
	next, last, move := h.next, h.last, h.move
	s.mu.Unlock()
	if last.print != 0 { // the connection was away: is it still the same stream?
		at := next
		if at < 0 { // the group begins with whatever is first
			at = last.end()
		}
		if err := s.verify(h.gone, rollcall.Position{Incarnation: s.source.incarnation(), Offset: at}, last); err != nil {
			return err
		}
	}
	from := any(next)
	if next < 0 {
		from = "first"
	}
	r, err := s.source.reader(h.gone, s.link, from, s.source.config.Prefetch)
	if err != nil {
		return err
	}
	defer r.close()
	s.mu.Lock()
	h.reader = r
	s.mu.Unlock()
	for {
		select {
		case <-move:
			return nil
		case <-h.gone.Done():
			return nil
		case <-s.alive.Done():
			h.lose()
			return nil
		case d, ok := <-r.deliveries:
			if !ok {
				return s.source.ceased(s.alive, r)
			}
			e, err := r.entry(d)
			if err == nil {
				err = s.keep(h, move, e)
			}
			if err != nil {
				return err
			}
		}
	}
}

// ceased says why a reader ended.
func (s *Source) ceased(alive context.Context, r *reader) error {
	if r.ch.IsClosed() {
		if why := <-r.closes; why != nil {
			return fmt.Errorf("rabbitmq: stream %q: the channel died: %w", s.queue, why)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(alive, patience)
	defer cancel()
	if _, err := s.cluster.ready(ctx, s.queue); err != nil {
		return fmt.Errorf("the broker ended the consumer: %w", err)
	}
	return errors.New("rabbitmq: stream " + s.queue + ": the broker ended the consumer; it is joined again")
}

// keep a message that came. A hole in front of it was removed by retention: a stream has
// no others.
func (s *streaming) keep(h *holding, move chan struct{}, e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case h.move != move: // it is read from elsewhere now
		return nil
	case h.next < 0 && e.offset > 0:
		s.source.cluster.warn("stream %q: group %q has done nothing of it and begins at offset %d: what was before was removed (retention)", s.source.queue, s.group, e.offset)
	case h.next < 0:
	case e.offset < h.next: // a chunk begins before the offset that was asked for
		h.reader.credit([]entry{e})
		return nil
	case e.offset > h.next && !s.source.config.AcceptLost:
		return s.overtaken(h.next, e.offset)
	case e.offset > h.next:
		s.source.cluster.warn("stream %q: offsets %d to %d were removed before group %q did them; it goes on at %d", s.source.queue, h.next, e.offset-1, s.group, e.offset)
		h.lost = e.offset
	}
	h.next, h.last = e.offset+1, seen{e.offset, print(&e.Delivery)}
	h.buffer = append(h.buffer, e)
	s.wake()
	return nil
}
