package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// child is the program as a process of its own.
type child struct {
	t        *testing.T
	cmd      *exec.Cmd
	done     chan struct{}
	err      error
	out, log syncBuffer
}

// syncBuffer is written by the process and read by the test.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs rollcall in a folder.
func start(t *testing.T, folder string, args ...string) *child {
	t.Helper()
	return startWith(t, folder, nil, args...)
}

// startWith is start, with a standard input.
func startWith(t *testing.T, folder string, stdin io.Reader, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, done: make(chan struct{})}
	c.cmd = exec.Command(self, args...)
	c.cmd.Args[0] = "rollcall" // TestMain makes it the command
	c.cmd.Env = append(os.Environ(), "GORACE="+raceExit)
	c.cmd.Dir, c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = folder, stdin, &c.out, &c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it has ended, unless the test failed
		<-c.done
	})
	return c
}

// wait waits for the end and returns the exit code.
// patience is how long anything may take: RocketMQ brings what a dead process held after
// 10 s and more.
const patience = time.Minute

func (c *child) wait() int {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		c.t.Fatalf("rollcall %v did not end within %v\n%s%s", c.cmd.Args[1:], patience, c.out.String(), c.log.String())
	}
	var exit *exec.ExitError
	if c.err != nil && !errors.As(c.err, &exit) {
		c.t.Fatal(c.err)
	}
	return c.cmd.ProcessState.ExitCode()
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatalf("rollcall %v: %v\n%s%s", c.cmd.Args[1:], err, c.out.String(), c.log.String())
	}
}

// ran runs rollcall to its end, which must be good, and returns stdout.
func ran(t *testing.T, folder string, args ...string) string {
	t.Helper()
	c := start(t, folder, args...)
	if code := c.wait(); code != 0 {
		t.Fatalf("rollcall %v: exit code %d\n%s%s", args, code, c.out.String(), c.log.String())
	}
	return c.out.String()
}

// eventually waits until what is true, and says what it waited for.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

const chaosFile = `
name: chaos
source: {embedded: {destination: things, partitions: 6}}
store: {sqlite: {path: shop.db}}
effect: {table: {name: things, mode: add, key: [id], columns: {id: payload.id, n: payload.one}}}
batch: 40
`

