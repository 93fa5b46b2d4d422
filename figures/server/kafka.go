package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

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
	loads   map[string]load   // their sums
	groups  int

	mu      sync.Mutex
	proxyOf map[string]*proxy // by the broker's address
}

func openKafka(ctx context.Context, c Config) (*kafkaHall, error) {
	if c.Postgres == "" {
		return nil, fmt.Errorf("Config.Kafka without Config.Postgres: topics are worked off into its tables; nothing was done")
	}
	h := &kafkaHall{brokers: []string{c.Kafka}, prefix: fmt.Sprintf("rollcall-bench-%d-", os.Getpid()), topics: make(map[string]string), loads: make(map[string]load), proxyOf: make(map[string]*proxy)}
	var err error
	if h.cluster, err = driver.Open(ctx, h.brokers, driver.Config{Warn: func(string) {}}); err != nil {
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
	if p.Kafka = h.cluster.Version(); !h.c.Network && h.c.Watch == 0 {
		p.Deliveries = h.c.Deliveries
	}
}

func (h *kafkaHall) grow(context.Context, *Page) error {
	return fmt.Errorf("growth is measured without Kafka; leave one of the two out")
}

// more measures sending, members that come and go, and, by itself, memory.
func (h *kafkaHall) more(ctx context.Context, p *Page) error {
	switch {
	case h.c.Only != "":
		return nil
	case h.c.Network:
		return h.publish(ctx, p)
	}
	if err := h.publish(ctx, p); err != nil {
		return err
	}
	return h.churn(ctx, p)
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

// load is a load whose topics may be filled already: making a million messages takes
// as long as a run.
func (h *kafkaHall) load(n, parts int) *load {
	l, known := h.loads[fmt.Sprint(n, parts)]
	if !known || len(h.topics) == 0 {
		return newLoad(n, parts, false)
	}
	l.parts = make([][]rollcall.Message, parts)
	return &l
}

// topic holds the load, which is let go; distinct: without the repeats. It is
// filled once for all runs.
func (h *kafkaHall) topic(ctx context.Context, l *load, distinct bool) (string, error) {
	parts := l.parts
	key := fmt.Sprint(l.n, len(parts), distinct)
	if name := h.topics[key]; name != "" {
		l.parts, l.distinct = nil, nil
		return name, nil
	}
	if len(parts[0]) == 0 { // the other topic of it was filled, and it was let go
		parts = newLoad(l.n, len(parts), false).parts
	}
	l.parts, l.distinct = nil, nil // a log has the memory of its messages elsewhere
	name, err := h.newTopic(ctx, len(parts), key)
	if err != nil {
		return "", err
	}
	h.loads[fmt.Sprint(l.n, len(parts))] = load{n: l.n, orders: l.orders, sum: l.sum}
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
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) { // until it has leaders, and the brokers say so
		ends, err := h.admin.ListEndOffsets(ctx, name)
		if err == nil && ends.Error() == nil && len(ends[name]) == parts {
			return name, nil
		}
		if time.Since(begin) > time.Minute {
			return "", fmt.Errorf("topic %q has no leaders a minute after it was made: %w", name, errors.Join(err, ends.Error()))
		}
	}
}

// json is the order as a service would send it.
func (o order) json() []byte {
	return fmt.Appendf(nil, `{"number":%d,"account":%d,"amount":%d,"status":"paid","note":"0123456789012345678901234567890123456789"}`, o.Number, o.Account, o.Amount)
}
