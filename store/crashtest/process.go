package crashtest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a worker process.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.Closer
	status string
	done   chan error
}

func start(t testing.TB, j job) *process {
	t.Helper()
	p := &process{t: t, status: filepath.Join(t.TempDir(), "status"), done: make(chan error, 1)}
	j.Status = p.status
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), jobEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(p.kill)
	return p
}

// kill is SIGKILL from another process.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(patience):
		p.t.Errorf("process %d did not end after SIGKILL", p.cmd.Process.Pid)
	}
}

// killInWork stops the process, and kills it if it has messages in work.
func (p *process) killInWork() bool {
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	step, n := p.at()
	if n == 0 {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		return false
	}
	p.kill()
	p.t.Logf("process %d killed after step %s with %d in work", p.cmd.Process.Pid, step, n)
	return true
}

// stopInWork stops the process for a while if it has messages in work and holds no lock
// yet: with one, others wait until the server ends the transaction, and it is that which
// stops it. What it had is others' then: it is fenced, and says so.
func (p *process) stopInWork(long time.Duration) bool {
	bites := func() (string, int, bool) {
		step, n := p.at()
		return step, n, n > 0 && (step == "begin" || step == "token")
	}
	if _, _, bite := bites(); !bite { // looked at often, which must not slow it down
		return false
	}
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	step, n, bite := bites()
	if !bite {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		return false
	}
	before := p.fenced()
	time.Sleep(long)
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	for deadline := time.Now().Add(long); p.fenced() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Logf("process %d stopped for %v after step %s with %d in work: nobody had taken over, it does not count", p.cmd.Process.Pid, long, step, n)
			return false
		}
	}
	p.t.Logf("process %d stopped for %v after step %s with %d in work: fenced %d times since", p.cmd.Process.Pid, long, step, n, p.fenced()-before)
	return true
}

// fenced is how often the process was.
func (p *process) fenced() int {
	text, _ := os.ReadFile(p.status + fencedSuffix) // not there: not yet
	return len(text)
}

// fencedSuffix names the file that gets a byte each time.
const fencedSuffix = ".fenced"

// at is the step that the process is at, with how many messages in work: 0
// after COMMIT.
func (p *process) at() (step string, n int) {
	text, _ := os.ReadFile(p.status) // not there yet: not at work yet
	if _, err := fmt.Sscan(string(text), &step, &n); err != nil {
		return "", 0
	}
	if strings.HasSuffix(step, "settle") || strings.HasSuffix(step, "committed") {
		return step, 0
	}
	return step, n
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
		step, n := p.at()
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		p.t.Fatalf("waited %v for process %d to finish; it is at %s with %d in work", patience, p.cmd.Process.Pid, step, n)
	}
}
