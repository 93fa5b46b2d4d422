//go:build linux

package servers

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// The PostgreSQL versions: the user is postgres, without a password.
var (
	Postgres15 = postgres("postgres-15", "/usr/lib/postgresql/15/bin")
	Postgres18 = postgres("postgres-18", filepath.Join(cache(), "postgres-18.1.0/bin"))
)

func postgres(name, bin string) *Spec {
	return &Spec{
		Name:    name,
		Program: filepath.Join(bin, "postgres"),
		User:    "postgres", // the server refuses root
		Settings: map[string]string{
			"listen_addresses": "127.0.0.1", "unix_socket_directories": "",
			"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
			"wal_level": "logical", "shared_buffers": "32MB", "log_min_messages": "warning",
		},
		Template: func(dir string) []string {
			return []string{filepath.Join(bin, "initdb"), "-D", dir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"}
		},
		Arguments: func(s *Server) []string {
			args := []string{"-D", s.data(), "-p", s.port()}
			for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
				args = append(args, "-c", name+"="+s.Settings[name])
			}
			return args
		},
		Ready: readyPostgres,
		URL:   func(addr string) string { return "postgres://postgres@" + addr + "/postgres?sslmode=disable" },
		Quit:  syscall.SIGINT, // "fast": it does not wait for clients
	}
}

// readyPostgres opens a session and waits for its ReadyForQuery, or for the
// question for a password: while it recovers the server answers an error.
func readyPostgres(c net.Conn) error {
	body := "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)); err != nil {
		return err
	}
	for {
		var head [5]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[1:])
		if size < 4 || size > 1<<16 {
			return fmt.Errorf("not PostgreSQL's answer: %q", head)
		}
		text := make([]byte, size-4)
		if _, err := io.ReadFull(c, text); err != nil {
			return err
		}
		switch {
		case head[0] == 'E':
			return fmt.Errorf("%s", strings.ReplaceAll(string(text), "\x00", " "))
		case head[0] == 'R' && string(text) != "\x00\x00\x00\x00":
			return nil
		case head[0] == 'Z':
			_, err := c.Write([]byte{'X', 0, 0, 0, 4}) // Terminate
			return err
		}
	}
}
