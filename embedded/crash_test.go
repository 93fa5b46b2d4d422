package embedded_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/embedded"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// The campaign on real files and real processes: workers are SIGKILLed by
// another process at every step of the protocol with messages in work, or
// stopped and woken. Effects are judged in a ledger without a unique index.

// order is what a child process is told to do.
type order struct {
	Folder string
	By     []rollcall.Strategy
	Step   string // where to report and wait; empty: nowhere
	Nth    int64  // the how many-th time there
	Until  bool   // until empty; else until stdin ends
	Slow   bool   // half a millisecond a message
}

const childEnv = "ROLLCALL_EMBEDDED_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		run := child
		if strings.HasPrefix(text, `{"Role"`) {
			run = campaigner
		}
		if err := run(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	db, err := open(o.Folder)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	stdin := bufio.NewReader(os.Stdin)
	var seen atomic.Int64
	goOn := make(chan struct{})
	ctx := failpoint.With(context.Background(), func(_ context.Context, step string, n int) error {
		if step != o.Step || n == 0 {
			return nil
		}
		nth := seen.Add(1)
		if nth == o.Nth {
			fmt.Printf("at %s with %d in work\n", step, n)
			_, _ = stdin.ReadString('\n') // until it is killed, or told to go on
			close(goOn)
		} else if nth > o.Nth {
			<-goOn // whoever comes to the step later waits there too
		}
		return nil
	})
	record := recordOne
	if o.Slow {
		record = func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			time.Sleep(500 * time.Microsecond)
			return recordOne(ctx, tx, m)
		}
	}
	c := rollcall.NewConsumer("ledger", db.Source("orders"), db.Store(), record, rollcall.ConsumerConfig{
		Batch: 20, Dedup: rollcall.DedupConfig{By: o.By}, Retry: rollcall.RetryConfig{Attempts: 20}})
	if o.Until {
		return c.RunUntilEmpty(ctx)
	}
	return c.Run(ctx)
}

func recordOne(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO ledger (pid, key, body) VALUES (?, ?, ?)`, os.Getpid(), m.Key, string(m.Body))
	return err
}

func open(folder string) (*embedded.DB, error) {
	return embedded.OpenConfig(folder, embedded.Config{Log: filelog.Config{Partitions: 4, Lease: 500 * time.Millisecond}})
}

// process is a child that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Writer
	report chan string
	done   chan error
}

func start(t *testing.T, o any) *process {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, stdin: stdin, report: make(chan string, 1), done: make(chan error, 1)}
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		p.report <- line
		p.done <- cmd.Wait()
	}()
	t.Cleanup(p.kill)
	return p
}

// kill is SIGKILL from another process.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(20 * time.Second):
		p.t.Errorf("process %d did not end after SIGKILL", p.cmd.Process.Pid)
	}
}

// reached waits until the child is at its step with messages in work, and
// returns the step.
func (p *process) reached() (step string) {
	p.t.Helper()
	select {
	case line := <-p.report:
		if !strings.HasPrefix(line, "at ") {
			p.t.Fatalf("process %d ended before it came to its step", p.cmd.Process.Pid)
		}
		p.t.Logf("process %d %s", p.cmd.Process.Pid, strings.TrimSpace(line))
		return strings.Fields(line)[1]
	case <-time.After(30 * time.Second):
		p.t.Fatalf("waited 30s for process %d to come to its step", p.cmd.Process.Pid)
	}
	return ""
}

// ended waits for a good end.
func (p *process) ended() {
	p.t.Helper()
	select {
	case err := <-p.done:
		p.done <- err
		if err != nil {
			p.t.Fatalf("process %d: %v", p.cmd.Process.Pid, err)
		}
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		p.t.Fatalf("waited 90s for process %d to finish", p.cmd.Process.Pid)
	}
}

// world is a folder with n messages, a part of them stored twice.
func world(t *testing.T, n int) (folder string, db *embedded.DB, want []string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "data")
	db, err := open(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.DB().Exec(`CREATE TABLE ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER, key TEXT, body TEXT)`); err != nil {
		t.Fatal(err)
	}
	life := rollcall.NewLife()
	p := db.Publisher(rollcall.PublisherConfig{})
	var messages []rollcall.Message
	for i := range n {
		m := rollcall.Message{ID: rollcall.MessageID(fmt.Sprintf("order-%d", i)), Key: fmt.Sprintf("k%d", i%101), Body: fmt.Appendf(nil, "%d", i),
			Stamp: rollcall.Stamp{Life: life, Sequence: uint64(i) + 1, Origin: rollcall.OriginOf("orders"), OwnID: true}}
		messages = append(messages, m)
		if i%5 == 0 {
			messages = append(messages, m)
		}
		want = append(want, m.Key+" "+string(m.Body))
	}
	for _, r := range p.Publish(t.Context(), "orders", messages...) {
		if r.Fate != rollcall.Stored {
			t.Fatalf("%v %v", r.Fate, r.Err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return folder, db, want
}

func ledger(t *testing.T, db *embedded.DB) (lines []string, pids map[int]int) {
	t.Helper()
	rows, err := db.DB().Query(`SELECT pid, key, body FROM ledger ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	pids = make(map[int]int)
	for rows.Next() {
		var pid int
		var key, body string
		if err := rows.Scan(&pid, &key, &body); err != nil {
			t.Fatal(err)
		}
		pids[pid]++
		lines = append(lines, key+" "+body)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines, pids
}

