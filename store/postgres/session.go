package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// session is the settings of every connection: without them a stopped worker
// would hold others up for ever.
func session(config Config) map[string]string {
	millis := func(d time.Duration) string { return fmt.Sprint(max(1, d.Milliseconds())) }
	return map[string]string{
		"idle_in_transaction_session_timeout": millis(config.Idle),
		"statement_timeout":                   millis(config.Statement),
		"default_transaction_isolation":       "read committed",
		"standard_conforming_strings":         "on", // sqltext reads strings so
	}
}

// inspectSession sees that a connection is a session of the server's with our
// settings. Behind a pooler it may be neither. It prepares no statement: one in
// transaction mode would keep it for others.
func (s *Store) inspectSession(ctx context.Context) error {
	want := session(s.config)
	rows, err := s.pool.Query(ctx, "SELECT name, setting FROM pg_settings WHERE name = ANY($1) ORDER BY name",
		pgx.QueryExecModeExec, slices.Sorted(maps.Keys(want)))
	if err != nil {
		return s.Database.Wrap("open", err)
	}
	var name, have string
	var odd, lines []string
	_, err = pgx.ForEachRow(rows, []any{&name, &have}, func() error {
		if have != want[name] {
			odd = append(odd, fmt.Sprintf("%s is %q, not %q", name, have, want[name]))
			lines = append(lines, fmt.Sprintf("ALTER ROLE … SET %s = '%s'", name, want[name]))
		}
		return nil
	})
	switch {
	case err != nil:
		return s.Database.Wrap("open", err)
	case len(odd) > 0:
		return s.refuse("what a connection sets does not arrive at the server (a pooler with ignore_startup_parameters?): "+strings.Join(odd, ", "),
			"connect to the server itself, or to a pool in session mode after "+strings.Join(lines, "; "))
	}
	shared, err := s.sharesSessions(ctx)
	switch {
	case err != nil:
		return s.Database.Wrap("open", err)
	case shared != "":
		return s.refuse("this is a pooler in transaction mode: "+shared, "connect to the server itself, or to a pool in session mode")
	}
	return nil
}

// sharesSessions says how two open connections share a session of the server's,
// "" if they do not. A pooler in transaction mode gives both the session that it
// used last, or one connection another session each time.
func (s *Store) sharesSessions(ctx context.Context) (string, error) {
	one, err := s.pool.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer one.Release()
	// Not of the pool: it may have one connection only.
	two, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return "", err
	}
	defer func() { _ = two.Close(context.WithoutCancel(ctx)) }()
	var pids [4]int
	for i, c := range []*pgx.Conn{one.Conn(), two, one.Conn(), two} {
		if err := c.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pids[i]); err != nil {
			return "", err
		}
	}
	switch {
	case pids[0] == pids[1] || pids[2] == pids[3]:
		return fmt.Sprintf("two connections are in the same session (pid %d)", pids[1]), nil
	case pids[0] != pids[2] || pids[1] != pids[3]:
		return fmt.Sprintf("a connection changes its session (pids %v)", pids), nil
	}
	return "", nil
}
