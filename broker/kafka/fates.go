package kafka

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answers counts the Produce requests whose answer was lost: what they carried may be
// stored, so a refusal of the same records later proves nothing.
// It remembers what was wrong with the last connection, too: the client tries again in
// silence.
type answers struct {
	lost    atomic.Uint64
	trouble atomic.Pointer[trouble]
}

// trouble is a connection that failed.
type trouble struct {
	broker string
	err    error
}

var _ kgo.HookBrokerConnect = (*answers)(nil)

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (a *answers) OnBrokerConnect(b kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	broker := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	if err != nil {
		a.trouble.Store(&trouble{broker, err})
	} else if was := a.trouble.Load(); was != nil && was.broker == broker {
		a.trouble.CompareAndSwap(was, nil)
	}
}

// because adds what was wrong with the last connection, if anything was.
func (a *answers) because(err error) error {
	was := a.trouble.Load()
	if was == nil {
		return err
	}
	next, _ := refusal(was.err)
	return fmt.Errorf("%w; the last connection to %s failed: %w; %s", err, was.broker, was.err, next)
}

var _ kgo.HookBrokerE2E = (*answers)(nil)

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (a *answers) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == int16(kmsg.Produce) && e2e.Err() != nil {
		a.lost.Add(1)
	}
}

var _ kgo.HookBrokerDisconnect = (*answers)(nil)

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect: requests in flight on the
// connection get no answer.
func (a *answers) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { a.lost.Add(1) }

// refusals are answers of a broker that has surely not written the record, if it was
// sent once.
var refusals = []error{
	kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.PolicyViolation,
	kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
	kerr.InvalidTopicException, kerr.UnsupportedForMessageFormat, kerr.UnsupportedCompressionType, kerr.InvalidRequiredAcks,
}

// fate of a record that failed. silent: an answer was lost since it was handed over.
func (c *Cluster) fate(t *topic, err error, silent bool) (rollcall.Fate, error) {
	refused := false
	for _, r := range refusals {
		refused = refused || errors.Is(err, r)
	}
	switch {
	case errors.Is(err, kgo.ErrMaxBuffered):
		return rollcall.Unknown, fmt.Errorf("%w: kafka: topic %q: the buffer is full, is the broker away? %w", rollcall.ErrTryAgain, t.name, err)
	case errors.Is(err, kerr.UnknownTopicID):
		return rollcall.Unknown, c.recreated(t, err)
	case !refused:
		c.client.ForceMetadataRefresh() // it may know less partitions than we do
		return rollcall.Unknown, c.answers.because(fmt.Errorf("kafka: topic %q: %w", t.name, err))
	case silent:
		return rollcall.Unknown, fmt.Errorf("kafka: topic %q: refused, but an answer was lost before, so it may be stored: %w", t.name, err)
	case errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge):
		return rollcall.Refused, fmt.Errorf("%w: kafka: topic %q: %w; raise max.message.bytes of the topic, or send less", rollcall.ErrTooLarge, t.name, err)
	}
	return rollcall.Refused, denied(fmt.Errorf("kafka: topic %q: %w", t.name, err))
}

// recreated forgets a topic that was deleted, and made again: what is sent next goes
// to the new one. What was in flight may be in either.
func (c *Cluster) recreated(t *topic, err error) error {
	c.mu.Lock()
	if c.topics[t.name] == t {
		delete(c.topics, t.name)
		go c.client.PurgeTopicsFromProducing(t.name) // it waits for this very callback
	}
	c.mu.Unlock()
	return fmt.Errorf("kafka: topic %q with the id %s is gone, it was deleted, and made again perhaps; what was confirmed in it is gone with it: %w", t.name, idText(t.id), err)
}

func idText(id rollcall.Incarnation) string {
	return fmt.Sprintf("%x", id[:])
}

// patience bounds what a driver asks by itself, beside a caller's context.
const patience = 30 * time.Second
