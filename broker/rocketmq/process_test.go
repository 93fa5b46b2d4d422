//go:build linux

package rocketmq_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// job is what a worker process is told.
type job struct {
	Proxy, Topic, Group, Store string
	Workers                    int
}

const jobEnv = "ROLLCALL_ROCKETMQ_JOB"

// workChild runs the job of a worker process and reports that it was one.
func workChild() bool {
	text := os.Getenv(jobEnv)
	if text == "" {
		return false
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.work()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// work until stdin ends. Each step is told on stdout, with how much is in work.
func (j job) work() error {
	store, err := sqlite.Open(j.Store, sqlite.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	ctx = failpoint.With(ctx, func(_ context.Context, step string, n int) error {
		fmt.Println(step, n)
		return nil
	})
	ended := make(chan error, j.Workers)
	for range j.Workers {
		cluster, err := rocketmq.Open(ctx, []string{j.Proxy}, rocketmq.Config{Plaintext: true, Timeout: 2 * time.Second})
		if err != nil {
			return err
		}
		defer cluster.Close()
		src, err := cluster.Source(ctx, j.Topic, rocketmq.SourceConfig{Invisible: 2 * time.Second, Poll: time.Second})
		if err != nil {
			return err
		}
		c := rollcall.NewConsumer(j.Group, src, store, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO ledger (body) VALUES (?)", string(m.Body))
			return err
		}, rollcall.ConsumerConfig{Batch: 20, Observer: silent})
		go func() { ended <- c.Run(ctx) }()
	}
	for range j.Workers {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

// worker is such a process.
type worker struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	inWork atomic.Int64
	step   atomic.Value
	ended  chan error
}

func work(t *testing.T, j job) *worker {
	t.Helper()
	text, _ := json.Marshal(j)
	w := &worker{cmd: exec.Command(os.Args[0]), ended: make(chan error, 1)}
	w.cmd.Env = append(os.Environ(), jobEnv+"="+string(text))
	w.cmd.Stderr = os.Stderr
	stdin, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.stdin = stdin
	if err := servers.Launch(w.cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var step string
			var n int64
			if _, err := fmt.Sscan(lines.Text(), &step, &n); err == nil {
				w.step.Store(step)
				w.inWork.Store(n)
			}
		}
		w.ended <- w.cmd.Wait()
	}()
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	return w
}

// TestProcessesKilled: two processes of two workers, killed by SIGKILL with messages in
// work, again and again; one sender, and many. Each message takes effect once.
func TestProcessesKilled(t *testing.T) {
	t.Parallel()
	for _, senders := range []int{1, 40} {
		t.Run(fmt.Sprint(senders, "-senders"), func(t *testing.T) {
			t.Parallel()
			s := sharedServer(t, "local")
			j := job{Proxy: s.proxy, Topic: newTopic(t, s, "NORMAL", 4), Store: filepath.Join(t.TempDir(), "store.db"), Workers: 2}
			j.Group = group(j.Topic)
			ledger := ledgerIn(t, j.Store)
			const all, kills = 3000, 5
			go sendMany(t, s, j.Topic, all, senders)
			workers := []*worker{work(t, j), work(t, j)}
			for range kills {
				i := rand.IntN(len(workers))
				victim := workers[i]
				wait(t, "a message in work", func() bool { return victim.inWork.Load() > 0 })
				n, step := victim.inWork.Load(), victim.step.Load()
				_ = victim.cmd.Process.Kill()
				t.Logf("RocketMQ %s: worker process (pid %d) killed after step %v with %d in work, %d effects", s.version, victim.cmd.Process.Pid, step, n, ledger(""))
				workers[i] = work(t, j)
				time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond)
			}
			wait(t, "all effects", func() bool { return ledger("DISTINCT ") >= all })
			time.Sleep(6 * time.Second) // what the killed ones held comes again, and must do nothing
			for _, w := range workers {
				_ = w.stdin.Close()
				if err := <-w.ended; err != nil {
					t.Errorf("a worker process ended: %v", err)
				}
			}
			lost, doubled := all-ledger("DISTINCT "), ledger("")-ledger("DISTINCT ")
			t.Logf("%d messages of %d senders: %d lost, %d doubled", all, senders, lost, doubled)
			if lost != 0 || doubled != 0 {
				t.Fatal("not once")
			}
		})
	}
}

// ledgerIn makes a store with a ledger that has no index, and counts in it.
func ledgerIn(t *testing.T, path string) (count func(distinct string) int) {
	t.Helper()
	store, err := sqlite.Open(path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec("CREATE TABLE ledger (body TEXT NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	return func(distinct string) (n int) {
		if err := db.QueryRow("SELECT count(" + distinct + "body) FROM ledger").Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
}

// sendMany publishes with so many lives, some messages twice, as one whose answers were
// lost.
func sendMany(t *testing.T, s *server, topic string, all, senders int) {
	cluster, err := rocketmq.Open(t.Context(), []string{s.proxy}, rocketmq.Config{Plaintext: true})
	if err != nil {
		t.Error(err)
		return
	}
	defer cluster.Close()
	lives := make([]rollcall.Life, senders)
	for i := range lives {
		lives[i] = rollcall.NewLife()
	}
	for from := 0; from < all; from += 100 {
		var batch []rollcall.Message
		for n := from; n < from+100; n++ {
			m := rollcall.Message{ID: rollcall.MessageID(body(n)), Key: fmt.Sprint("k", n%211), Body: []byte(body(n)),
				Stamp: rollcall.Stamp{Life: lives[n%senders], Origin: rollcall.OriginOf(topic), Sequence: uint64(n/senders) + 1}}
			batch = append(batch, m)
			if n%20 == 0 {
				batch = append(batch, m)
			}
		}
		for _, r := range cluster.Sender().Publish(t.Context(), topic, batch) {
			if r.Fate != rollcall.Stored {
				t.Error(r.Err)
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}
