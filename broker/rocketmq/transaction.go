package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
)

// Decision is what becomes of a transactional message.
type Decision uint8

// The decisions.
const (
	Undecided Decision = iota // ask again later
	Commit                    // let consumers have it
	Rollback                  // nobody ever sees it
)

// Checker decides about a message that was handed over by PublishTransaction and never
// decided: its sender died, or its word was lost. It looks where the sender's own work
// is kept. It is called again while it is Undecided, as often as the server likes.
type Checker func(ctx context.Context, m *rollcall.Message) Decision

// ErrRolledBack: the message was handed over, and taken back. Nobody sees it.
var ErrRolledBack = errors.New("rocketmq: rolled back")

// PublishTransaction hands messages over so that nobody sees them, then asks decide, then
// commits or takes back each. The topic must be of type TRANSACTION. Stored: committed.
// Refused: nobody sees it. Unknown: the decision may not have arrived; Config.Checker is
// asked later. The messages are decided one by one, so a crash between leaves some of
// them to the Checker: an outbox in the store has no such gap.
func (s *Sender) PublishTransaction(ctx context.Context, destination string, messages []rollcall.Message, decide func(ctx context.Context) (Decision, error)) []rollcall.PublishResult {
	p := &call{cluster: s.cluster, topic: destination, results: make([]rollcall.PublishResult, len(messages))}
	all := func(r rollcall.PublishResult) []rollcall.PublishResult {
		return slices.Repeat([]rollcall.PublishResult{r}, len(messages))
	}
	if err := p.begin(ctx); err != nil {
		return all(*err)
	}
	p.kind = v2.MessageType_TRANSACTION
	link := p.route.next()
	if err := s.cluster.transactional(ctx, destination, link); err != nil {
		return all(rollcall.PublishResult{Err: fmt.Errorf("%w: %w", rollcall.ErrTryAgain, err)})
	}
	halves := p.handOver(ctx, link, messages)
	decision, err := Rollback, error(ErrRolledBack)
	if !slices.Contains(halves, nil) {
		if decision, err = decide(ctx); err == nil && decision == Rollback {
			err = ErrRolledBack
		}
	}
	for i, h := range halves {
		if h != nil {
			p.results[i] = p.finish(ctx, h, decision, err)
		}
	}
	return p.results
}

// half is a message that nobody sees yet.
type half struct {
	link                     *link
	topic                    string
	messageID, transactionID string
}

// handOver sends each message; those that are not surely there are nil and have a result.
func (p *call) handOver(ctx context.Context, l *link, messages []rollcall.Message) []*half {
	halves := make([]*half, len(messages))
	for _, b := range p.pack(messages) {
		entry, err := p.cluster.send(ctx, l, []parcel{b})
		if err != nil {
			p.results[b.index] = p.fate(err)
			continue
		}
		halves[b.index] = &half{l, p.topic, entry.GetMessageId(), entry.GetTransactionId()}
	}
	return halves
}

// finish tells the decision of one message. why is what the caller hears of one that is
// not committed.
func (p *call) finish(ctx context.Context, h *half, decision Decision, why error) rollcall.PublishResult {
	if decision == Undecided {
		if why == nil {
			why = errors.New("undecided")
		}
		return rollcall.PublishResult{Err: fmt.Errorf("rocketmq: topic %q: handed over; the Checker is asked later: %w", p.topic, why)}
	}
	err := p.cluster.end(ctx, h, decision, v2.TransactionSource_SOURCE_CLIENT)
	switch {
	case err != nil:
		return rollcall.PublishResult{Err: fmt.Errorf("rocketmq: topic %q: handed over, but the decision may not have arrived; if not, the Checker is asked: %w", p.topic, err)}
	case decision == Commit:
		return rollcall.PublishResult{Fate: rollcall.Stored}
	case why == nil:
		why = ErrRolledBack
	}
	return rollcall.PublishResult{Fate: rollcall.Refused, Err: fmt.Errorf("rocketmq: topic %q: %w", p.topic, why)}
}

// end tells the server what becomes of a half. An error says nothing of whether it was
// decided before: the server has forgotten those.
func (c *Cluster) end(ctx context.Context, h *half, decision Decision, source v2.TransactionSource) error {
	resolution := v2.TransactionResolution_ROLLBACK
	if decision == Commit {
		resolution = v2.TransactionResolution_COMMIT
	}
	ctx, cancel := c.sending.call(ctx)
	defer cancel()
	got, err := h.link.stub.EndTransaction(ctx, &v2.EndTransactionRequest{Topic: c.resource(h.topic), MessageId: h.messageID,
		TransactionId: h.transactionID, Resolution: resolution, Source: source})
	if err != nil {
		return h.link.failed(err)
	}
	return told(got.GetStatus())
}

// transactional makes the server know that we can be asked about the topic.
func (c *Cluster) transactional(ctx context.Context, topic string, l *link) error {
	s := c.sending
	s.mu.Lock()
	topics := s.settings.GetPublishing().GetTopics()
	added := !slices.ContainsFunc(topics, func(r *v2.Resource) bool { return r.GetName() == topic })
	if added {
		s.settings = publishing(append(slices.Clone(topics), c.resource(topic)))
	}
	s.mu.Unlock()
	if added {
		for _, t := range s.opened() {
			_ = t.tell() // what breaks is opened anew, and told then
		}
	}
	t := s.stream(l)
	if t == nil {
		return rollcall.ErrClosed
	}
	return t.wait(ctx)
}

// publishing are the settings of a sender. Of its topics only transactional ones matter.
func publishing(topics []*v2.Resource) *v2.Settings {
	kind := v2.ClientType_PRODUCER
	return &v2.Settings{ClientType: &kind, UserAgent: userAgent(),
		PubSub: &v2.Settings_Publishing{Publishing: &v2.Publishing{Topics: topics, ValidateMessageType: true}}}
}

func userAgent() *v2.UA {
	return &v2.UA{Language: v2.Language_GOLANG, Version: "5.1.4", Platform: "rollcall"}
}

// checkPatience is how long a Checker may take: the server asks again anyway.
const checkPatience = 30 * time.Second

// orphan asks the Checker about a message that nobody decided.
func (c *Cluster) orphan(t *stream, found *v2.RecoverOrphanedTransactionCommand) {
	w := found.GetMessage()
	topic := w.GetTopic().GetName()
	if c.config.Checker == nil {
		c.warn("topic %q: a transactional message is undecided and there is no Config.Checker to ask: the server gives it up in the end", topic)
		return
	}
	ctx, cancel := context.WithTimeout(c.sending.ctx, checkPatience)
	defer cancel()
	reader := &Source{cluster: c, topic: topic}
	m := reader.incoming(w)
	decision := c.config.Checker(ctx, &m)
	if decision == Undecided {
		return
	}
	h := &half{t.link, topic, w.GetSystemProperties().GetMessageId(), found.GetTransactionId()}
	if err := c.end(ctx, h, decision, v2.TransactionSource_SOURCE_SERVER_CHECK); err != nil {
		c.warn("topic %q: the decision about message %q did not arrive, the server asks again: %v", topic, h.messageID, err)
	}
}
