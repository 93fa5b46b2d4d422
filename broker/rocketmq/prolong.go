package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// prolong keeps what we hold from coming again, up to MaxHold.
func (s *Subscription) prolong() {
	config := s.source.config
	tick := time.NewTicker(max(config.Invisible/6, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-s.alive.Done():
			return
		case <-tick.C:
		}
		var work sync.WaitGroup
		slots := make(chan struct{}, together)
		for _, h := range s.due(time.Now()) {
			slots <- struct{}{}
			work.Go(func() {
				defer func() { <-slots }()
				_ = s.renew(s.alive, h, config.Invisible)
			})
		}
		work.Wait()
	}
}

// due is what others could have soon. What was held too long, and is with others by now,
// is forgotten.
func (s *Subscription) due(now time.Time) (out []*held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		switch {
		case now.Sub(h.since) < s.source.config.MaxHold:
			if h.until.Sub(now) < s.source.config.Invisible*2/3 {
				out = append(out, h)
			}
		case now.After(h.until):
			s.forget(h)
		}
	}
	return out
}

// renew prolongs one delivery, if it is still held when its turn comes. Without an answer
// the old handle is kept: it may be void.
func (s *Subscription) renew(ctx context.Context, h *held, by time.Duration) error {
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.turn }()
	s.mu.Lock()
	held := s.held[h.number] == h
	s.mu.Unlock()
	if !held {
		return rollcall.ErrStaleReceipt
	}
	until := time.Now().Add(by)
	handle, err := s.change(ctx, h, by)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && handle != "":
		h.handle, h.until = handle, until
		h.delivery.Receipt.Handle = handle
	case errors.Is(err, rollcall.ErrStaleReceipt): // others have it, or will
		s.forget(h)
	}
	return err
}

// forget what is no longer ours. The caller holds mu.
func (s *Subscription) forget(h *held) {
	delete(s.held, h.number)
	s.buffer = slices.DeleteFunc(s.buffer, func(b *held) bool { return b == h })
}

// Extend implements rollcall.Extender. Old receipts stay good beside the new ones; those
// that could not be extended are returned as they were.
func (s *Subscription) Extend(ctx context.Context, receipts []rollcall.Receipt, by time.Duration) ([]rollcall.Receipt, []error) {
	out, errs := make([]rollcall.Receipt, len(receipts)), make([]error, len(receipts))
	copy(out, receipts)
	var work sync.WaitGroup
	slots := make(chan struct{}, together)
	by = min(max(by, soon), longestInvisible)
	for i, r := range receipts {
		s.mu.Lock()
		h := s.held[r.Number]
		if r.Session != s.generation {
			h = nil
		}
		s.mu.Unlock()
		if h == nil {
			errs[i] = rollcall.ErrStaleReceipt
			continue
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			if err := s.renew(ctx, h, by); err != nil {
				errs[i] = fmt.Errorf("rocketmq: message %q: not surely extended: %w", h.id, err)
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			out[i].Handle = h.handle
		})
	}
	work.Wait()
	return out, errs
}
