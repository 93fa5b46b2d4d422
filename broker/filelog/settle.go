package filelog

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Settle finishes deliveries. It looks into the file whether the leases are
// still ours, so a process that was stopped past its lease settles nothing.
//
// Ack and Reject note the message as settled (for tools; the log has no
// dead-letter rule of its own). Retry hands over again from that message on,
// RetryAfter the same once After has passed: the partition waits meanwhile.
// ErrStaleReceipt when the partition was restarted or assigned anew since, or
// the message not handed over; ErrNotOwner when the partition is not ours.
func (s *subscription) Settle(ctx context.Context, settlements []rollcall.Settlement) []error {
	out := make([]error, len(settlements))
	leases, err := s.leases(ctx)
	for i := range settlements {
		if out[i] = err; err == nil {
			out[i] = s.settleOne(leases, &settlements[i])
		}
	}
	return out
}

// leases reads the group's leases as they are now.
func (s *subscription) leases(ctx context.Context) (map[int64]lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out map[int64]lease
	err := s.aside(func(v *view) error {
		out = v.leases
		return nil
	})
	return out, err
}

// aside reads on the connection beside Fetch's.
func (s *subscription) aside(do func(*view) error) error {
	s.side.Lock()
	defer s.side.Unlock()
	if s.side.conn == nil {
		return fmt.Errorf("%w: subscription of group %q", rollcall.ErrClosed, s.group)
	}
	err := s.log.readView(s.side.conn, s.group, do)
	s.side.conn = s.log.replaced(s.side.conn, err)
	return s.log.explain("settle", err)
}

func (s *subscription) settleOne(leases map[int64]lease, st *rollcall.Settlement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[st.Partition]
	if sl == nil || !sl.live() || sl.stolen {
		return s.notOwner(st.Partition)
	}
	if leases[sl.part] != (lease{s.file.uid, sl.generation}) {
		s.balanceNow()
		return s.notOwner(st.Partition)
	}
	offset := int64(st.Receipt.Number)
	if st.Receipt.Session != sl.session() || offset < 0 || offset >= sl.next {
		return fmt.Errorf("%w: destination %q, partition %d, offset %d", rollcall.ErrStaleReceipt, st.Partition.Destination, st.Partition.Number, offset)
	}
	switch st.Verb {
	case rollcall.Ack, rollcall.Reject:
		sl.acked.Add(uint64(offset) + 1)
		sl.dirty = true
	case rollcall.Retry:
		sl.rewind(offset, time.Time{})
	case rollcall.RetryAfter:
		sl.rewind(offset, time.Now().Add(st.After))
	default:
		return fmt.Errorf("%w: filelog: settlement with verb %d; use Ack, Retry, RetryAfter or Reject", rollcall.ErrConfig, st.Verb)
	}
	return nil
}

func (s *subscription) notOwner(p rollcall.Partition) error {
	return fmt.Errorf("%w: destination %q, partition %d, group %q", rollcall.ErrNotOwner, p.Destination, p.Number, s.group)
}

// Flusher is what a Subscription of the log is as well.
type Flusher interface {
	// Flush writes up to where the partitions are settled, so that
	// Log.Settled does not lag.
	Flush(ctx context.Context) error
}

var _ Flusher = (*subscription)(nil)

// Flush writes up to where partitions are settled, which otherwise happens
// every second. It is for those who start from Log.Settled.
func (s *subscription) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	slots := make([]*slot, 0, len(s.slots))
	for _, sl := range s.slots {
		slots = append(slots, sl)
	}
	s.mu.Unlock()
	return s.log.explain("settle", s.log.write(func(c *conn) error { return s.storeSettled(c, slots) }))
}

// storeSettled writes up to where partitions are settled, of those whose lease
// is still ours.
func (s *subscription) storeSettled(c *conn, slots []*slot) error {
	for _, sl := range slots {
		s.mu.Lock()
		next, dirty := int64(sl.acked.Floor()), sl.dirty
		sl.dirty = false // if the transaction fails, the next Ack brings it
		s.mu.Unlock()
		if !dirty {
			continue
		}
		_, err := c.exec(`INSERT INTO settled (grp, part, next) SELECT grp, part, ? FROM leases WHERE grp = ? AND part = ? AND member = ? AND generation = ?
			ON CONFLICT (grp, part) DO UPDATE SET next = excluded.next`,
			next, []byte(s.group), sl.part, []byte(s.file.uid), int64(sl.generation))
		if err != nil {
			return err
		}
	}
	return nil
}

// Restart drops what was read ahead and hands over again from start.Position
// under start.Token. Older receipts are stale from then on. A position that
// does not fit is refused as when assigning, and the partition stands still.
func (s *subscription) Restart(ctx context.Context, partition rollcall.Partition, start rollcall.Start) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	sl := s.slots[partition]
	if sl == nil || sl.state != slotOwned || sl.stolen {
		s.mu.Unlock()
		return s.notOwner(partition)
	}
	sl.epoch++ // a Fetch that is reading now must not hand over any more
	s.mu.Unlock()
	next, err := s.locate(sl, start.Position)
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl.state != slotOwned || sl.stolen {
		return s.notOwner(partition)
	}
	sl.restarts++
	if err != nil {
		sl.refuse(start.Token, err)
		return err
	}
	sl.start(start.Token, next)
	s.woken.raise()
	return nil
}

// locate finds the offset of a start, in the log as it is now.
func (s *subscription) locate(sl *slot, at rollcall.Position) (next int64, err error) {
	err = s.aside(func(v *view) error {
		list := v.parts[sl.partition.Destination]
		n := int(sl.partition.Number)
		if n >= len(list) || list[n].incarnation != sl.incarnation || v.leases[sl.part] != (lease{s.file.uid, sl.generation}) {
			s.balanceNow()
			return s.notOwner(sl.partition)
		}
		next, err = s.log.startAt(list[n], at)
		return err
	})
	return next, err
}
