package filelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
)

const (
	pollEvery  = 5 * time.Millisecond // how soon a publish of another process is seen
	fetchBytes = 32 << 20             // a Fetch may return fewer than Min to stay below
	tellEvery  = time.Second          // how often Fetch repeats that a partition is refused
)

// Fetch reads up to request.Max messages, in one snapshot, beginning each time
// with another partition. Bodies and header values of a batch share memory.
//
// A partition that cannot be consumed (ErrDamaged, a position of another
// incarnation or beyond the end) makes Fetch fail once a second, without
// moving the others, until Restart or the next assignment gives it a good start.
func (s *subscription) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	request.Max = max(request.Max, 1)
	request.Min = min(request.Min, request.Max)
	poll := time.NewTimer(pollEvery)
	defer poll.Stop()
	for deadline := time.Now().Add(request.Wait); ; {
		changed, woken := s.log.changed.wait(), s.woken.wait()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		left := time.Until(deadline)
		batches, enough, err := s.gather(request, left <= 0)
		if err != nil || enough {
			return batches, err
		}
		poll.Reset(min(pollEvery, left))
		select {
		case <-changed:
		case <-woken:
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// want is what one Fetch would read of a partition.
type want struct {
	slot       *slot
	part       int64
	generation uint64
	session    uint64
	epoch      uint64
	token      rollcall.Token
	next       int64
	pending    []rollcall.Delivery

	got  []rollcall.Delivery
	rest []rollcall.Delivery // decoded already, for the next Fetch
	err  error
}

// plan lists the partitions to read, or returns the error of one that is
// refused and was not spoken of lately.
func (s *subscription) plan(paused []rollcall.Partition) ([]*want, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%w: subscription of group %q", rollcall.ErrClosed, s.group)
	}
	now := time.Now()
	var out []*want
	for _, sl := range s.slots {
		if sl.state != slotOwned {
			continue
		}
		if sl.failed != nil {
			if now.Sub(sl.told) > tellEvery {
				sl.told = now
				return nil, sl.failed
			}
			continue
		}
		if now.Before(sl.notBefore) || slices.Contains(paused, sl.partition) {
			continue
		}
		out = append(out, &want{slot: sl, part: sl.part, generation: sl.generation, session: sl.session(),
			epoch: sl.epoch, token: sl.token, next: sl.next, pending: sl.pending})
	}
	slices.SortFunc(out, func(a, b *want) int { return comparePartitions(a.slot.partition, b.slot.partition) })
	if len(out) > 0 {
		k := s.turn % len(out)
		out = append(out[k:len(out):len(out)], out[:k]...)
	}
	return out, nil
}

// gather reads once. enough is false when there is less than Min and the time
// is not over: then nothing was read.
func (s *subscription) gather(request rollcall.FetchRequest, last bool) ([]rollcall.Batch, bool, error) {
	wants, err := s.plan(request.Paused)
	if err != nil {
		return nil, false, err
	}
	enough := last
	err = s.log.readView(s.fetch, s.group, func(v *view) error {
		var available int64
		for _, w := range wants {
			if p := s.current(v, w); p != nil {
				available += p.end - max(w.next, p.first)
			}
		}
		if enough = last || available >= int64(request.Min); !enough {
			return nil
		}
		s.readWants(v, wants, request.Max)
		return nil
	})
	if err != nil {
		s.fetch = s.log.replaced(s.fetch, err)
		return nil, false, s.log.explain("fetch", err)
	}
	if !enough {
		return nil, false, nil
	}
	batches, again, err := s.handOver(wants)
	return batches, !again, err
}

// current is the partition's row if the lease is still ours in this snapshot.
func (s *subscription) current(v *view, w *want) *part {
	list := v.parts[w.slot.partition.Destination]
	if n := int(w.slot.partition.Number); n < len(list) && list[n].id == w.part && list[n].incarnation == w.slot.incarnation &&
		v.leases[w.part] == (lease{s.file.uid, w.generation}) {
		return list[n]
	}
	s.balanceNow() // it finds out what happened
	return nil
}

func (s *subscription) readWants(v *view, wants []*want, most int) {
	bytes := fetchBytes
	for _, w := range wants {
		if most <= 0 || bytes <= 0 {
			return
		}
		if p := s.current(v, w); p != nil {
			s.readWant(p, w, most, &bytes)
			most -= len(w.got)
		}
	}
}

// readWant fills w with up to most messages of a partition.
func (s *subscription) readWant(p *part, w *want, most int, bytes *int) {
	if n := min(most, len(w.pending)); n > 0 {
		w.got, w.rest = w.pending[:n:n], w.pending[n:]
		if len(w.rest) > 0 {
			return
		}
	}
	from := w.next + int64(len(w.got))
	if len(w.got) == 0 {
		from = max(from, p.first)
	}
	most -= len(w.got)
	if most == 0 || from >= p.end || from < p.first {
		return
	}
	room := int(min(int64(most), p.end-from))
	w.got = slices.Grow(w.got, room)
	var texts slab.Strings
	w.err = s.log.readChunks(s.fetch, p, from, func(ch *chunk) (bool, error) {
		var bad error
		err := ch.each(from, func(offset int64, payload []byte) bool {
			d := w.slotFor(most)
			*d = rollcall.Delivery{
				Position: rollcall.Position{Incarnation: p.incarnation, Offset: offset},
				Receipt:  rollcall.Receipt{Session: w.session, Number: uint64(offset)},
			}
			if bad = decodePayload(payload, &d.Message, &texts); bad != nil {
				bad = &recordError{offset, bad}
				w.dropLast()
				return false
			}
			d.Destination, d.Partition = p.destination, p.number
			most--
			return true
		})
		if err = errors.Join(err, bad); err != nil {
			return false, s.log.damaged(p.where(), err.Error(), nextRestore)
		}
		*bytes -= len(ch.data)
		return most > 0 && *bytes > 0, nil
	})
}

// slotFor is where the next delivery goes: to the caller, or behind it.
func (w *want) slotFor(most int) *rollcall.Delivery {
	if most > 0 {
		w.got = append(w.got, rollcall.Delivery{})
		return &w.got[len(w.got)-1]
	}
	w.rest = append(w.rest, rollcall.Delivery{})
	return &w.rest[len(w.rest)-1]
}

func (w *want) dropLast() {
	if len(w.rest) > 0 {
		w.rest = w.rest[:len(w.rest)-1]
	} else {
		w.got = w.got[:len(w.got)-1]
	}
}

// handOver moves the slots on and makes batches of what still belongs to them:
// a Restart, a rewind or a loss in between has raised their epoch. again is
// true when a partition was found to be refused and nothing else is there.
func (s *subscription) handOver(wants []*want) (out []rollcall.Batch, again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	served := 0
	for i, w := range wants {
		sl := w.slot
		if sl.epoch != w.epoch || sl.state != slotOwned {
			again = again || len(w.got) > 0
			continue
		}
		// What was read before the damage is good; the damage comes up again.
		if w.err != nil && len(w.got) == 0 {
			if !errors.Is(w.err, rollcall.ErrDamaged) {
				err = w.err
				continue
			}
			sl.refuse(sl.token, w.err)
			again = true
			continue
		}
		if len(w.got) == 0 {
			continue
		}
		sl.next = w.got[len(w.got)-1].Position.Offset + 1
		sl.pending = w.rest
		served = i + 1
		out = append(out, rollcall.Batch{Partition: sl.partition, Token: w.token, Deliveries: w.got})
	}
	s.turn += served
	if len(out) > 0 {
		return out, false, nil
	}
	return nil, again, err
}
