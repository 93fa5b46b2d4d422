//go:build linux

package servers

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// PgBouncer is a pooler in front of a PostgreSQL server: the setting "*" says
// which one, as "host=127.0.0.1 port=5432 user=postgres". Its settings are read
// once, when it is made; its console is the database
// "pgbouncer".
var PgBouncer = &Spec{
	Name:    "pgbouncer-1.18",
	Program: "/usr/sbin/pgbouncer",
	User:    "postgres", // it refuses root
	Settings: map[string]string{
		"listen_addr": "127.0.0.1", "unix_socket_dir": "", "auth_type": "any", "admin_users": "postgres", "pool_mode": "session",
	},
	Prepare:   preparePgBouncer,
	Arguments: func(s *Server) []string { return []string{filepath.Join(s.Dir, "pgbouncer.ini")} },
	Ready:     readyPostgres,
	URL:       Postgres15.URL,
	Quit:      syscall.SIGTERM,
}

// preparePgBouncer writes the configuration.
func preparePgBouncer(s *Server) error {
	var text strings.Builder
	fmt.Fprintf(&text, "[databases]\n* = %s\n[pgbouncer]\nlisten_port = %s\n", s.Settings["*"], s.port())
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		if name != "*" {
			fmt.Fprintf(&text, "%s = %s\n", name, s.Settings[name])
		}
	}
	return os.WriteFile(filepath.Join(s.Dir, "pgbouncer.ini"), []byte(text.String()), 0o644)
}
