package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kgo"
)

// DefaultMaxBytes is the default of Config.MaxBytes.
const DefaultMaxBytes = 1_000_012

// Config is the settings of a connection to a cluster. The zero value is safe.
type Config struct {
	// ClientID is how this program is called in the broker's logs and quotas.
	// Default: "rollcall".
	ClientID string
	// TLS encrypts, and with a certificate in it is who we are (mTLS). Default: none.
	TLS *tls.Config
	// SASL is who we are. Default: nobody.
	SASL SASL
	// Dial opens connections, already encrypted if they are to be. Default: TCP, or
	// TLS as configured.
	Dial func(ctx context.Context, network, host string) (net.Conn, error)
	// MaxBytes is the most bytes of one message, and of one batch before it is
	// compressed. A topic that takes less wins. Default: 1,000,012, which is what
	// Kafka's own default takes.
	MaxBytes int
	// Warn is told what is wrong with the cluster's settings though it works: a topic
	// with one replica, say. Default: slog.Default().
	Warn func(warning string)
}

// SourceConfig is the settings of one source. The zero value is safe.
type SourceConfig struct {
	// SessionTimeout is how long a member may be silent before others get its
	// partitions. Default: 45 s.
	SessionTimeout time.Duration
	// RebalanceTimeout is how long members have to let partitions go; ConsumerConfig.Drain
	// must be shorter. Default: 60 s.
	RebalanceTimeout time.Duration
	// Protocol of the group: Cooperative, Eager, or Server (KIP-848, Kafka 4.3 and
	// newer). All members of a group use the same. Default: Cooperative.
	Protocol Protocol
	// Instance is the name of a static member: it keeps its partitions over a restart
	// within SessionTimeout. Unique in the group. Default: none.
	Instance string
	// CommitEvery is how often the floor of what was settled is committed to Kafka,
	// for tools. It is committed when a partition is given back, too. Below zero:
	// never. Default: 1 s.
	CommitEvery time.Duration
	// Buffer is how many messages of a partition are read ahead. Default: 2000.
	Buffer int
	// AcceptLost goes on behind offsets that retention or an operator has removed
	// before the group did them, and says so by Config.Warn. Default: false, Fetch
	// fails and names them.
	AcceptLost bool
}

// Protocol is how the members of a group share out partitions.
type Protocol string

// The protocols.
const (
	Cooperative Protocol = "cooperative"
	Eager       Protocol = "eager"
	Server      Protocol = "server"
)

const (
	// metadataMinAge: the client asks at most so often who leads. With its default of
	// seconds, a failover took up to a minute.
	metadataMinAge = 250 * time.Millisecond
	// metadataMaxAge: a topic that got partitions is noticed after so long.
	metadataMaxAge = 10 * time.Second
	// fetchBytes bounds what one broker sends at once, and with it the memory.
	fetchBytes = 8 << 20
	// partitionBytes of that are one partition's. They may be compressed ten to one.
	partitionBytes = 256 << 10
)

func (c Config) withDefaults() Config {
	if c.ClientID == "" {
		c.ClientID = "rollcall"
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.Warn == nil {
		c.Warn = func(w string) { slog.Warn("kafka: " + w) }
	}
	return c
}

func (c SourceConfig) withDefaults() SourceConfig {
	c.SessionTimeout = orDefault(c.SessionTimeout, 45*time.Second)
	c.RebalanceTimeout = orDefault(c.RebalanceTimeout, time.Minute)
	if c.CommitEvery == 0 {
		c.CommitEvery = time.Second
	}
	if c.Buffer <= 0 {
		c.Buffer = 2000
	}
	if c.Protocol == "" {
		c.Protocol = Cooperative
	}
	return c
}

func orDefault(d, standard time.Duration) time.Duration {
	if d <= 0 {
		return standard
	}
	return d
}

func configError(field string, value any, next string) error {
	return fmt.Errorf("%w: kafka: %s: %v: %s", rollcall.ErrConfig, field, value, next)
}

// options are what every client of the cluster has.
func (c Config) options(brokers []string) ([]kgo.Opt, error) {
	if len(brokers) == 0 {
		return nil, configError("brokers", "none", "give at least one host:port of the cluster")
	}
	for _, b := range brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return nil, configError("brokers", b, "give it as host:port")
		}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.ClientID(c.ClientID),
		kgo.SoftwareNameAndVersion("rollcall", "1"),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.MetadataMaxAge(metadataMaxAge),
		kgo.DisableClientMetrics(),
	}
	if c.Dial != nil {
		options = append(options, kgo.Dialer(c.Dial))
	} else if c.TLS != nil {
		if c.TLS.MinVersion != 0 && c.TLS.MinVersion < tls.VersionTLS12 {
			return nil, configError("TLS.MinVersion", tls.VersionName(c.TLS.MinVersion), "use TLS 1.2 or newer")
		}
		options = append(options, kgo.DialTLSConfig(c.TLS))
	}
	mechanism, err := c.SASL.mechanism(c.TLS != nil || c.Dial != nil)
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		options = append(options, kgo.SASL(mechanism))
	}
	return options, nil
}

// group are the options of a member of a group.
func (c SourceConfig) group() ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.SessionTimeout(c.SessionTimeout),
		kgo.HeartbeatInterval(min(time.Second, c.SessionTimeout/3)), // members hear of a rebalance by it,
		kgo.RebalanceTimeout(c.RebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		// Both on purpose: the client would move a reader that is out of range, and
		// tell nobody.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // they are offsets that nobody gets: the roll must know
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(partitionBytes),
		kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if c.Instance != "" {
		options = append(options, kgo.InstanceID(c.Instance))
	}
	switch c.Protocol {
	case Cooperative:
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	case Eager:
		options = append(options, kgo.Balancers(kgo.StickyBalancer(), kgo.RangeBalancer()))
	case Server:
		options = append(options, kgo.ServerSideBalancer())
	default:
		return nil, configError("Protocol", c.Protocol, `use "cooperative", "eager" or "server"`)
	}
	return options, nil
}
