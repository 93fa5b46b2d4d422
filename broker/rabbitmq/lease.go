package rabbitmq

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// incarnation of a stream. AMQP 0-9-1 has no id of it, so it is the name's; whether the
// stream was made anew is found out by what lies in it (see verify).
func (s *Source) incarnation() rollcall.Incarnation {
	return rollcall.Incarnation(s.hash("stream")[:16])
}

// leaseKey is what a group's workers claim.
func (s *Source) leaseKey() rollcall.DedupKey {
	return rollcall.DedupKey(s.hash("owner of the stream")[:16])
}

func (s *Source) hash(of string) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "rollcall rabbitmq %s\x00%s\x00%s", of, s.cluster.config.VirtualHost, s.queue))
	return sum[:]
}

// lease waits until the stream is ours, and keeps it so until it is lost.
func (s *streaming) lease(ctx context.Context) (*holding, error) {
	c := s.source.config
	for {
		asked := time.Now()
		claim, err := c.Leases.Claim(ctx, s.group, s.source.leaseKey(), c.Lease)
		if err != nil {
			return nil, fmt.Errorf("rabbitmq: stream %q: whose it is: %w", s.source.queue, err)
		}
		if claim.State == rollcall.ClaimDone {
			return nil, fmt.Errorf("%w: rabbitmq: stream %q: its lease is marked as done; somebody completed it, delete that key", rollcall.ErrConfig, s.source.queue)
		}
		if claim.State == rollcall.ClaimFresh {
			h := &holding{lease: claim.Token, move: make(chan struct{})}
			h.gone, h.lose = context.WithCancel(context.WithoutCancel(s.alive))
			s.ended.Go(func() { s.renew(h, asked) })
			return h, nil
		}
		if err := sleep(ctx, min(c.Lease/10, time.Second)); err != nil {
			return nil, err
		}
	}
}

// renew the lease at each third of it. When it has run out, by our own clock and from
// before we asked, the stream is not ours any more, whatever the store may say later.
func (s *streaming) renew(h *holding, since time.Time) {
	c := s.source.config
	defer h.lose()
	for {
		if sleep(s.alive, c.Lease/3) != nil {
			return // Close gives it back
		}
		asked := time.Now()
		ctx, cancel := context.WithDeadline(context.WithoutCancel(s.alive), since.Add(c.Lease))
		err := c.Leases.Renew(ctx, s.group, s.source.leaseKey(), h.lease, c.Lease)
		cancel()
		switch {
		case err == nil && asked.Sub(since) <= c.Lease:
			since = asked
		case errors.Is(err, rollcall.ErrFenced) || time.Since(since) >= c.Lease:
			s.lostLease(h)
			return
		}
	}
}

// lostLease tells the owner at once, whatever the reader is busy with.
func (s *streaming) lostLease(h *holding) {
	h.lose()
	if s.drop(h) {
		s.owner.Lost([]rollcall.Partition{s.source.partition()})
	}
}

// release gives the lease back, so that the next worker need not wait for its end.
func (s *streaming) release(h *holding) {
	h.lose()
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if err := s.source.config.Leases.Release(ctx, s.group, s.source.leaseKey(), h.lease); err != nil && !errors.Is(err, rollcall.ErrFenced) {
		s.source.cluster.warn("stream %q: its lease could not be given back: %v; others get it in %v", s.source.queue, err, s.source.config.Lease)
	}
}