func judge(t *testing.T, db *embedded.DB, want []string) {
	t.Helper()
	got, _ := ledger(t, db)
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Fatalf("%d effects, want %d, each once:\n got %v\nwant %v", len(got), len(want), got, want)
	}
	tallies, err := db.Store().Upkeep().Tally(t.Context(), "ledger")
	if err != nil {
		t.Fatal(err)
	}
	if c := tallies[0]; c.Counts.Applied != int64(len(want)) || c.Dead+c.Waiting+c.Parked != 0 {
		t.Fatalf("the books do not balance: %+v", c)
	}
}

var strategies = map[string][]rollcall.Strategy{
	"auto": nil, "rolls": {rollcall.ByStamp, rollcall.ByPosition}, "inbox": {rollcall.ByKey},
}

// TestStoppedOutsideTransaction: a worker is stopped with a batch in hand and
// woken after its lease, when others have done its work.
func TestStoppedOutsideTransaction(t *testing.T) {
	for name, by := range strategies {
		t.Run(name, func(t *testing.T) {
			folder, db, want := world(t, 200)
			sleeper := start(t, order{Folder: folder, By: by, Step: "begin", Nth: 2})
			sleeper.reached()
			time.Sleep(200 * time.Millisecond) // its other partitions finish their transactions and come to the step
			signal(t, sleeper, syscall.SIGSTOP)
			start(t, order{Folder: folder, By: by, Until: true}).ended()
			judge(t, db, want)
			signal(t, sleeper, syscall.SIGCONT)
			if _, err := io.WriteString(sleeper.stdin, "go on\n"); err != nil {
				t.Fatal(err)
			}
			start(t, order{Folder: folder, By: by, Until: true}).ended() // while the woken one tries
			time.Sleep(300 * time.Millisecond)                           // and has tried
			judge(t, db, want)
		})
	}
}

// TestStoppedInsideTransaction shows the documented limit of SQLite: nobody can
// proceed while a writer is stopped inside its transaction, and nothing is
// wrong when it goes on.
func TestStoppedInsideTransaction(t *testing.T) {
	folder, db, want := world(t, 200)
	stopped := start(t, order{Folder: folder, Step: "rolls", Nth: 1})
	stopped.reached()
	signal(t, stopped, syscall.SIGSTOP)
	other := start(t, order{Folder: folder, Until: true})
	time.Sleep(1500 * time.Millisecond) // three leases
	if got, _ := ledger(t, db); len(got) != 0 {
		t.Fatalf("%d effects while a writer is stopped inside its transaction: the documentation says that nobody can proceed", len(got))
	}
	signal(t, stopped, syscall.SIGCONT)
	if _, err := io.WriteString(stopped.stdin, "go on\n"); err != nil {
		t.Fatal(err)
	}
	other.ended()
	judge(t, db, want)
}