// workshop is a folder with a pipeline, its table, and a file of messages.
func workshop(t *testing.T, messages int) (folder string, db *sql.DB) {
	t.Helper()
	folder = t.TempDir()
	var lines strings.Builder
	for i := range messages {
		fmt.Fprintf(&lines, "{\"id\": %d, \"one\": 1}\n", i)
	}
	for name, text := range map[string]string{"rollcall.yaml": chaosFile, "things.ndjson": lines.String()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "shop.db")+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec(`CREATE TABLE things (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	return folder, db
}

func number(t *testing.T, db *sql.DB, query string) int {
	t.Helper()
	var n int
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKills: two processes work, one of them is killed three times at random,
// and the file is sent again whole in between. Every effect is there once,
// nothing is aside, and the books balance.
func TestKills(t *testing.T) {
	const messages = 4000
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	folder, db := workshop(t, messages)
	ran(t, folder, "send", "things.ndjson")

	workers := []*child{start(t, folder, "run"), start(t, folder, "run")}
	again := start(t, folder, "send", "things.ndjson")
	for kill := range 3 {
		aim := number(t, db, `SELECT count(*) FROM things`) + 100 + random.IntN(messages/5)
		eventually(t, fmt.Sprintf("%d effects before kill %d", aim, kill+1), func() bool {
			return number(t, db, `SELECT count(*) FROM things`) >= min(aim, messages)
		})
		victim := random.IntN(len(workers))
		workers[victim].signal(syscall.SIGKILL)
		<-workers[victim].done
		workers[victim] = start(t, folder, "run")
	}
	if code := again.wait(); code != 0 {
		t.Fatalf("sending again: exit code %d\n%s", code, again.log.String())
	}
	ran(t, folder, "run", "--until-empty")
	for _, w := range workers {
		w.signal(syscall.SIGTERM)
	}
	for _, w := range workers {
		if code := w.wait(); code != exitInterrupted {
			t.Errorf("a worker that was stopped: exit code %d\n%s", code, w.log.String())
		}
	}
	checkOnce(t, folder, db, messages, messages)
}

// checkOnce: every effect once, nothing aside, books balanced.
func checkOnce(t *testing.T, folder string, db *sql.DB, messages, copies int) {
	t.Helper()
	if n := number(t, db, `SELECT count(*) FROM things`); n != messages {
		t.Errorf("%d messages took effect, want %d", n, messages)
	}
	if n := number(t, db, `SELECT count(*) FROM things WHERE n <> 1`); n != 0 {
		t.Errorf("%d messages took effect more than once", n)
	}
	var sum runSummary
	out := strings.Split(strings.TrimSpace(ran(t, folder, "run", "--until-empty", "--json")), "\n")
	if err := json.Unmarshal([]byte(out[len(out)-1]), &sum); err != nil {
		t.Fatal(err)
	}
	want := book{Destination: "things", Stored: int64(messages), Copies: int64(copies), Applied: int64(messages), Drained: true, Balanced: true}
	if sum.book != want {
		t.Errorf("books:\n got %+v\nwant %+v", sum.book, want)
	}
}

// TestInterrupt: the first signal finishes what is in hand and prints the
// books, the second stops at once; neither loses or doubles anything.
func TestInterrupt(t *testing.T) {
	const messages = 2000
	folder, db := workshop(t, messages)
	ran(t, folder, "send", "things.ndjson")

	run := start(t, folder, "run")
	eventually(t, "the first effect", func() bool { return number(t, db, `SELECT count(*) FROM things`) > 0 })
	run.signal(syscall.SIGINT)
	if code := run.wait(); code != exitInterrupted {
		t.Fatalf("exit code %d\n%s", code, run.log.String())
	}
	if out := run.out.String(); !strings.Contains(out, "things: stored 2000 = applied") {
		t.Errorf("no books after a drain:\n%s", out)
	}

	// A writer that holds the lock keeps the next run from draining.
	before := number(t, db, `SELECT count(*) FROM things`)
	stuck := start(t, folder, "run")
	eventually(t, "the next run is at work", func() bool { return number(t, db, `SELECT count(*) FROM things`) > before })
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	stuck.signal(syscall.SIGINT)
	eventually(t, "the first signal is noticed", func() bool { return strings.Contains(stuck.log.String(), "once more stops at once") })
	stuck.signal(syscall.SIGINT)
	if code := stuck.wait(); code != exitInterrupted {
		t.Errorf("stopped at once: exit code %d\n%s", code, stuck.log.String())
	}
	if strings.Contains(stuck.out.String(), "stored") {
		t.Error("it was to stop at once, not to add up")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	ran(t, folder, "run", "--until-empty")
	checkOnce(t, folder, db, messages, 0)
}

// stored is how many copies lie in the log.
func stored(t *testing.T, folder string) int64 {
	t.Helper()
	log, err := filelog.Open(filepath.Join(folder, "rollcall-data", "log.db"), filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	extents, err := log.Source("things").Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, x := range extents {
		n += x.End
	}
	return n
}

// TestReadOnlyFolder: what, where, next step, exit code 3, and no stack trace.
func TestReadOnlyFolder(t *testing.T) {
	folder, err := os.MkdirTemp("", "rollcall-read-only") // the folders of t.TempDir let nobody else in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(folder, "rollcall")
	for name, data := range map[string][]byte{program: self, filepath.Join(folder, "in.raw"): []byte("a\n"), filepath.Join(folder, "rollcall.yaml"): []byte(chaosFile)} {
		if err := os.WriteFile(name, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(folder, 0o555); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"send", "--format", "raw", "in.raw"}, {"run"}, {"init", "--force"}} {
		cmd := exec.Command(program, args...)
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "GORACE="+raceExit)
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, _ := cmd.CombinedOutput()
		text := string(out)
		if cmd.ProcessState.ExitCode() != exitServer || !strings.Contains(text, "permission denied") || !strings.Contains(text, "writable") ||
			strings.Contains(text, "goroutine") {
			t.Errorf("rollcall %v: exit code %d\n%s", args, cmd.ProcessState.ExitCode(), text)
		}
	}
}

// TestKilledSend: a send that is killed and sent again whole leaves every
// record once.
func TestKilledSend(t *testing.T) {
	const messages = 12_000
	folder, db := workshop(t, messages)
	send := start(t, folder, "send", "--rate", "8000/s", "things.ndjson")
	eventually(t, "something is stored", func() bool { return stored(t, folder) > 100 })
	send.signal(syscall.SIGKILL)
	<-send.done
	ran(t, folder, "send", "things.ndjson")
	ran(t, folder, "run", "--until-empty")
	if n := number(t, db, `SELECT count(*) FROM things WHERE n = 1`); n != messages {
		t.Errorf("%d messages took effect once, want %d", n, messages)
	}
	copies := number(t, db, `SELECT sum(copies) FROM rollcall_counts`)
	if copies == 0 || copies >= messages {
		t.Errorf("%d copies: the kill was to come in the middle", copies)
	}
	checkOnce(t, folder, db, messages, copies)
}

// TestInterruptedSend: it waits for the fate of what it sent, and says so.
func TestInterruptedSend(t *testing.T) {
	folder, _ := workshop(t, 1000)
	send := start(t, folder, "--json", "send", "--rate", "50/s", "things.ndjson")
	eventually(t, "something is stored", func() bool { return stored(t, folder) > 2 }) // all of it takes 20 s
	send.signal(syscall.SIGINT)
	if code := send.wait(); code != exitInterrupted {
		t.Fatalf("exit code %d\n%s", code, send.log.String())
	}
	var sum sendSummary
	if err := json.Unmarshal([]byte(strings.TrimSpace(send.out.String())), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Complete || !sum.Interrupted || sum.Sent != sum.Stored || sum.Sent < 3 || sum.Sent >= 1000 || sum.Sent != stored(t, folder) {
		t.Errorf("%+v", sum)
	}
}
