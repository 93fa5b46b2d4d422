//go:build linux

package specimen_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(jobEnv); text != "" {
		child(text)
		return
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// schedule is what hits the worker that comes to a moment with the message hit.
type schedule struct {
	kind   fault.Kind // "": nothing
	moment fault.Moment
}

// patience is how long the processes may take for anything.
const patience = 40 * time.Second

// process is a worker process.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr strings.Builder
	asks   chan struct{} // it is at the moment
	ended  chan error
}

func startWorker(t *testing.T, j job) *process {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0]), asks: make(chan struct{}, 10), ended: make(chan error, 1)}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), jobEnv+"="+string(text)), &p.stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.asks <- struct{}{}
		}
		p.ended <- p.cmd.Wait()
	}()
	return p
}

func (p *process) goOn() error {
	_, err := io.WriteString(p.in, "go\n")
	return err
}

// end waits for a good end; what it comes to again is let through.
func (p *process) end() error {
	deadline := time.After(patience)
	for {
		select {
		case <-p.asks:
			if err := p.goOn(); err != nil {
				return err
			}
		case err := <-p.ended:
			if err != nil {
				return fmt.Errorf("a worker: %w: %s", err, p.stderr.String())
			}
			return nil
		case <-deadline:
			return fmt.Errorf("waited %v for a worker to end: %s", patience, p.stderr.String())
		}
	}
}

// end waits for all of them.
func end(t *testing.T, all ...*process) {
	t.Helper()
	errs := make(chan error, len(all))
	for _, p := range all {
		go func() { errs <- p.end() }()
	}
	for range all {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// run runs two processes of a pattern through a schedule and returns how many
// messages were lost and doubled.
func run(t *testing.T, pattern string, s schedule) (lost, doubled int) {
	t.Helper()
	j := newJob(t, pattern, s.moment)
	if s.kind == "" {
		j.Lease = time.Minute // a busy machine is no fault
	}
	one, two := startWorker(t, j), startWorker(t, j)
	if s.kind == "" {
		end(t, one, two)
		return judge(t, j)
	}
	var at, other *process
	select {
	case <-one.asks:
		at, other = one, two
	case <-two.asks:
		at, other = two, one
	case <-time.After(patience):
		t.Fatalf("waited %v for a worker to come %s", patience, s.moment)
	}
	if s.kind == fault.Kill {
		if err := at.cmd.Process.Kill(); err != nil { // SIGKILL
			t.Fatal(err)
		}
		end(t, other, startWorker(t, j))
		return judge(t, j)
	}
	if err := at.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	end(t, other) // it works off everything
	if err := errors.Join(at.goOn(), at.cmd.Process.Signal(syscall.SIGCONT)); err != nil {
		t.Fatal(err)
	}
	end(t, at)
	return judge(t, j)
}

// newJob makes the ledger, without a unique index, and the queue.
func newJob(t *testing.T, pattern string, at fault.Moment) job {
	t.Helper()
	pg, cache := servers.Shared(t, servers.Postgres15), servers.Shared(t, servers.Redis)
	j := job{Pattern: pattern, Postgres: pg.URL(), Redis: cache.URL(), Messages: 12, At: at, Lease: time.Second,
		Schema: fmt.Sprintf("sp_%d_%d", os.Getpid(), time.Now().UnixNano())}
	store, err := postgres.Open(t.Context(), j.Postgres, postgres.Config{Schema: j.Schema})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	ddl := strings.NewReplacer("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY", "INTEGER", "BIGINT").Replace(specimen.Schema)
	if _, err := store.DB().Exec(t.Context(), "SET search_path = "+j.Schema+";"+ddl); err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(j.Redis)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	err = client.XGroupCreateMkStream(t.Context(), j.Schema, "g", "0").Err()
	for i := range j.Messages {
		if err == nil {
			err = client.XAdd(t.Context(), &redis.XAddArgs{Stream: j.Schema, Values: map[string]any{"id": fmt.Sprint("order-", i)}}).Err()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func judge(t *testing.T, j job) (lost, doubled int) {
	t.Helper()
	db, err := openNumbered(j)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for i := range j.Messages {
		n := 0
		if err := db.QueryRowContext(context.Background(), "SELECT count(*) FROM ledger WHERE id = ?", fmt.Sprint("order-", i)).Scan(&n); err != nil {
			t.Fatal(err)
		}
		switch {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	return lost, doubled
}

// TestOnServers: the patterns of articles over real PostgreSQL and Redis, in two
// processes. Without a fault each is right; with one kill or one stall, where it
// hurts that pattern, each loses or doubles a message. rollcall on the same
// schedules does neither.
func TestOnServers(t *testing.T) {
	for name, s := range map[string]schedule{
		"ack-first":            {fault.Kill, fault.AfterAck},
		"effect-then-ack":      {fault.Kill, fault.BeforeSettle},
		"cache-check":          {fault.Kill, fault.AfterEffect},
		"setnx-first":          {fault.Kill, fault.AfterRecord},
		"ttl-lock":             {fault.Sleep, fault.BeforeEffect},
		"lock-busy-skip":       {fault.Kill, fault.BeforeEffect},
		"check-then-insert":    {fault.Sleep, fault.BeforeEffect},
		"offset-unconditional": {fault.Sleep, fault.BeforeEffect},
	} {
		must := specimen.Expected(name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if lost, doubled := run(t, name, schedule{}); lost+doubled != 0 {
				t.Errorf("without a fault: %d lost, %d doubled", lost, doubled)
			}
			lost, doubled := run(t, name, s)
			t.Logf("%s %s: %d lost, %d doubled", s.kind, s.moment, lost, doubled)
			if (lost > 0) != must.MustLose || (doubled > 0) != must.MustDouble {
				t.Errorf("%s %s: %d lost, %d doubled; want it to lose: %v, to double: %v", s.kind, s.moment, lost, doubled, must.MustLose, must.MustDouble)
			}
		})
		t.Run("rollcall as "+name, func(t *testing.T) {
			t.Parallel()
			moment := s.moment
			switch moment { // where rollcall has its record
			case fault.AfterAck:
				moment = fault.BeforeSettle
			case fault.AfterRecord:
				moment = fault.BeforeCommit
			}
			if lost, doubled := run(t, "rollcall", schedule{s.kind, moment}); lost+doubled != 0 {
				t.Errorf("%s %s: %d lost, %d doubled", s.kind, moment, lost, doubled)
			}
		})
	}
}