func signal(t *testing.T, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// TestOneSenderFourProcesses: every process has effects, each message once.
func TestOneSenderFourProcesses(t *testing.T) {
	for name, by := range strategies {
		t.Run(name, func(t *testing.T) {
			folder, db, want := world(t, 1600)
			var all []*process
			for range 4 {
				all = append(all, start(t, order{Folder: folder, By: by, Until: true, Slow: true}))
			}
			for _, p := range all {
				p.ended()
			}
			judge(t, db, want)
			if _, pids := ledger(t, db); len(pids) != 4 {
				t.Fatalf("effects by process: %v, want all four to have some", pids)
			}
		})
	}
}

// TestRestoredLog: the log is put back from an older copy and grows again to
// where the store had been: its new messages lie at offsets that count as
// done. The run is refused; nothing is taken for done.
func TestRestoredLog(t *testing.T) {
	for name, more := range map[string]int{"shorter": 0, "as long": 40, "longer": 90, "sent again behind new ones": -1} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			backup := filepath.Join(t.TempDir(), "backup")
			send := func(db *embedded.DB, from, n int) {
				t.Helper()
				p := db.Publisher(rollcall.PublisherConfig{})
				for i := range n {
					m := rollcall.Message{Key: "k", Body: fmt.Appendf(nil, "%d", from+i)}
					if r := p.Publish(t.Context(), "orders", m)[0]; r.Fate != rollcall.Stored {
						t.Fatal(r.Err)
					}
				}
				if err := p.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			session := func(do func(db *embedded.DB)) {
				t.Helper()
				db, err := open(folder)
				if err != nil {
					t.Fatal(err)
				}
				do(db)
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			run := func(db *embedded.DB) error {
				c := rollcall.NewConsumer("ledger", db.Source("orders"), db.Store(), recordOne, rollcall.ConsumerConfig{})
				return c.RunUntilEmpty(t.Context())
			}
			session(func(db *embedded.DB) {
				if _, err := db.DB().Exec(`CREATE TABLE ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER, key TEXT, body TEXT)`); err != nil {
					t.Fatal(err)
				}
				send(db, 0, 20)
				if err := run(db); err != nil {
					t.Fatal(err)
				}
			})
			if err := os.CopyFS(backup, os.DirFS(folder)); err != nil {
				t.Fatal(err)
			}
			life := rollcall.NewLife()
			session(func(db *embedded.DB) {
				sendStamped(t, db, life, 40)
				if err := run(db); err != nil {
					t.Fatal(err)
				}
			})
			for _, file := range []string{"log.db", "log.db.marks"} {
				text, err := os.ReadFile(filepath.Join(backup, file))
				if err == nil {
					err = os.WriteFile(filepath.Join(folder, file), text, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			session(func(db *embedded.DB) {
				if more < 0 { // the message at the end of what is done is one that was done
					send(db, 100, 5)
					sendStamped(t, db, life, 40)
				} else {
					send(db, 100, more)
				}
				err := run(db)
				if !errors.Is(err, rollcall.ErrDamaged) || !strings.Contains(err.Error(), "not the log") {
					t.Fatalf("run on the restored log: %v, want it refused", err)
				}
			})
		})
	}
}

// sendStamped sends what a file of one life has: sent again it has the same
// numbers.
func sendStamped(t *testing.T, db *embedded.DB, life rollcall.Life, n int) {
	t.Helper()
	p := db.Publisher(rollcall.PublisherConfig{})
	for i := range n {
		m := rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("again-", i)), Key: "k", Body: fmt.Appendf(nil, "%d", 1000+i), Time: time.Now(),
			Stamp: rollcall.Stamp{Life: life, Sequence: uint64(i) + 1, Origin: rollcall.OriginOf("orders"), OwnID: true}}
		if r := p.Publish(t.Context(), "orders", m)[0]; r.Fate != rollcall.Stored {
			t.Fatal(r.Err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedLog: a damaged record ends the run with an error that says where;
// it does not go silent.
func TestDamagedLog(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	db, err := open(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.DB().Exec(`CREATE TABLE ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER, key TEXT, body TEXT)`); err != nil {
		t.Fatal(err)
	}
	p := db.Publisher(rollcall.PublisherConfig{})
	p.Publish(t.Context(), "orders", rollcall.Message{Body: []byte("a body to be found and changed")})
	if err := errors.Join(p.Close(t.Context()), db.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "log.db")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(text), "to be found")
	if at < 0 {
		t.Fatal("the body is not in the file: the test shows nothing")
	}
	text[at] ^= 0x20
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err = open(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = rollcall.NewConsumer("ledger", db.Source("orders"), db.Store(), recordOne, rollcall.ConsumerConfig{}).RunUntilEmpty(ctx)
	if !errors.Is(err, rollcall.ErrDamaged) || ctx.Err() != nil {
		t.Fatalf("run on a damaged log: %v, want it to end with ErrDamaged", err)
	}
}

// patience is how long a process may take to finish.
const patience = 40 * time.Second
