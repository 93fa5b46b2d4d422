package rocketmq

import (
	"context"
	"fmt"
	"sync"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcall-mq/rollcall"
)

const (
	// soon is how long a message that is given back stays invisible: the server wants
	// something. It comes 3 to 5 s later.
	soon = time.Second
	// ackEntries is the most acknowledgements of one call.
	ackEntries = 128
	// together is how many calls of one Settle are under way.
	together = 8
	// returns is how long a message that was given back may take to come, beyond the time
	// that was asked for.
	returns = 10 * time.Second
)

// Settle implements rollcall.Subscription. nil is the server's word for just that
// delivery. A receipt is used once, whatever came of it: a second use may make two copies
// of the message.
func (s *Subscription) Settle(ctx context.Context, settlements []rollcall.Settlement) []error {
	errs := make([]error, len(settlements))
	acks := make(map[*link][]settling)
	var work sync.WaitGroup
	slots := make(chan struct{}, together)
	beside := func(do func()) {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			do()
		})
	}
	for i, x := range settlements {
		h, err := s.use(x)
		switch {
		case err != nil:
			errs[i] = err
		case x.Verb == rollcall.Ack:
			acks[h.link] = append(acks[h.link], settling{h, &errs[i]})
		default:
			beside(func() { errs[i] = s.other(ctx, h, x) })
		}
	}
	for l, all := range acks {
		for len(all) > 0 {
			n := min(ackEntries, len(all))
			some := all[:n]
			all = all[n:]
			beside(func() { s.ack(ctx, l, some) })
		}
	}
	work.Wait()
	return errs
}

// settling is a delivery that is acknowledged, and where its error goes.
type settling struct {
	held *held
	err  *error
}

// use takes a receipt for good.
func (s *Subscription) use(x rollcall.Settlement) (*held, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, rollcall.ErrClosed
	}
	if x.Receipt.Session != s.generation || s.held[x.Receipt.Number] == nil {
		return nil, fmt.Errorf("%w: it was used before, or is of before a Restart, or others may have the message by now", rollcall.ErrStaleReceipt)
	}
	h := s.held[x.Receipt.Number]
	delete(s.held, h.number)
	s.busy = time.Now()
	if x.Verb == rollcall.Retry || x.Verb == rollcall.RetryAfter {
		s.busy = s.busy.Add(wait(x) + returns)
	}
	return h, nil
}

// wait is how long a message stays away.
func wait(x rollcall.Settlement) time.Duration {
	if x.Verb != rollcall.RetryAfter {
		return soon
	}
	return min(max(x.After, soon), longestInvisible)
}

// ack acknowledges deliveries of one broker, and looks at what became of each.
func (s *Subscription) ack(ctx context.Context, l *link, all []settling) {
	request := &v2.AckMessageRequest{Group: s.session.group, Topic: s.source.resource()}
	byHandle := make(map[string]settling, len(all))
	for _, x := range all {
		x.held.mine()
		request.Entries = append(request.Entries, &v2.AckMessageEntry{MessageId: x.held.id, ReceiptHandle: x.held.handle})
		byHandle[x.held.handle] = x
		*x.err = fmt.Errorf("rocketmq: message %q: %w", x.held.id, errNoEntry) // until the server says otherwise
	}
	ctx, cancel := s.session.call(ctx)
	defer cancel()
	got, err := l.stub.AckMessage(ctx, request)
	if err != nil {
		err = l.failed(err)
	} else if len(got.GetEntries()) == 0 {
		err = told(got.GetStatus())
		if err == nil {
			err = errNoEntry
		}
	}
	if err != nil {
		for _, x := range all {
			*x.err = fmt.Errorf("rocketmq: message %q: not surely acknowledged, it may come again: %w", x.held.id, err)
		}
		return
	}
	for _, e := range got.GetEntries() {
		if x, is := byHandle[e.GetReceiptHandle()]; is {
			*x.err = x.held.settled(told(e.GetStatus()))
		}
	}
}

// settled is the error of a settlement as the caller sees it.
func (h *held) settled(err error) error {
	switch {
	case err == nil:
		return nil
	case codeOf(err) == v2.Code_INVALID_RECEIPT_HANDLE:
		return fmt.Errorf("rocketmq: message %q: %w; it was held too long, and comes again or is with others", h.id, err) // ErrStaleReceipt
	case codeOf(err) == v2.Code_INTERNAL_SERVER_ERROR:
		return fmt.Errorf("rocketmq: message %q: %w; the server cannot read the receipt, or is in trouble; the message comes again", h.id, err)
	}
	return fmt.Errorf("rocketmq: message %q: not surely settled, it may come again: %w", h.id, err)
}

// other verbs have no batches.
func (s *Subscription) other(ctx context.Context, h *held, x rollcall.Settlement) error {
	h.mine()
	if x.Verb == rollcall.Reject {
		return h.settled(s.reject(ctx, h))
	}
	_, err := s.change(ctx, h, wait(x))
	return h.settled(err)
}

// mine waits until nobody else uses the handle. What has been taken out of held is
// nobody's afterwards.
func (h *held) mine() { h.turn <- struct{}{} }

// change how long a message stays invisible, from now. It returns the new handle.
func (s *Subscription) change(ctx context.Context, h *held, by time.Duration) (string, error) {
	ctx, cancel := s.session.call(ctx)
	defer cancel()
	got, err := h.link.stub.ChangeInvisibleDuration(ctx, &v2.ChangeInvisibleDurationRequest{Group: s.session.group, Topic: s.source.resource(),
		ReceiptHandle: h.handle, InvisibleDuration: durationpb.New(by), MessageId: h.id})
	if err != nil {
		return "", h.link.failed(err)
	}
	return mended(got.GetReceiptHandle()), told(got.GetStatus())
}

// reject puts a message into the group's dead letters.
func (s *Subscription) reject(ctx context.Context, h *held) error {
	ctx, cancel := s.session.call(ctx)
	defer cancel()
	got, err := h.link.stub.ForwardMessageToDeadLetterQueue(ctx, &v2.ForwardMessageToDeadLetterQueueRequest{Group: s.session.group, Topic: s.source.resource(),
		ReceiptHandle: h.handle, MessageId: h.id, DeliveryAttempt: max(1, h.attempt), MaxDeliveryAttempts: max(1, h.attempt)})
	if err != nil {
		return h.link.failed(err)
	}
	return told(got.GetStatus())
}

func (s *Source) resource() *v2.Resource { return s.cluster.resource(s.topic) }

// giveBack lets others have messages soon. What fails comes when its time is over.
func (s *Subscription) giveBack(ctx context.Context, all []*held) {
	if len(all) == 0 {
		return
	}
	var work sync.WaitGroup
	slots := make(chan struct{}, together)
	for _, h := range all {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			h.mine()
			_, _ = s.change(ctx, h, soon)
		})
	}
	work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = time.Now().Add(soon + returns)
}
