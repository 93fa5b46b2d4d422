//go:build linux

package queuetest

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// patience is how long anything may take.
const patience = 45 * time.Second

// worker is a worker process as its parent sees it.
type worker struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	said chan stand // one without a moment: a worker is ready
}

// start starts a process, and waits until its workers are ready.
func start(t testing.TB, j Job) *worker {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{cmd: exec.Command(os.Args[0]), said: make(chan stand, 2*workers)}
	w.cmd.Env, w.cmd.Stderr = append(os.Environ(), jobEnv+"="+string(text)), os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() }) // if it still runs
	go w.listen(out)
	for range workers {
		if _, ok := w.hear(patience); !ok {
			t.Fatalf("%s: waited %v for the workers of process %d to be ready", j.Pattern, patience, w.pid())
		}
	}
	return w
}

func (w *worker) pid() int { return w.cmd.Process.Pid }

func (w *worker) listen(out io.Reader) {
	defer close(w.said)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var s stand
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			return
		}
		w.said <- s
	}
}

// hear what it says next; false: nothing in this time, or it has ended.
func (w *worker) hear(most time.Duration) (stand, bool) {
	select {
	case s, ok := <-w.said:
		return s, ok
	case <-time.After(most):
		return stand{}, false
	}
}

// kill is SIGKILL, and the wait until it is dead.
func (w *worker) kill(t testing.TB) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.end(t); err == nil {
		t.Fatalf("process %d ended well, and was to be killed", w.pid())
	}
}

// stop has it end by itself.
func (w *worker) stop(t testing.TB) {
	t.Helper()
	if err := w.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.end(t); err != nil {
		t.Fatalf("worker process %d: %v", w.pid(), err)
	}
}

func (w *worker) end(t testing.TB) error {
	t.Helper()
	for late := time.After(patience); ; {
		select {
		case _, ok := <-w.said:
			if !ok { // its standard output is closed
				return w.cmd.Wait()
			}
		case <-late:
			t.Fatalf("waited %v for process %d to end", patience, w.pid())
		}
	}
}
