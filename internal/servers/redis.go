//go:build linux

package servers

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Redis keeps everything, and syncs before it answers; Sentinel must be told
// what to watch.
var (
	Redis = redis("redis-7.0", "/usr/bin/redis-server", map[string]string{
		"appendonly": "yes", "appendfsync": "always", "save": `""`, "aof-load-truncated": "yes",
		"no-appendfsync-on-rewrite": "no", "maxmemory": "256mb", "maxmemory-policy": "noeviction",
		"repl-diskless-sync-delay": "0", // else a replica is empty for five seconds
	})
	Sentinel = redis("redis-sentinel-7.0", "/usr/bin/redis-sentinel", nil)
)

func redis(name, program string, settings map[string]string) *Spec {
	all := map[string]string{"bind": "127.0.0.1", "daemonize": "no"}
	maps.Copy(all, settings)
	return &Spec{
		Name: name, Program: program, Settings: all,
		Prepare:   prepareRedis,
		Arguments: func(s *Server) []string { return []string{filepath.Join(s.Dir, "redis.conf")} },
		Ready:     readyRedis,
		URL:       func(addr string) string { return "redis://" + addr },
		Quit:      syscall.SIGTERM,
	}
}

// prepareRedis writes the configuration once: it is the server's own from then
// on, and a failover changes it.
func prepareRedis(s *Server) error {
	var text strings.Builder
	fmt.Fprintf(&text, "port %s\ndir %s\n", s.port(), s.Dir)
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		fmt.Fprintf(&text, "%s %s\n", name, s.Settings[name])
	}
	return os.WriteFile(filepath.Join(s.Dir, "redis.conf"), []byte(text.String()), 0o600)
}

// readyRedis sends PING. While the server reads its file the answer is
// -LOADING; a server that wants a password is ready.
func readyRedis(c net.Conn) error {
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "+PONG") && !strings.HasPrefix(line, "-NOAUTH") {
		return errors.New(strings.TrimSpace(line))
	}
	return nil
}
