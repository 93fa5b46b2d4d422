package rocketmq

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// DefaultMaxBytes is the default of Config.MaxBytes.
const DefaultMaxBytes = 4<<20 - propertyBytes

// Config is the settings of a connection to a cluster. The zero value is safe: it
// encrypts, and verifies the server by the system's roots.
type Config struct {
	// Namespace of all topics and groups. Default: none.
	Namespace string
	// AccessKey and SecretKey sign every request. Default: none, nothing is signed.
	AccessKey, SecretKey string
	// TLS is whom we trust, and with a certificate in it who we are. Default: the
	// system's roots.
	TLS *tls.Config
	// Plaintext does not encrypt. A signature does not hide what is sent, and whoever
	// sees one can use it again. Default: false.
	Plaintext bool
	// Dial opens connections; they are encrypted afterwards, if they are to be.
	// Default: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout is how long one call may take; one that receives takes its
	// SourceConfig.Poll more. Default: 10 s.
	Timeout time.Duration
	// MaxBytes is the most bytes of one message. A topic that takes less wins.
	// Default: 4 MiB less the 16 KiB of properties, as a server takes by default.
	MaxBytes int
	// InFlight is how many sends of one Publish are under way together. Default: 8.
	InFlight int
	// Now is the clock by which requests are signed. Default: time.Now.
	Now func() time.Time
	// Checker decides about transactional messages whose sender never did. Default:
	// none, they stay undecided, with a warning, until the server gives them up.
	Checker Checker
	// Warn is told what is wrong though it works. Default: slog.Default().
	Warn func(warning string)
}

// SourceConfig is the settings of one source. The zero value is safe.
type SourceConfig struct {
	// FIFO says that the topic is FIFO and the group orderly: messages of one queue come
	// in order, and the first that is not settled holds the others back. Default: false.
	FIFO bool
	// Filter is which tags are wanted: "a || b". What is filtered out nobody counts.
	// Default: "*", all.
	Filter string
	// Invisible is how long a delivery is kept from coming again; it is prolonged while it
	// is held. When this process dies, others get it after so long. 10 s to 12 h.
	// Default: 60 s.
	Invisible time.Duration
	// MaxHold is how long a delivery that is not settled is prolonged. Default: 30 min.
	MaxHold time.Duration
	// Late is how late the server can bring a message again: its fileReservedTime.
	// Default: 0, not known.
	Late time.Duration
	// Receivers is how many requests for messages are under way together, for each
	// broker. Default: 4; 1 if FIFO.
	Receivers int
	// Poll is how long a request waits for messages at the server, which takes no less
	// than 5 s by default. Default: 5 s.
	Poll time.Duration
	// Ahead is how many messages are received before a Fetch asks for them. They are
	// held by this process. Default: 0.
	Ahead int
	// KeysAreIDs takes the application's keys of a message without a stamp for its id:
	// only where no two messages have the same keys. Default: false, its id is that which
	// its client gave it.
	KeysAreIDs bool
}

func (c Config) withDefaults() Config {
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.InFlight <= 0 {
		c.InFlight = 8
	}
	c.Timeout = orDefault(c.Timeout, 10*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Warn == nil {
		c.Warn = func(w string) { slog.Warn("rocketmq: " + w) }
	}
	return c
}

func (c SourceConfig) withDefaults() SourceConfig {
	c.Invisible = orDefault(c.Invisible, time.Minute)
	c.MaxHold = orDefault(c.MaxHold, 30*time.Minute)
	c.Poll = orDefault(c.Poll, 5*time.Second)
	if c.Filter == "" {
		c.Filter = "*"
	}
	if c.Receivers <= 0 {
		c.Receivers = 4
		if c.FIFO {
			c.Receivers = 1
		}
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
	return fmt.Errorf("%w: rocketmq: %s: %v; %s", rollcall.ErrConfig, field, value, next)
}

// check finds what cannot work.
func (c Config) check(endpoints []string) error {
	if len(endpoints) == 0 {
		return configError("endpoints", "none", "give at least one host:port of a proxy")
	}
	for _, e := range endpoints {
		if _, _, err := hostPort(e); err != nil {
			return configError("endpoints", e, "give it as host:port, the port of gRPC (8081 by default)")
		}
	}
	switch {
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return configError("AccessKey", "one of AccessKey and SecretKey is missing", "give both or none")
	case strings.ContainsAny(c.AccessKey, "/, \r\n"):
		return configError("AccessKey", "has a slash, a comma or a space", "a signature cannot carry it; use another user name")
	case c.Plaintext && c.TLS != nil:
		return configError("Plaintext", true, "TLS is set too; take one of them out")
	case c.TLS != nil && c.TLS.MinVersion != 0 && c.TLS.MinVersion < tls.VersionTLS12:
		return configError("TLS.MinVersion", tls.VersionName(c.TLS.MinVersion), "use TLS 1.2 or newer")
	}
	return nil
}

func (c SourceConfig) check(topic string) error {
	switch {
	case topic == "":
		return configError("topic", `""`, "name the topic")
	case c.Invisible < time.Second || c.Invisible > longestInvisible:
		return configError("Invisible", c.Invisible, "the server takes 10 s to 12 h")
	}
	return nil
}

// longestInvisible is the server's limit.
const longestInvisible = 12 * time.Hour

func hostPort(endpoint string) (host string, port int32, err error) {
	host, text, err := net.SplitHostPort(endpoint)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, int32(n), err
}
