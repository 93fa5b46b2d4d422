package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/backoff"
)

// receiver asks one broker for messages, as many as somebody waits for.
type receiver struct {
	subscription *Subscription
	place        place
	number       int // of the place
}

// most messages of one request: the broker gives no more.
const mostReceived = 32

func (r *receiver) run() {
	s := r.subscription
	for try := 0; s.alive.Err() == nil; {
		n := s.claim(r.number)
		if n == 0 {
			return
		}
		asked := s.asking(r.number)
		came, err := r.receive(n)
		if s.came(asked, n, came, err) {
			try = 0
			continue
		}
		select {
		case <-s.alive.Done():
		case <-time.After(backoff.Delay(try, 100*time.Millisecond, 2*time.Second)):
		}
		try++
	}
}

// claim waits until messages are wanted that nobody has asked this broker for; 0 at the
// end. Every broker is asked for all of them: none of them knows what the others have.
func (s *Subscription) claim(place int) int {
	for {
		s.mu.Lock()
		n := min(mostReceived, max(s.want, s.probe, s.source.config.Ahead)-len(s.buffer)-s.asked[place])
		if n > 0 {
			s.asked[place] += n
		}
		hungry := s.hungry
		s.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-hungry:
		case <-s.alive.Done():
			return 0
		}
	}
}

// came takes what a request brought, and says whether it went well.
func (s *Subscription) came(r *poll, asked int, came []*held, err error) (well bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.place] -= asked
	delete(s.polls, r)
	for _, h := range came {
		s.numbers++
		h.number = s.numbers
		h.delivery.Receipt = rollcall.Receipt{Session: s.generation, Number: h.number, Handle: h.handle}
		s.held[h.number] = h
		s.buffer = append(s.buffer, h)
	}
	switch {
	case len(came) > 0:
		s.busy = time.Now()
	case err == nil:
		s.nothing(r)
	}
	if err == nil {
		s.missing = time.Time{}
	}
	if err != nil && s.alive.Err() == nil {
		s.trouble = s.lasts(fmt.Errorf("rocketmq: topic %q, group %q: %w", s.source.topic, s.group, err))
	}
	if len(came) > 0 || s.trouble != nil {
		s.wake()
	}
	s.feed()
	return err == nil
}

// mostAway is how long a topic, or the group, may be missing that was there. A broker that
// dies takes both with it, for as long as it is away: the name server knows those of others.
const mostAway = 15 * time.Minute

// lasts says whether a topic that is missing is gone for good, or its broker for now. The
// caller holds mu.
func (s *Subscription) lasts(err error) error {
	if !errors.Is(err, rollcall.ErrNoDestination) {
		s.missing = time.Time{}
		return err
	}
	if s.missing.IsZero() {
		s.missing = time.Now()
	}
	if time.Since(s.missing) > mostAway {
		return err
	}
	return away{err}
}

// away hides what its error is: it passes, as far as we know.
type away struct{ error }

// receive is one request. What came before it broke is good.
func (r *receiver) receive(n int) ([]*held, error) {
	s := r.subscription
	stream := s.session.stream(r.place.link)
	if stream == nil {
		return nil, rollcall.ErrClosed
	}
	config := s.source.config
	ctx, cancel := context.WithTimeout(s.alive, config.Poll+s.source.cluster.config.Timeout)
	defer cancel()
	if err := stream.wait(ctx); err != nil {
		return nil, err
	}
	until := time.Now().Add(config.Invisible)
	got, err := r.place.link.stub.ReceiveMessage(s.session.signed(ctx), &v2.ReceiveMessageRequest{
		Group:              s.session.group,
		MessageQueue:       r.place.queue,
		FilterExpression:   s.source.filter(),
		BatchSize:          int32(n),
		InvisibleDuration:  durationpb.New(config.Invisible),
		LongPollingTimeout: durationpb.New(config.Poll),
	})
	if err != nil {
		return nil, r.place.link.failed(err)
	}
	var came []*held
	for {
		part, err := got.Recv()
		if errors.Is(err, io.EOF) {
			return came, nil
		}
		if err != nil {
			return came, r.place.link.failed(err)
		}
		if w := part.GetMessage(); w != nil {
			came = append(came, r.hold(w, until))
		} else if err := told(part.GetStatus()); part.GetStatus() != nil && err != nil && codeOf(err) != v2.Code_MESSAGE_NOT_FOUND {
			return came, r.explain(err)
		}
	}
}

// hold a message that was received. until is counted from before the request: by the
// broker's clock it is later.
func (r *receiver) hold(w *v2.Message, until time.Time) *held {
	s := r.subscription
	system := w.GetSystemProperties()
	h := &held{link: r.place.link, id: system.GetMessageId(), handle: system.GetReceiptHandle(), attempt: system.GetDeliveryAttempt(),
		since: time.Now(), until: until, turn: make(chan struct{}, 1)}
	h.delivery.Message = s.source.incoming(w)
	h.delivery.Redelivered = h.attempt > 1
	return h
}

// explain what the server answers where something is missing: local mode says no more
// than that it failed.
func (r *receiver) explain(err error) error {
	s := r.subscription
	switch codeOf(err) {
	case v2.Code_CONSUMER_GROUP_NOT_FOUND:
		return fmt.Errorf("%w; %s", err, createGroup(s.group))
	case v2.Code_TOPIC_NOT_FOUND:
		return fmt.Errorf("%w; %s", err, create(s.source.topic))
	case v2.Code_ILLEGAL_INVISIBLE_TIME:
		return fmt.Errorf("%w: %w; SourceConfig.Invisible is %v, and the server takes 10 s to 12 h", rollcall.ErrConfig, err, s.source.config.Invisible)
	case v2.Code_INTERNAL_SERVER_ERROR:
		return fmt.Errorf("%w; if the group does not exist, %s", err, createGroup(s.group))
	}
	return err
}
