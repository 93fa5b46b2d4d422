//go:build linux

package mysql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// pauses are the causes of pauses.
type pauses struct {
	mu     sync.Mutex
	causes []string
}

// Observe implements rollcall.Observer.
func (p *pauses) Observe(e rollcall.Event) {
	if paused, is := e.(rollcall.Paused); is {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.causes = append(p.causes, paused.Err.Error())
	}
}

// wait waits for a pause that says a text.
func (p *pauses) wait(t testing.TB, text string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		causes := slices.Clone(p.causes)
		p.mu.Unlock()
		if slices.ContainsFunc(causes, func(cause string) bool { return strings.Contains(cause, text) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited 30s for a pause that says %q: %q", text, causes)
		}
	}
}

// TestDiskFull: a full disk is nobody's fault. The run pauses, says so, spoils
// no message, and goes on when there is room and the server is there.
func TestDiskFull(t *testing.T) {
	for name, spec := range kinds {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
				t.Fatalf("mount a small tmpfs (needs root): %v", err)
			}
			t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
			settings := map[string]string{}
			if spec == servers.MySQL {
				settings["innodb-directories"] = dir
			}
			server := servers.Start(t, spec, servers.Config{Settings: settings})
			s := open(t, server, mysql.Config{Schema: "small"})
			exec(t, s, "CREATE TABLE small.ledger (line VARBINARY(20) NOT NULL, filling MEDIUMBLOB NOT NULL) ENGINE=InnoDB DATA DIRECTORY='"+dir+"'")
			filler := filepath.Join(dir, "filler")
			f, err := os.Create(filler)
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			must(t, f.Close())
			filling := make([]byte, 20_000)
			_, _ = rand.Read(filling)
			l, seen := newLoad(t, 500), new(pauses)
			l.observer = seen
			l.start(s, 50, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO small.ledger VALUES (?, ?)", m.Body, filling)
				return err
			})
			if spec == servers.MySQL {
				seen.wait(t, "disk or tablespace is full")
				must(t, os.Remove(filler))
			} else { // MariaDB aborts: "Out of disk space in rollback"
				seen.wait(t, "")
				must(t, os.Remove(filler))
				must(t, server.Restart())
			}
			l.once(s, "small")
		})
	}
}

// TestReadOnlyWhileRunning: a server that is made read-only, as in a switchover,
// pauses the run.
func TestReadOnlyWhileRunning(t *testing.T) {
	for name, spec := range kinds {
		t.Run(name, func(t *testing.T) {
			server := servers.Start(t, spec, servers.Config{})
			root := open(t, server, mysql.Config{Schema: "ro"})
			exec(t, root, "CREATE TABLE ro.ledger (line VARBINARY(20) NOT NULL) ENGINE=InnoDB")
			exec(t, root, "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'word'") // root may write to a read-only server
			exec(t, root, "GRANT ALL ON ro.* TO app@'127.0.0.1'")
			s, err := mysql.Open(t.Context(), "app:word@tcp("+server.Addr+")/ro", mysql.Config{Schema: "ro", NoMigrate: true})
			must(t, err)
			t.Cleanup(func() { _ = s.Close() })
			l, seen := newLoad(t, 500), new(pauses)
			l.observer = seen
			exec(t, root, "SET GLOBAL read_only = 1")
			l.start(s, 50, recorder("ro"))
			seen.wait(t, "the server is read-only")
			exec(t, root, "SET GLOBAL read_only = 0")
			l.once(s, "ro")
		})
	}
}
