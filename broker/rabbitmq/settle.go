package rabbitmq

import (
	"context"
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

// Settle implements rollcall.Subscription. Nil means that it was written: AMQP 0-9-1 has
// no answer to an ack. What the broker did not read before the channel died comes again.
func (s *Subscription) Settle(_ context.Context, settlements []rollcall.Settlement) []error {
	errs := make([]error, len(settlements))
	s.mu.Lock()
	n := s.session
	s.mu.Unlock()
	if n != nil {
		n.writing.Lock()
		defer n.writing.Unlock()
	}
	s.mu.Lock()
	if s.session != n {
		n = nil // it ended meanwhile
	}
	verdicts := make([]verdict, 0, len(settlements))
	for i, x := range settlements {
		if errs[i] = s.claim(n, x); errs[i] == nil {
			verdicts = append(verdicts, verdict{i, x.Receipt.Number, x.Verb})
		}
	}
	var below uint64
	if n != nil {
		below = n.below()
	}
	s.mu.Unlock()
	if len(verdicts) > 0 {
		n.write(verdicts, below, func(index int, err error) {
			errs[index] = fmt.Errorf("rabbitmq: queue %q: not settled, it comes again: %w", s.source.queue, err)
		})
	}
	return errs
}

func (s *Subscription) claim(n *session, x rollcall.Settlement) error {
	if x.Partition != s.source.partition() {
		return rollcall.ErrNotOwner
	}
	return n.claim(x)
}
