//go:build linux

package rabbitmq_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// job is what a worker process is told.
type job struct {
	Address, Queue, Store string
	Type                  rabbitmq.QueueType
	SingleActive          bool
	Workers               int
}

const jobEnv = "ROLLCALL_RABBITMQ_JOB"

// workChild is a process of workers; it works until it is killed.
func workChild() bool {
	text := os.Getenv(jobEnv)
	if text == "" {
		return false
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	var all sync.WaitGroup
	for range j.Workers {
		if err == nil {
			all.Go(func() { report(work(j)) })
		}
	}
	all.Wait()
	report(err)
	return true
}

func report(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func work(j job) error {
	ctx := context.Background()
	cluster, err := rabbitmq.Open(ctx, []string{j.Address}, rabbitmq.Config{Warn: func(string) {}})
	if err != nil {
		return err
	}
	store, err := sqlite.Open(j.Store, sqlite.Config{})
	if err != nil {
		return err
	}
	src, err := cluster.Source(ctx, j.Queue, rabbitmq.SourceConfig{Type: j.Type, SingleActive: j.SingleActive, Prefetch: 200, Leases: store.Claims(), Lease: 2 * time.Second})
	if err != nil {
		return err
	}
	quiet := rollcall.SlogObserver(slog.New(slog.DiscardHandler))
	return rollcall.NewConsumer("g", src, store, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO ledger (body) VALUES (?)", string(m.Body))
		return err
	}, rollcall.ConsumerConfig{Batch: 50, Observer: quiet}).Run(ctx)
}

// spawn a process of two workers.
func spawn(t *testing.T, j job) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), jobEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	if err := servers.Launch(cmd); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// TestOnce: two processes of two workers each, killed by SIGKILL again and again while
// they work, with a SQLite store; one sender and many, whose connection is cut. The
// ledger has no index, which would hide doubles: each message has one line.
func TestOnce(t *testing.T) {
	for _, x := range []struct {
		name    string
		q       rabbitmq.Queue
		senders int
	}{
		{"quorum, one sender", rabbitmq.Queue{}, 1},
		{"quorum, many senders", rabbitmq.Queue{}, 20},
		{"single active", rabbitmq.Queue{SingleActive: true}, 2},
		{"stream", rabbitmq.Queue{Type: rabbitmq.Stream}, 2},
	} {
		t.Run(x.name, func(t *testing.T) { once(t, x.q, x.senders) })
	}
}

const (
	onceMessages = 4000
	onceKills    = 4
)

func once(t *testing.T, q rabbitmq.Queue, senders int) {
	address := real(t)
	j := job{Address: address, Queue: newQueue(t, address, q), Store: filepath.Join(t.TempDir(), "store.db"), Type: q.Type, SingleActive: q.SingleActive, Workers: 2}
	store, err := sqlite.Open(j.Store, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if _, err := store.DB().Exec("CREATE TABLE ledger (body TEXT NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	done := func() (n int) {
		if err := store.DB().QueryRow("SELECT count(*) FROM ledger").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	proxy := newCutter(t, address)
	var sending sync.WaitGroup
	for n := range senders {
		sending.Go(func() { sendAll(t, proxy.Addr, j.Queue, n, onceMessages/senders) })
	}
	workers := []*exec.Cmd{spawn(t, j), spawn(t, j)}
	defer func() {
		for _, w := range workers {
			_ = w.Process.Kill()
			_ = w.Wait()
		}
	}()
	for kill := range onceKills {
		before := done()
		wait(t, "work before a kill", func() bool { return done() > before+100 })
		proxy.arm(rand.Int64N(20_000))
		i := kill % len(workers)
		pid := workers[i].Process.Pid
		_ = workers[i].Process.Kill()
		_ = workers[i].Wait()
		t.Logf("workers' pid %d killed at %d effects", pid, done())
		workers[i] = spawn(t, j)
	}
	sending.Wait()
	wait(t, "all effects", func() bool { return done() >= onceMessages })
	count := func(query string) (n int) {
		if err := store.DB().QueryRow(query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	different, lines := count("SELECT count(DISTINCT body) FROM ledger"), done()
	if different != onceMessages || lines != onceMessages {
		t.Fatalf("%d lost, %d doubled", onceMessages-different, lines-different)
	}
	t.Logf("%d messages of %d senders, %d cuts: 0 lost, 0 doubled", lines, senders, proxy.cuts.Load())
}

func sendAll(t *testing.T, address, queue string, sender, n int) {
	s := open(t, address).Sender()
	p := rollcall.NewPublisher(s, rollcall.PublisherConfig{Batch: 50, Timeout: patience, Books: rollcall.BooksConfig{Off: true}})
	ms := make([]rollcall.Message, n)
	for i := range ms {
		ms[i].Body = fmt.Appendf(nil, "%d-%d", sender, i)
	}
	for i, r := range p.Publish(soon(t), queue, ms...) {
		if r.Fate != rollcall.Stored {
			t.Errorf("sender %d, message %d: %v %v", sender, i, r.Fate, r.Err)
		}
	}
	if err := p.Close(soon(t)); err != nil {
		t.Error(err)
	}
}
