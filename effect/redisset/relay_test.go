//go:build linux

package redisset_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/redisset"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// The environment of a relay process.
const (
	relayStore = "ROLLCALL_REDISSET_STORE"
	relayAddr  = "ROLLCALL_REDISSET_ADDR"
	relayKeys  = "ROLLCALL_REDISSET_KEYS"
)

// relayMain is a relay that stops when it has sent and not yet removed, until it
// is killed.
func relayMain() int {
	ctx := failpoint.With(context.Background(), func(_ context.Context, step string, n int) error {
		if step == "relay-sent" {
			fmt.Println("sent", n)
			select {}
		}
		return nil
	})
	store, err := sqlite.Open(os.Getenv(relayStore), sqlite.Config{})
	if err == nil {
		var s *redisset.Sender
		s, err = redisset.New(map[string]redisset.Target{"cache": {Addr: os.Getenv(relayAddr), Keys: os.Getenv(relayKeys)}}, redisset.Config{})
		if err == nil {
			err = rollcall.NewRelay(store, s, rollcall.RelayConfig{Batch: 10}).Drain(ctx)
		}
	}
	fmt.Fprintln(os.Stderr, "a relay that is to be killed ended:", err)
	return 1
}

// enqueue writes rows in a transaction of their own.
func enqueue(t *testing.T, store *sqlite.Store, messages ...rollcall.Message) {
	t.Helper()
	tx, err := store.DB().Begin()
	must(t, err)
	must(t, store.Outbox().Enqueue(t.Context(), tx, messages))
	must(t, tx.Commit())
}

// killRelay starts a relay and kills it between its script and its Remove.
func killRelay(t *testing.T, path, addr, at string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), relayStore+"="+path, relayAddr+"="+addr, relayKeys+"="+at)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "sent ") {
		t.Fatalf("waited 30s for relay %d to have sent: %q %v", cmd.Process.Pid, line, err)
	}
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("relay %d was not killed: %v", cmd.Process.Pid, err)
	}
	t.Logf("relay %d killed, it had %s rows not removed", cmd.Process.Pid, strings.TrimSpace(line))
}

// TestRelayKilled: rows that a killed relay had sent come again, also after newer
// ones of another relay: they change nothing.
func TestRelayKilled(t *testing.T) {
	at, server, path := place(), servers.Shared(t, servers.Redis), filepath.Join(t.TempDir(), "store.db")
	store, err := sqlite.Open(path, sqlite.Config{})
	must(t, err)
	defer func() { _ = store.Close() }()
	const rows, keys = 30, 5
	for i := range rows {
		enqueue(t, store, message(fmt.Sprint("key-", i%keys), uint64(i/keys+1), fmt.Sprint("value ", i/keys+1)))
	}
	for range 2 {
		killRelay(t, path, server.Addr, at)
	}
	s, c := newSender(t, redisset.Target{Addr: server.Addr, Keys: at}), admin(t, server.Addr)
	wantValue(t, c, at+"key-1", "value 2") // the first ten rows, twice
	wantStored(t, s, message("key-1", 99, "newest"))
	must(t, rollcall.NewRelay(store, s, rollcall.RelayConfig{Batch: 10}).Drain(t.Context()))
	for k := range keys {
		want := fmt.Sprint("value ", rows/keys)
		if k == 1 {
			want = "newest"
		}
		wantValue(t, c, fmt.Sprint(at, "key-", k), want)
	}
	// Once more the ten that were sent, of key-1 all that were left, and its newest.
	wantCounts(t, s, rows-10-4+1, 10+4)
	left, err := store.Outbox().Pending(t.Context(), 10)
	if err != nil || len(left) != 0 {
		t.Fatalf("%d rows are left: %v", len(left), err)
	}
}

// TestRelayRefused: what is refused is kept for an operator; its server away, the
// relay waits and loses nothing.
func TestRelayRefused(t *testing.T) {
	server := servers.Start(t, servers.Redis, servers.Config{})
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "store.db"), sqlite.Config{})
	must(t, err)
	defer func() { _ = store.Close() }()
	c := admin(t, server.Addr)
	must(t, c.LPush(t.Context(), "list", "theirs").Err())
	must(t, server.Stop())
	enqueue(t, store, message("list", 1, "x"), message("good", 1, "fine"))
	s := newSender(t, redisset.Target{Addr: server.Addr})
	relay := rollcall.NewRelay(store, s, rollcall.RelayConfig{Observer: quiet{}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := relay.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v, want it to wait for the server", err)
	}
	must(t, server.Restart())
	must(t, relay.Drain(t.Context()))
	wantValue(t, admin(t, server.Addr), "good", "fine")
	attempts := store.Outbox().(rollcall.Attempts)
	kept, err := attempts.Kept(t.Context(), 0, 10)
	if err != nil || len(kept) != 1 || !strings.Contains(kept[0].Refusal, "WRONGTYPE") {
		t.Fatalf("kept %+v %v, want the one whose key holds a list", kept, err)
	}
	must(t, admin(t, server.Addr).Del(t.Context(), "list").Err())
	n, err := attempts.Redrive(t.Context(), []int64{kept[0].ID})
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	must(t, relay.Drain(t.Context()))
	wantValue(t, admin(t, server.Addr), "list", "x")
}

type quiet struct{}

// Observe implements rollcall.Observer.
func (quiet) Observe(rollcall.Event) {}
