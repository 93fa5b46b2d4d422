package rabbitmq

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// DefaultMaxBytes is the default of Config.MaxBytes: what RabbitMQ 4 takes (3.x takes
// eight times that).
const DefaultMaxBytes = 16 << 20

// Config is the settings of a connection to a cluster. The zero value is safe.
type Config struct {
	// VirtualHost is where the queues are. Default: "/".
	VirtualHost string
	// User and Password are who we are. Default: guest, guest, whom RabbitMQ takes from
	// its own machine only.
	User, Password string
	// External: who we are is what the certificate in TLS says (SASL EXTERNAL).
	// Default: false.
	External bool
	// TLS encrypts, and verifies the broker. Default: none.
	TLS *tls.Config
	// Name is how this program is called in the broker's list of connections.
	// Default: "rollcall".
	Name string
	// Dial opens connections, not yet encrypted: TLS goes on top. Default: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Warn is told what is wrong with the cluster's settings though it works.
	// Default: slog.Default().
	Warn func(warning string)
	// MaxBytes is the most bytes of one message. Default: 16 MiB, which every version
	// takes (max_message_size).
	MaxBytes int
}

// QueueType is what a queue is.
type QueueType string

// The types.
const (
	Quorum  QueueType = "quorum"
	Classic QueueType = "classic"
	Stream  QueueType = "stream"
)

// SourceConfig is the settings of one source. The zero value is safe.
type SourceConfig struct {
	// Type of the queue. Default: Quorum.
	Type QueueType
	// SingleActive: the queue has x-single-active-consumer, and one worker at a time
	// gets its messages. Default: false.
	SingleActive bool
	// Prefetch is how many messages are handed to us and not settled, those that nobody
	// has looked at included; of a stream, how many are read ahead. Default: 1000.
	Prefetch int
	// Late is how late the broker can bring a message again, if somebody knows.
	// Default: 0, not known.
	Late time.Duration
	// Leases say whose a stream is: Subscribe needs them, a Tap does not. Default: none.
	Leases rollcall.Claims
	// Lease is how long a worker that is gone keeps its stream from others.
	// Default: 15 s.
	Lease time.Duration
	// AcceptLost goes on behind offsets of a stream that retention has removed before
	// the group did them, and says so by Config.Warn. Default: false, Fetch fails and
	// names them.
	AcceptLost bool
}

func (c Config) withDefaults() Config {
	if c.VirtualHost == "" {
		c.VirtualHost = "/"
	}
	if c.User == "" && !c.External {
		c.User, c.Password = "guest", "guest"
	}
	if c.Name == "" {
		c.Name = "rollcall"
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: patience}).DialContext
	}
	if c.Warn == nil {
		c.Warn = func(w string) { slog.Warn("rabbitmq: " + w) }
	}
	return c
}

func (c Config) check(addresses []string) error {
	if len(addresses) == 0 {
		return configError("addresses", "none", "give at least one host:port of the cluster")
	}
	for _, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return configError("addresses", a, "give it as host:port")
		}
	}
	if c.TLS != nil && c.TLS.MinVersion != 0 && c.TLS.MinVersion < tls.VersionTLS12 {
		return configError("TLS.MinVersion", tls.VersionName(c.TLS.MinVersion), "use TLS 1.2 or newer")
	}
	if c.External && c.TLS == nil {
		return configError("External", true, "who we are is said by a certificate: set TLS, with one in it")
	}
	return nil
}

func (c SourceConfig) withDefaults() SourceConfig {
	if c.Type == "" {
		c.Type = Quorum
	}
	if c.Prefetch <= 0 {
		c.Prefetch = 1000
	}
	if c.Lease <= 0 {
		c.Lease = 15 * time.Second
	}
	return c
}

func (c SourceConfig) check() error {
	switch c.Type {
	case Quorum, Classic:
	case Stream:
		if c.SingleActive {
			return configError("SingleActive", true, "a stream has one worker of a group at a time anyway: take it out")
		}
	default:
		return configError("Type", c.Type, `use "quorum", "classic" or "stream"`)
	}
	if c.Prefetch > maxPrefetch {
		return configError("Prefetch", c.Prefetch, fmt.Sprintf("use %d or less", maxPrefetch))
	}
	return nil
}

const (
	// patience bounds what a driver asks by itself, beside a caller's context.
	patience = 30 * time.Second
	// maxPrefetch is what AMQP has room for.
	maxPrefetch = 1<<16 - 1
	// heartbeat: a peer that is silent for three of these is dead.
	heartbeat = 5 * time.Second
	// againFirst and againMost bound the wait before the next try to connect.
	againFirst, againMost = 20 * time.Millisecond, 500 * time.Millisecond
)

func configError(field string, value any, next string) error {
	return fmt.Errorf("%w: rabbitmq: %s: %v; %s", rollcall.ErrConfig, field, value, next)
}
