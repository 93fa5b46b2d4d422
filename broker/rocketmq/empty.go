package rocketmq

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// poll is a request for messages that is under way.
type poll struct {
	place int
	began time.Time
}

// idle is what is known of a broker from the last request that came back empty.
type idle struct {
	began  time.Time
	beside map[*poll]bool // what was under way then: it may have what there was
}

// asking notes a request.
func (s *Subscription) asking(place int) *poll {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &poll{place, time.Now()}
	s.polls[r] = true
	return r
}

// nothing came of a request. The caller holds mu.
func (s *Subscription) nothing(r *poll) {
	now := &s.idle[r.place]
	if now.began.After(s.busy) && now.began.After(s.probed) {
		return // it says no more than the one before
	}
	now.began, now.beside = r.began, maps.Clone(s.polls)
}

// Empty implements rollcall.Emptier: every broker was asked since there last was
// something, and nothing came, of the requests beside that one neither; we hold nothing,
// and nothing that we gave back is to come.
//
// What it knows from before is not enough: a message may have come since. So it asks once
// more, for as long as a request waits.
func (s *Subscription) Empty(ctx context.Context) (bool, error) {
	if empty, err := s.empty(time.Time{}); !empty || err != nil {
		return empty, err
	}
	s.mu.Lock()
	begun := time.Now()
	s.probed, s.probe = begun, 1+slices.Max(append(slices.Clone(s.asked), 0))
	s.feed()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.probe = 0
	}()
	for {
		s.mu.Lock()
		changed, hungry, busy := s.changed, s.hungry, s.busy.After(begun) || len(s.held) > 0
		s.mu.Unlock()
		if empty, err := s.empty(begun); empty || err != nil || busy {
			return empty, err
		}
		select {
		case <-changed:
		case <-hungry: // a request came back
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// empty by requests that began after a time.
func (s *Subscription) empty(since time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, rollcall.ErrClosed
	}
	if s.trouble != nil || len(s.held) > 0 {
		return false, nil // a trouble is told by the next Fetch
	}
	for _, place := range s.idle {
		if !place.began.After(s.busy) {
			return false, nil
		}
		if place.began.Before(since) {
			return false, nil
		}
		for r := range place.beside {
			if s.polls[r] {
				return false, nil
			}
		}
	}
	return true, nil
}
