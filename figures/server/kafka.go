package server

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall"
	driver "github.com/rollcall-mq/rollcall/broker/kafka"
)

// kafkaHall is a Kafka cluster before a PostgreSQL server: topics are worked off
// into its tables.
type kafkaHall struct {
	*postgresHall
	brokers []string
	cluster *driver.Cluster // fills topics, without the network's delay
	client  *kgo.Client
	admin   *kadm.Client
	prefix  string            // of topics and groups
	topics  map[string]string // what is in them: its name
	groups  int

	mu      sync.Mutex
	proxyOf map[string]*proxy // by the broker's address
}

func openKafka(ctx context.Context, c Config) (*kafkaHall, error) {
	if c.Postgres == "" {
		return nil, fmt.Errorf("Config.Kafka without Config.Postgres: topics are worked off into its tables; nothing was done")
	}
	h := &kafkaHall{brokers: []string{c.Kafka}, prefix: fmt.Sprintf("rollcall-bench-%d-", os.Getpid()), topics: make(map[string]string), proxyOf: make(map[string]*proxy)}
	var err error
	if h.cluster, err = driver.Open(ctx, h.brokers, driver.Config{Warn: c.Log}); err != nil {
		return nil, err
	}
	if h.client, err = kgo.NewClient(kgo.SeedBrokers(h.brokers...)); err != nil {
		return nil, err
	}
	h.admin = kadm.NewClient(h.client)
	if h.postgresHall, err = openPostgres(ctx, c); err != nil {
		return nil, err
	}
	// Effects name their tables as a pipeline does: without a schema.
	u, err := url.Parse(h.url)
	if err != nil {
		return nil, fmt.Errorf("the URL of PostgreSQL: %w", err)
	}
	q := u.Query()
	q.Set("search_path", h.schema)
	u.RawQuery = q.Encode()
	h.url = u.String()
	return h, nil
}

func (h *kafkaHall) close() {
	for _, name := range h.topics {
		if _, err := h.admin.DeleteTopic(context.Background(), name); err != nil {
			h.c.Log("clean up: " + err.Error())
		}
	}
	h.client.Close()
	h.cluster.Close()
	h.mu.Lock()
	for _, p := range h.proxyOf {
		p.close()
	}
	h.mu.Unlock()
	h.postgresHall.close()
}

func (h *kafkaHall) describe(p *Page) {
	h.postgresHall.describe(p)
	p.Kafka, p.Deliveries = h.cluster.Version(), h.c.Deliveries
}

func (h *kafkaHall) grow(context.Context, *Page) error {
	return fmt.Errorf("growth is measured without Kafka; leave one of the two out")
}

// dial puts the delay before a broker, whatever address it says that it has.
func (h *kafkaHall) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if h.c.Network {
		h.mu.Lock()
		p, err := h.proxyOf[address], error(nil)
		if p == nil {
			if p, err = newProxy(address); err == nil {
				h.proxyOf[address] = p
			}
		}
		h.mu.Unlock()
		if err != nil {
			return nil, err
		}
		address = p.address()
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (h *kafkaHall) turns() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.postgresHall.turns()
	for _, p := range h.proxyOf {
		n += p.turns.Load()
	}
	return n
}

// group is a name that no run had before.
func (h *kafkaHall) group() string {
	h.groups++
	return h.prefix + "group-" + strconv.Itoa(h.groups)
}

// topic holds the load, which is let go; distinct: without the repeats. It is
// filled once for all runs.
func (h *kafkaHall) topic(ctx context.Context, l *load, distinct bool) (string, error) {
	parts := l.parts
	l.parts, l.distinct = nil, nil // a log has the memory of its messages elsewhere
	key := fmt.Sprint(l.n, len(parts), distinct)
	if name := h.topics[key]; name != "" {
		return name, nil
	}
	name, err := h.newTopic(ctx, len(parts), key)
	if err != nil {
		return "", err
	}
	seen := make(map[rollcall.MessageID]bool)
	for _, part := range parts {
		batch := make([]rollcall.Message, 0, perPublish)
		for i, m := range part {
			if !distinct || !seen[m.ID] {
				m.Body = parse(m.Body).json()
				batch = append(batch, m)
			}
			if distinct {
				seen[m.ID] = true
			}
			if len(batch) == perPublish || i == len(part)-1 {
				if err := stored(h.cluster.Sender().Publish(ctx, name, batch)); err != nil {
					return "", err
				}
				batch = batch[:0]
			}
		}
	}
	return name, nil
}

// perPublish is how many messages are handed to a client at once.
const perPublish = 5000

func stored(results []rollcall.PublishResult) error {
	for _, r := range results {
		if r.Fate != rollcall.Stored {
			return r.Err
		}
	}
	return nil
}

func (h *kafkaHall) newTopic(ctx context.Context, parts int, key string) (string, error) {
	name := h.prefix + strconv.Itoa(len(h.topics))
	if _, err := h.admin.CreateTopic(ctx, int32(parts), 1, nil, name); err != nil {
		return "", err
	}
	h.topics[key] = name
	return name, nil
}

// json is the order as a service would send it.
func (o order) json() []byte {
	return fmt.Appendf(nil, `{"number":%d,"account":%d,"amount":%d,"status":"paid","note":"0123456789012345678901234567890123456789"}`, o.Number, o.Account, o.Amount)
}
