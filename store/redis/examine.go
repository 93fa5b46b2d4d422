package redis

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// Durability is how much of what it answered a killed Redis may forget. It says
// nothing of failovers: see the package's comment.
type Durability string

// The grades.
const (
	// DurabilityNone: everything since the last snapshot, if there is one.
	DurabilityNone Durability = "none"
	// DurabilitySecond: appendfsync everysec; up to two seconds on a busy disk.
	DurabilitySecond Durability = "about a second"
	// DurabilityEvery: appendfsync always, nothing that was answered.
	DurabilityEvery Durability = "every claim"
	// DurabilityUnknown: the user may not ask (CONFIG GET).
	DurabilityUnknown Durability = "unknown"
)

// facts are what a server says of itself.
type facts struct {
	info       map[string]string
	durability Durability
}

// Durability is the grade of the server that was connected to last.
func (s *Store) Durability() Durability { return s.seen.Load().durability }

// Version of the server that was connected to last.
func (s *Store) Version() string { return s.seen.Load().info["redis_version"] }

// setupError: a connection could not be made ready, so it carried nothing.
type setupError struct{ cause error }

func (e *setupError) Error() string { return e.cause.Error() }

// Unwrap returns a list because the client library takes off what
// errors.Unwrap can.
func (e *setupError) Unwrap() []error { return []error{e.cause} }

// examine looks at the server behind a new connection: a failover or a restart
// can bring another one than Open saw.
func (s *Store) examine(ctx context.Context, c *goredis.Conn) error {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return &setupError{fmt.Errorf("INFO: %w", err)}
	}
	f := &facts{info: fields(text)}
	if f.info["redis_mode"] == "sentinel" && s.config.Sentinel.Master != "" {
		return nil // a question for the master, on the way to it
	}
	if err := unfit(f.info, s.name(), s.config.AllowEviction); err != nil {
		return &setupError{err}
	}
	f.durability = grade(f.info, c.ConfigGet(ctx, "append*"))
	s.seen.Store(f)
	return nil
}

// fields reads the answer to INFO.
func fields(info string) map[string]string {
	out := make(map[string]string)
	for lines := bufio.NewScanner(strings.NewReader(info)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			out[name] = value
		}
	}
	return out
}

// unfit says why a server cannot keep claims.
func unfit(info map[string]string, name string, eviction bool) error {
	major, _ := strconv.Atoi(strings.SplitN(info["redis_version"], ".", 2)[0])
	policy := info["maxmemory_policy"]
	switch {
	case major < 6:
		return refuse("server "+name, "redis_version "+strconv.Quote(info["redis_version"]), "version 6 or newer is needed")
	case info["cluster_enabled"] == "1":
		return refuse("server "+name, "cluster_enabled 1", "Redis Cluster is not supported: use one server, or Sentinel")
	case info["redis_mode"] == "sentinel":
		return refuse("server "+name, "redis_mode sentinel", "put its address into Config.Sentinel.Addrs")
	case info["role"] != "master":
		return refuse("server "+name, fmt.Sprintf("role %q of master %s:%s", info["role"], info["master_host"], info["master_port"]),
			"claims are written: connect to the master, or set Config.Sentinel to follow it")
	case info["loading"] == "1":
		return fmt.Errorf("server %s: still loading its file, about %s seconds more: try again then", name, info["loading_eta_seconds"])
	case policy != "noeviction" && !eviction:
		return refuse("server "+name, "maxmemory-policy "+strconv.Quote(policy), "a claim that is thrown away is done twice: "+
			"set maxmemory-policy noeviction, or Config.AllowEviction if that is all right")
	}
	return nil
}

// grade reads the settings of the append-only file; INFO knows half of them.
func grade(info map[string]string, settings *goredis.MapStringStringCmd) Durability {
	if info["aof_enabled"] == "0" {
		return DurabilityNone
	}
	all, err := settings.Result()
	switch {
	case err != nil:
		return DurabilityUnknown
	case all["appendfsync"] == "always":
		return DurabilityEvery
	case all["appendfsync"] == "everysec":
		return DurabilitySecond
	}
	return DurabilityNone // "no": when the operating system likes
}
