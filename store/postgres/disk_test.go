package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// smallDisk mounts a tmpfs in the server's folder and gives it to the server.
// Without the right to do so the test fails: it must have run.
func smallDisk(t *testing.T, server *servers.Server, size string) (dir string) {
	t.Helper()
	dir = filepath.Join(server.Dir, "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+size); err != nil {
		t.Fatalf("mount a small tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if out, err := osexec.Command("chown", "--reference", filepath.Join(server.Dir, "data"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// fill leaves no room on a disk. The file returned takes it.
func fill(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if closing := f.Close(); !errors.Is(err, syscall.ENOSPC) || closing != nil {
		t.Fatal(err, closing)
	}
	return path
}

// fullDisk runs effects of 20 kB into a full disk, waits for a pause that says
// so, makes room, and demands each effect once.
func fullDisk(t *testing.T, server *servers.Server, table string, full func() (room func()), says string) {
	t.Helper()
	const n = 2000
	filling := make([]byte, 20_000)
	_, _ = rand.Read(filling) // what compresses fills nothing
	s, err := postgres.Open(t.Context(), server.URL(), postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := newBench(t)
	b.store, b.schema = s, "rollcall"
	if _, err := s.DB().Exec(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	b.send(n, func(i int) string { return fmt.Sprint("k", i) })
	seen, ended := new(pauses), make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := rollcall.NewConsumer("g", b.broker.Source("orders"), s, func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		_, err := tx.Exec(ctx, "INSERT INTO ledger VALUES ($1, $2)", string(m.Body), filling[len(m.Body):])
		return err
	}, rollcall.ConsumerConfig{Batch: 100, Observer: seen, Retry: rollcall.RetryConfig{Attempts: 2, First: time.Millisecond}})
	room := full()
	go func() { ended <- c.RunUntilEmpty(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); !seen.says(says); {
		select {
		case err := <-ended:
			t.Fatalf("it ended on a full disk: %v, %q", err, seen.all())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited 30s for a pause that says %q: %q", says, seen.all())
		}
	}
	room()
	if err := <-ended; err != nil {
		t.Fatalf("%v, %q\n%s", err, seen.all(), server.Log())
	}
	effects, distinct, dead := b.number("SELECT count(*) FROM ledger"), b.number("SELECT count(DISTINCT n) FROM ledger"),
		b.number("SELECT count(*) FROM ~asides WHERE state = 'dead'")
	if effects != n || distinct != n || dead != 0 {
		t.Errorf("%d effects of %d messages, %d dead; want %d", effects, distinct, dead, n)
	}
}

// TestDiskFull: a full disk is nobody's fault. The run pauses, says so, spoils
// no message, and goes on when there is room.
func TestDiskFull(t *testing.T) {
	remove := func(path string) {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
	t.Run("of the tables", func(t *testing.T) {
		server := servers.Start(t, servers.Postgres15, servers.Config{})
		dir := smallDisk(t, server, "64m")
		admin, err := pgx.Connect(t.Context(), server.URL())
		if err == nil {
			_, err = admin.Exec(t.Context(), "CREATE TABLESPACE small LOCATION '"+dir+"'")
			_ = admin.Close(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		fullDisk(t, server, "CREATE TABLE ledger (n int, line bytea) TABLESPACE small", func() func() {
			path := fill(t, dir)
			return func() { remove(path) }
		}, "the server's disk is full")
	})
	// A server that cannot write its log stops (PANIC), and comes back only when
	// there is room.
	t.Run("of the log", func(t *testing.T) {
		server := servers.Start(t, servers.Postgres15, servers.Config{Settings: map[string]string{"min_wal_size": "32MB", "max_wal_size": "32MB", "wal_level": "replica"}})
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		dir := smallDisk(t, server, "100m")
		wal := filepath.Join(server.Dir, "data", "pg_wal")
		if out, err := osexec.Command("sh", "-c", "cp -a "+wal+" "+dir+"/wal && rm -r "+wal+" && ln -s "+dir+"/wal "+wal).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		fullDisk(t, server, "CREATE TABLE ledger (n int, line bytea)", func() func() {
			path := fill(t, dir)
			return func() {
				remove(path)
				if err := server.Restart(); err != nil {
					t.Error(err)
				}
			}
		}, "the server cannot be reached")
	})
}
