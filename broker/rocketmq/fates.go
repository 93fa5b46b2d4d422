package rocketmq

import (
	"context"
	"errors"
	"fmt"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
)

// batch sends parcels as one, and writes their one fate. A batch that is refused for what
// is wrong with one message is sent again one by one: surely nothing of it is stored.
func (p *call) batch(ctx context.Context, parcels []parcel) {
	err := p.send(ctx, parcels)
	if len(parcels) > 1 && ofOne(codeOf(err)) {
		for _, b := range parcels {
			p.batch(ctx, []parcel{b})
		}
		return
	}
	r := p.fate(err)
	for _, b := range parcels {
		p.results[b.index] = r
	}
}

// send is one call. nil: the server said that all of it is stored.
func (p *call) send(ctx context.Context, parcels []parcel) error {
	_, err := p.cluster.send(ctx, p.route.next(), parcels)
	return err
}

// errNoEntry: the server says OK, and not of what.
var errNoEntry = errors.New("the server's answer has no entry")

func (c *Cluster) send(ctx context.Context, l *link, parcels []parcel) (*v2.SendResultEntry, error) {
	request := &v2.SendMessageRequest{Messages: make([]*v2.Message, len(parcels))}
	for i, b := range parcels {
		request.Messages[i] = b.message
	}
	ctx, cancel := c.sending.call(ctx)
	defer cancel()
	got, err := l.stub.SendMessage(ctx, request)
	if err != nil {
		return nil, l.failed(err)
	}
	for _, e := range got.GetEntries() { // of a batch there is one, for all
		if err := told(e.GetStatus()); err != nil {
			return nil, err
		}
	}
	if err := told(got.GetStatus()); err != nil {
		return nil, err
	}
	if len(got.GetEntries()) == 0 {
		return nil, errNoEntry
	}
	return got.GetEntries()[0], nil
}

// ofOne: the code is about one message of the batch, not about the topic or us.
func ofOne(code v2.Code) bool {
	switch code {
	case v2.Code_ILLEGAL_TOPIC, v2.Code_MESSAGE_PROPERTY_CONFLICT_WITH_TYPE, v2.Code_REQUEST_TIMEOUT, v2.Code_TOO_MANY_REQUESTS:
		return false
	}
	return code >= 40002 && code < 40100 || code >= 41300 && code < 42000 || code >= 43000 && code < 44000
}

// notStored: the code says that nothing was written. All others, and all that is no code,
// may be stored: of 50402 it was seen.
func notStored(code v2.Code) bool {
	return code >= 40000 && code < 50000 && code != v2.Code_REQUEST_TIMEOUT
}

// fate of what was sent, by how the call ended.
func (p *call) fate(err error) rollcall.PublishResult {
	if err == nil {
		return rollcall.PublishResult{Fate: rollcall.Stored}
	}
	code := codeOf(err)
	if !notStored(code) {
		p.route.stale()
		return rollcall.PublishResult{Err: fmt.Errorf("rocketmq: topic %q: %w", p.topic, err)}
	}
	switch code {
	case v2.Code_TOO_MANY_REQUESTS:
		return rollcall.PublishResult{Err: fmt.Errorf("%w: rocketmq: topic %q: %w", rollcall.ErrTryAgain, p.topic, err)}
	case v2.Code_MESSAGE_BODY_TOO_LARGE, v2.Code_MESSAGE_PROPERTIES_TOO_LARGE, v2.Code_PAYLOAD_TOO_LARGE:
		err = fmt.Errorf("%w: %w; raise maxMessageSize, or send less", rollcall.ErrTooLarge, err)
	case v2.Code_TOPIC_NOT_FOUND:
		p.route.stale()
		if p.route.isAway(err) {
			return rollcall.PublishResult{Err: fmt.Errorf("%w: rocketmq: topic %q is missing, and was there: its broker may be away: %w", rollcall.ErrTryAgain, p.topic, err)}
		}
		err = fmt.Errorf("%w; %s", err, create(p.topic))
	case v2.Code_MESSAGE_PROPERTY_CONFLICT_WITH_TYPE:
		p.route.stale()
		err = fmt.Errorf("%w; the topic was deleted, or takes messages of another type: mqadmin updateTopic -a +message.type=NORMAL", err)
	}
	return rollcall.PublishResult{Fate: rollcall.Refused, Err: fmt.Errorf("rocketmq: topic %q: %w", p.topic, err)}
}
