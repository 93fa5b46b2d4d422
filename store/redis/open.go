package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall"
)

// Config says which server, as whom, and how long things last.
type Config struct {
	// Addr is the server's host:port. Required, unless Sentinel is set.
	Addr string
	// Sentinel finds the server. Default: none.
	Sentinel Sentinel
	// User of Redis's access lists. Default: Redis's own, "default".
	User string
	// Password of the user. Default: none.
	Password string
	// TLS of the connection, also to Sentinel. Default: none, plain TCP.
	TLS *tls.Config
	// Database number. Default 0.
	Database int
	// Prefix of all keys. Default "rollcall".
	Prefix string
	// AllowEviction accepts a server that may throw claims away when its memory
	// is full: what it threw away is done twice. Default false: Open fails.
	AllowEviction bool
	// Keep is how long after its lease a claim can still be renewed and completed,
	// if nobody took it. Default 1 hour.
	Keep time.Duration
	// Timeout of one turn; a Claim may take two. Default 5 seconds.
	Timeout time.Duration
	// Connections at most. Default 10.
	Connections int
}

// Sentinel watches a master and its replicas.
type Sentinel struct {
	// Master is its name at the sentinels. Default: no Sentinel is used.
	Master string
	// Addrs are the sentinels, host:port. Required with Master.
	Addrs []string
	// User at the sentinels. Default: none.
	User string
	// Password at the sentinels. Default: none.
	Password string
}

// Store keeps claims in one Redis. It is safe for concurrent use.
type Store struct {
	config Config
	client *goredis.Client
	seen   atomic.Pointer[facts]
}

var _ rollcall.Claims = (*Store)(nil)

// Open connects, and looks whether this server can keep claims: its version,
// role and eviction. Every later connection is looked at in the same way,
// before it carries anything.
func Open(ctx context.Context, config Config) (*Store, error) {
	switch {
	case config.Addr == "" && config.Sentinel.Master == "":
		return nil, refuse("Config.Addr", `""`, "say host:port, or set Sentinel")
	case config.Addr != "" && config.Sentinel.Master != "":
		return nil, refuse("Config.Addr", config.Addr, "leave it empty when Sentinel.Master is set: the sentinels know the address")
	case config.Sentinel.Master != "" && len(config.Sentinel.Addrs) == 0:
		return nil, refuse("Config.Sentinel.Addrs", "none", "say where the sentinels are")
	case config.Keep < 0 || config.Timeout < 0 || config.Connections < 0:
		return nil, refuse("Config.Keep, Timeout, Connections", fmt.Sprint(config.Keep, config.Timeout, config.Connections), "none may be negative")
	}
	s := &Store{config: defaults(config)}
	s.client = s.connect(s.config.Connections)
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if err := s.client.Ping(ctx).Err(); err != nil {
		_ = s.client.Close()
		return nil, s.explain("open", "nothing was sent but a question", err)
	}
	return s, nil
}

func defaults(c Config) Config {
	if c.Prefix == "" {
		c.Prefix = "rollcall"
	}
	if c.Keep == 0 {
		c.Keep = time.Hour
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Connections == 0 {
		c.Connections = 10
	}
	return c
}

// connect makes a client that repeats nothing by itself.
func (s *Store) connect(connections int) *goredis.Client {
	c := s.config
	if c.Sentinel.Master != "" {
		return goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: c.Sentinel.Master, SentinelAddrs: c.Sentinel.Addrs,
			SentinelUsername: c.Sentinel.User, SentinelPassword: c.Sentinel.Password,
			Username: c.User, Password: c.Password, DB: c.Database, Dialer: s.dial, OnConnect: s.examine,
			Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
			ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, ContextTimeoutEnabled: true, PoolSize: connections,
		})
	}
	return goredis.NewClient(&goredis.Options{
		Addr: c.Addr, Username: c.User, Password: c.Password, DB: c.Database, Dialer: s.dial, OnConnect: s.examine,
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
		ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, ContextTimeoutEnabled: true, PoolSize: connections,
	})
}

// dial makes a connection, or an error that says that it carried nothing.
func (s *Store) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	dial := (&net.Dialer{}).DialContext
	if s.config.TLS != nil {
		dial = (&tls.Dialer{Config: s.config.TLS}).DialContext
	}
	c, err := dial(ctx, network, addr)
	if err != nil {
		return nil, &setupError{err}
	}
	return c, nil
}

// Close ends all connections. What is in work is in doubt.
func (s *Store) Close() error { return s.client.Close() }

// name of the server in errors.
func (s *Store) name() string {
	if m := s.config.Sentinel.Master; m != "" {
		return "master " + m
	}
	return s.config.Addr
}

func refuse(field, value, next string) error {
	return fmt.Errorf("%w: redis store: %s: %s: %s", rollcall.ErrConfig, field, value, next)
}
