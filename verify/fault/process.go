package fault

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
	"sync"
	"syscall"
	"time"
)

// patience is how long a process may take for anything before the run is
// given up.
const patience = 20 * time.Second

// ErrStuck: a process neither came to a step nor ended. What it was to do is
// not done, and that is a result.
var ErrStuck = errors.New("not finished in time")

// Process is a child of ours. It ends when we do: its stdin closes, and on
// Linux the kernel kills it.
type Process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	at    chan Request
	done  chan struct{}
	err   error // once done

	mu   sync.Mutex // of stdin
	last tail
}

// Start runs a command, whose other requests are answered by services.
func Start(command []string, services *Services) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(self, command[1:]...), at: make(chan Request, 1), done: make(chan struct{})}
	p.cmd.Args[0] = command[0]
	p.cmd.Stderr = &p.last
	p.cmd.SysProcAttr = apart()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	go p.listen(out, services)
	return p, nil
}

func (p *Process) listen(out io.Reader, services *Services) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r Request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			continue // a line torn by a kill
		}
		if r.Op == "at" {
			p.at <- r
			continue
		}
		p.answer(services.Answer(r))
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// answer writes a reply. A child that is gone needs none.
func (p *Process) answer(r Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(p.stdin).Encode(r)
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%v to process %d: %w", s, p.PID(), err)
	}
	return nil
}

// End kills the child, if it still runs, and waits for its end.
func (p *Process) End() error {
	_ = p.cmd.Process.Kill() // it may have ended
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("process %d did not end within %v after SIGKILL", p.PID(), patience)
	}
}

// next waits for a step to be reported, or the end (false).
func (p *Process) next(ctx context.Context, what string) (Request, bool, error) {
	select {
	case r := <-p.at:
		return r, true, nil
	case <-p.done:
		select {
		case r := <-p.at:
			return r, true, nil
		default:
		}
		if p.err != nil {
			return Request{}, false, fmt.Errorf("%s, process %d: %w: %s", what, p.PID(), p.err, p.last.text())
		}
		return Request{}, false, nil
	case <-ctx.Done():
		return Request{}, false, context.Cause(ctx)
	case <-time.After(patience):
		return Request{}, false, fmt.Errorf("%w: %s: waited %v for process %d to reach a step or to finish: %s", ErrStuck, what, patience, p.PID(), p.last.text())
	}
}

// tail keeps the end of what a child wrote to stderr.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-2000):]
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.b)); text != "" {
		return text
	}
	return "it said nothing"
}
