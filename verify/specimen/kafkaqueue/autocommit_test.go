//go:build linux

package kafkaqueue_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	_ "modernc.org/sqlite"

	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

const (
	jobEnv   = "ROLLCALL_AUTOCOMMIT_JOB"
	patience = 30 * time.Second
	orders   = 12
	last     = "last" // the order after which a worker ends
)

func TestMain(m *testing.M) {
	if text := os.Getenv(jobEnv); text != "" {
		if err := handOff(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// job is what a worker process is told.
type job struct {
	Brokers, Topic, Ledger string
	At                     string // it says so, and stands, with this order in hand
}

func openLedger(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_txlock=immediate")
}

// handOff is a worker process, written as the client's defaults suggest: it polls, a
// goroutine works, and the client commits by itself what earlier polls have brought.
// "Poll must not wait for slow work, else the group takes us for dead."
func handOff(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := openLedger(j.Ledger)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	client, err := kgo.NewClient(kgo.SeedBrokers(j.Brokers), kgo.ConsumerGroup(j.Topic), kgo.ConsumeTopics(j.Topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(200*time.Millisecond), kgo.SessionTimeout(2*time.Second), kgo.HeartbeatInterval(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	received := make(chan *kgo.Record, 100)
	go func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { received <- r })
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v for order %q", patience, last)
		case r := <-received:
			if string(r.Value) == last {
				return nil
			}
			if err := bookOrder(ctx, db, j, string(r.Value)); err != nil {
				return err
			}
		}
	}
}

func bookOrder(ctx context.Context, db *sql.DB, j job, id string) error {
	if id == j.At {
		fmt.Println("at", id)
		if _, err := io.ReadAll(os.Stdin); err != nil { // it is open until we are killed
			return err
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := specimen.Book(ctx, tx, os.Getpid(), specimen.Message{ID: id}); err != nil {
		return err
	}
	return tx.Commit()
}

// autoCommit is a topic with orders, and a ledger without a unique index.
type autoCommit struct {
	t      *testing.T
	job    job
	client *kgo.Client
	admin  *kadm.Client
	ledger *sql.DB
}

func newAutoCommit(t *testing.T, topic string) *autoCommit {
	t.Helper()
	a := &autoCommit{t: t, job: job{Brokers: servers.Shared(t, servers.Kafka).Addr, Topic: topic, Ledger: filepath.Join(t.TempDir(), "ledger.db")}}
	var err error
	if a.ledger, err = openLedger(a.job.Ledger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.ledger.Close() })
	if _, err := a.ledger.Exec(specimen.Schema); err != nil {
		t.Fatal(err)
	}
	if a.client, err = kgo.NewClient(kgo.SeedBrokers(a.job.Brokers), kgo.DefaultProduceTopic(topic)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.client.Close)
	a.admin = kadm.NewClient(a.client)
	if _, err := a.admin.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	for i := range orders {
		a.send(fmt.Sprint(i))
	}
	return a
}

func (a *autoCommit) send(id string) {
	a.t.Helper()
	if err := a.client.ProduceSync(a.t.Context(), kgo.StringRecord(id)).FirstErr(); err != nil {
		a.t.Fatal(err)
	}
}

// start starts a worker; said are its lines.
func (a *autoCommit) start(at string) (cmd *exec.Cmd, said *bufio.Scanner) {
	a.t.Helper()
	j := a.job
	j.At = at
	text, err := json.Marshal(j)
	if err != nil {
		a.t.Fatal(err)
	}
	cmd = exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), jobEnv+"="+string(text)), os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		a.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewScanner(out)
}

// toTheEnd is a worker that works off the rest; it gives up by itself.
func (a *autoCommit) toTheEnd() {
	a.t.Helper()
	a.send(last)
	cmd, said := a.start("")
	for said.Scan() {
		a.t.Log(said.Text())
	}
	if err := cmd.Wait(); err != nil {
		a.t.Fatal(err)
	}
}

// committed waits until the client has committed an offset above below.
func (a *autoCommit) committed(below int64) int64 {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	for {
		all, err := a.admin.FetchOffsets(ctx, a.job.Topic)
		if at, ok := all.Lookup(a.job.Topic, 0); err == nil && ok && at.At > below {
			return at.At
		}
		select {
		case <-ctx.Done():
			a.t.Fatalf("waited %v for a commit above offset %d: %v", patience, below, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (a *autoCommit) counts() (effects, distinct int) {
	a.t.Helper()
	if err := a.ledger.QueryRow(`SELECT count(*), count(DISTINCT id) FROM ledger`).Scan(&effects, &distinct); err != nil {
		a.t.Fatal(err)
	}
	return effects, distinct
}

// TestAutoCommit: on real Kafka, the client's auto-commit with a goroutine that works
// is right as long as nothing happens, and loses what was committed and not done when
// the worker is killed.
func TestAutoCommit(t *testing.T) {
	t.Run("without a fault", func(t *testing.T) {
		a := newAutoCommit(t, "auto-calm")
		a.toTheEnd()
		if effects, distinct := a.counts(); effects != orders || distinct != orders {
			t.Errorf("%d effects, %d orders; want %d", effects, distinct, orders)
		}
	})
	t.Run("killed", func(t *testing.T) {
		const inHand = 4
		a := newAutoCommit(t, "auto-killed")
		victim, said := a.start(fmt.Sprint(inHand))
		if !said.Scan() {
			t.Fatalf("the worker ended: %v", victim.Wait())
		}
		offset := a.committed(orders - 1)
		if err := victim.Process.Kill(); err != nil { // SIGKILL
			t.Fatal(err)
		}
		t.Logf("SIGKILL of process %d with order %d in hand, before its effect; the client had committed up to %d", victim.Process.Pid, inHand, offset)
		if err := victim.Wait(); err == nil {
			t.Fatal("the victim ended well")
		}
		a.toTheEnd()
		effects, distinct := a.counts()
		t.Logf("%d orders, %d effects, %d lost, %d doubled", orders, effects, orders-distinct, effects-distinct)
		if want := orders - inHand; orders-distinct != want || effects != distinct {
			t.Errorf("lost %d, doubled %d; want the %d lost that were committed and not done", orders-distinct, effects-distinct, want)
		}
	})
}
