package id_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-mq/rollcall/id"
)

const (
	childEnv = "ROLLCALL_ID_CHILD" // the folder
	storeEnv = "ROLLCALL_ID_STORE" // "client dsn" of a server; empty: a file in the folder
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rollcall-mq/rollcall/internal/servers.startAll")) // it never ends
}

// child takes blocks, numbers and ids until it is killed, and writes down each
// try before and each result after: a write to a file outlives the process.
func child(dir string) error {
	out, err := os.Create(filepath.Join(dir, fmt.Sprintf("taken-%d", os.Getpid())))
	if err != nil {
		return err
	}
	ctx := context.Background()
	store, err := openAny(ctx, dir, os.Getenv(storeEnv))
	if err != nil {
		return err
	}
	ids, err := id.New(ctx, id.Config{Marks: store})
	if err != nil {
		return err
	}
	numbers := id.NewNumbers(store, "numbers", id.NumbersConfig{Block: 5})
	for size := int64(1); ; size = size%9 + 1 {
		fmt.Fprintf(out, "try block of %d\n", size)
		first, err := store.Next(ctx, "blocks", size)
		if err != nil {
			return err
		}
		for n := first; n < first+size; n++ {
			fmt.Fprintf(out, "block %d\n", n)
		}
		fmt.Fprintf(out, "try number\n")
		n, err := numbers.Next(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "number %d\ntry ids\n", n)
		taken, err := ids.Take(ctx, int(size))
		if err != nil {
			return err
		}
		for _, one := range taken {
			fmt.Fprintf(out, "id %v\n", one)
		}
	}
}

// openAny opens a file, or a server.
func openAny(ctx context.Context, dir, store string) (*id.SQL, error) {
	client, dsn, isServer := strings.Cut(store, " ")
	if !isServer {
		return id.OpenFile(filepath.Join(dir, "ids.db"))
	}
	db, err := sql.Open(client, dsn)
	if err != nil {
		return nil, err
	}
	return id.NewSQL(ctx, db, dialects[client])
}

type process struct {
	cmd         *exec.Cmd
	path        string
	before      *process // killed before this one began
	first, last string   // ids, once judged
}

func spawn(t *testing.T, dir, store string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, storeEnv+"="+store)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &process{cmd: cmd, path: filepath.Join(dir, fmt.Sprintf("taken-%d", cmd.Process.Pid))}
}

// waitFor waits until the process has taken something.
func (p *process) waitFor(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(p.path)
		if err == nil && strings.Contains(string(text), "\nid ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for process %d to take its first ids", p.cmd.Process.Pid)
		}
	}
}

// kill sends SIGKILL and returns what was in flight.
func (p *process) kill(t *testing.T) string {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatalf("process %d ended before it was killed: %v", p.cmd.Process.Pid, err)
	}
	if err := p.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("process %d was not killed: %v", p.cmd.Process.Pid, err)
	}
	text, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return lines[len(lines)-1]
}

// TestKilled: four processes share a file and are killed 24 times at random,
// each replaced by a new one. In the union of all that was taken nothing
// repeats, and the ids of a process sort after those of the one that it replaced.
func TestKilled(t *testing.T) { killed(t, 24, "") }

func killed(t *testing.T, kills int, store string) {
	dir := t.TempDir()
	processes := make([]*process, 4)
	for i := range processes {
		processes[i] = spawn(t, dir, store)
	}
	all := append([]*process(nil), processes...)
	inFlight := make(map[string]int)
	for range kills {
		i := rand.N(len(processes))
		processes[i].waitFor(t)
		time.Sleep(rand.N(30 * time.Millisecond))
		what := processes[i].kill(t)
		t.Logf("SIGKILL for process %d; last it wrote: %s", processes[i].cmd.Process.Pid, what)
		what, _, _ = strings.Cut(what, " ")
		inFlight[what]++
		killed := processes[i]
		processes[i] = spawn(t, dir, store)
		processes[i].before = killed
		all = append(all, processes[i])
	}
	for _, p := range processes {
		p.waitFor(t)
		p.kill(t)
	}
	if inFlight["try"] == 0 {
		t.Errorf("no process was killed while a store or a generator was at work: %v", inFlight)
	}
	taken := judge(t, all)
	t.Logf("taken once each: %d numbers of blocks, %d single numbers, %d ids", taken["block"], taken["number"], taken["id"])
	for _, kind := range []string{"block", "number", "id"} {
		if taken[kind] < len(all) {
			t.Errorf("only %d of %s: nothing was tried", taken[kind], kind)
		}
	}
}

// next is one id more of the process.
func (p *process) next(t *testing.T, one string) {
	t.Helper()
	if p.first == "" {
		p.first = one
		if b := p.before; b != nil && one <= b.last {
			t.Errorf("process %d began with %s, process %d before it ended with %s", p.cmd.Process.Pid, one, b.cmd.Process.Pid, b.last)
		}
	} else if one <= p.last {
		t.Errorf("process %d: %s came after %s", p.cmd.Process.Pid, one, p.last)
	}
	p.last = one
}

// judge reads what all processes wrote and counts it by kind.
func judge(t *testing.T, all []*process) map[string]int {
	t.Helper()
	owner, taken := make(map[string]int), make(map[string]int)
	for _, p := range all {
		f, err := os.Open(p.path)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			line := lines.Text()
			kind, what, _ := strings.Cut(line, " ")
			if kind == "try" || kind == "id" && len(what) < 36 { // the last line may be cut
				continue
			}
			if other, again := owner[line]; again {
				t.Errorf("%s was taken by processes %d and %d", line, other, p.cmd.Process.Pid)
			}
			owner[line] = p.cmd.Process.Pid
			taken[kind]++
			if kind == "id" {
				p.next(t, what)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return taken
}
