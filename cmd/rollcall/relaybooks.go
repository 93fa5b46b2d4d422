package main

import (
	"context"
	"errors"

	"github.com/rollcall-mq/rollcall"
)

var _ rollcall.SideMaker = (*forwarding)(nil)

// booksTo is who keeps the books of a destination: the broker that has its messages.
// nil: it is no broker's, or one on which nobody could read them.
func (s *forwarding) booksTo(m *rollcall.Message) rollcall.Sender {
	book, err := rollcall.ParseBook(m)
	if err != nil {
		return nil
	}
	to := s.to[book.Destination]
	if _, can := to.(rollcall.SideMaker); !can {
		return nil
	}
	return to
}

// brokers are those that are sent to, each once.
func (s *forwarding) brokers() (out []rollcall.Sender) {
	seen := make(map[rollcall.Sender]bool)
	for _, to := range s.to {
		if !seen[to] {
			seen[to] = true
			out = append(out, to)
		}
	}
	return out
}

// MakeSide on every broker.
func (s *forwarding) MakeSide(ctx context.Context, destination string) error {
	var errs []error
	for _, to := range s.brokers() {
		if maker, can := to.(rollcall.SideMaker); can {
			errs = append(errs, maker.MakeSide(ctx, destination))
		}
	}
	return errors.Join(errs...)
}

// sideLanes is one lane: a side destination has one partition.
type sideLanes struct{}

func (sideLanes) Pick(*rollcall.Message) int32 { return 0 }
func (sideLanes) Name(int32) string            { return "0" }

// publishBooks to the broker of each.
func (s *forwarding) publishBooks(ctx context.Context, messages []rollcall.Message) []rollcall.PublishResult {
	results := make([]rollcall.PublishResult, len(messages))
	for i := range messages {
		to := s.booksTo(&messages[i])
		if to == nil {
			results[i].Fate = rollcall.Stored // nobody misses it
			continue
		}
		results[i] = to.Publish(ctx, s.side, messages[i:i+1])[0]
	}
	return results
}
