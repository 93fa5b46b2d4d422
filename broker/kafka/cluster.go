package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Cluster is a connection to a Kafka cluster. It is safe for concurrent use.
type Cluster struct {
	brokers []string
	config  Config
	version string
	client  *kgo.Client // produces, and asks
	admin   *kadm.Client
	answers *answers

	mu     sync.Mutex
	topics map[string]*topic // what senders know, by name
	warned map[string]bool
}

// Open connects to the cluster of these brokers (host:port). It returns when one of
// them has answered: the error says what was tried, and is ErrConfig when the
// configuration cannot work.
func Open(ctx context.Context, brokers []string, config Config) (*Cluster, error) {
	config = config.withDefaults()
	options, err := config.options(brokers)
	if err != nil {
		return nil, err
	}
	c := &Cluster{brokers: slices.Clone(brokers), config: config, answers: new(answers), topics: make(map[string]*topic), warned: make(map[string]bool)}
	options = append(options,
		kgo.WithHooks(c.answers),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), // batches are ready when they come
		kgo.ProducerBatchMaxBytesFn(c.batchBytes),
		kgo.MaxBufferedRecords(100_000),
		// RecordRetries and RecordDeliveryTimeout stay unlimited: a limit would turn
		// what may be stored into a failure. The caller's context is the limit.
	)
	if c.client, err = kgo.NewClient(options...); err != nil {
		return nil, fmt.Errorf("%w: kafka: %w", rollcall.ErrConfig, err)
	}
	c.admin = kadm.NewClient(c.client)
	if c.version, err = c.ask(ctx); err != nil {
		c.client.Close()
		return nil, err
	}
	return c, nil
}

// ask finds the version of the brokers, by what they say that they can do.
func (c *Cluster) ask(ctx context.Context) (string, error) {
	if err := c.client.Ping(ctx); err != nil {
		return "", c.config.unopened(c.brokers, err)
	}
	all, err := c.admin.ApiVersions(ctx)
	if err != nil {
		return "", c.config.unopened(c.brokers, err)
	}
	version := ""
	all.Each(func(v kadm.BrokerApiVersions) {
		if v.Err == nil && version == "" {
			version = guess(v)
		}
	})
	return version, nil
}

func guess(v kadm.BrokerApiVersions) string {
	return kversion.FromApiVersionsResponse(v.Raw()).VersionGuess()
}

// Version of the brokers, as guessed from what they say that they can do.
func (c *Cluster) Version() string { return c.version }

// Close gives up the connection. Senders and sources of the cluster end with it;
// subscriptions have connections of their own and are closed by themselves.
func (c *Cluster) Close() { c.client.Close() }

// warn says a thing once.
func (c *Cluster) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.mu.Lock()
	again := c.warned[text]
	c.warned[text] = true
	c.mu.Unlock()
	if !again {
		c.config.Warn(text)
	}
}

// options of one more client of the same cluster.
func (c *Cluster) options(more ...kgo.Opt) ([]kgo.Opt, error) {
	options, err := c.config.options(c.brokers)
	return append(options, more...), err
}
