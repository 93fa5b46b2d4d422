//go:build linux

package servers

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take for anything. A busy machine of two
// cores needs 8 seconds for the slowest.
const patience = 2 * time.Minute

// Server is one server: a process, or none for the time being, with a folder
// and a port that it keeps.
type Server struct {
	// Addr is 127.0.0.1:port.
	Addr string
	// Dir is the folder of all that it writes; log is its log.
	Dir string
	// Settings it runs with: the Spec's, and the Config's over them.
	Settings map[string]string

	spec   *Spec
	mu     sync.Mutex
	child  *exec.Cmd     // nil: it does not run
	ended  chan struct{} // closed when child has ended
	paused []process
}

// Start gives the test a server of its own, ready to be used, and ends it after
// the test. A server that cannot be had fails the test.
func Start(t testing.TB, spec *Spec, config Config) *Server {
	t.Helper()
	s, err := start(spec, config)
	s.removeAfter(t)
	if err != nil {
		t.Fatalf("%s: %v", spec.Name, err)
	}
	return s
}

// removeAfter ends the server after the test; there may be none.
func (s *Server) removeAfter(t testing.TB) {
	if s == nil {
		return
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
}

// start makes the server's folder and runs it. A server returned with an error
// is to be removed.
func start(spec *Spec, config Config) (*Server, error) {
	s, err := create(spec, config)
	if err != nil {
		return s, err
	}
	return s, s.begin()
}

// create makes the server's folder. A server returned with an error is to be
// removed.
func create(spec *Spec, config Config) (*Server, error) {
	if _, err := os.Stat(spec.Program); err != nil {
		return nil, fmt.Errorf("%w: run scripts/servers", err)
	}
	base, err := home()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, spec.Name+"-")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", port), Dir: dir, Settings: make(map[string]string), spec: spec}
	maps.Copy(s.Settings, spec.Settings)
	maps.Copy(s.Settings, config.Settings)
	return s, errors.Join(os.Chmod(dir, 0o755), own(dir, spec.User), spec.fill(s.data()))
}

// begin runs a created server for the first time.
func (s *Server) begin() error {
	if s.spec.Prepare != nil {
		if err := s.spec.Prepare(s); err != nil {
			return err
		}
	}
	return s.Restart()
}

// URL is the address as the standard Go client wants it: pgx's URL,
// go-sql-driver/mysql's DSN (user root, database test), go-redis's URL, Kafka's
// bootstrap address.
func (s *Server) URL() string { return s.spec.URL(s.Addr) }

// Version is what the server's program says of itself.
func (s *Server) Version() string {
	out, err := exec.Command(s.spec.Program, "--version").CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// Pid is the process id of the server, 0 when it does not run.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return 0
	}
	return s.child.Process.Pid
}

// Log is the end of the server's log.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s at %s, end of its log:\n%s", s.spec.Name, s.Addr, text[max(0, len(text)-3000):])
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) port() string {
	_, port, _ := net.SplitHostPort(s.Addr)
	return port
}

// Restart starts the server on its folder and port, and returns when it serves
// clients: when it has recovered. One that runs is killed first.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.kill(); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(s.spec.Program, s.spec.Arguments(s)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.Dir, environment(s.Dir), log, log
	if s.spec.Environment != nil {
		cmd.Env = append(cmd.Env, s.spec.Environment(s)...)
	}
	if err := launch(cmd, s.spec.User); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.child, s.ended = cmd, ended
	return s.ready()
}

// ready waits until the server answers a fresh connection.
func (s *Server) ready() error {
	var last error
	err := wait(patience, "an answer", func() bool {
		select {
		case <-s.ended:
			last = fmt.Errorf("it ended: %v", s.child.ProcessState)
		default:
			last = s.ask(s.spec.Ready)
			return last == nil
		}
		return true
	})
	if err = errors.Join(err, last); err != nil {
		return fmt.Errorf("%s at %s does not serve: %w\n%s", s.spec.Name, s.Addr, err, s.Log())
	}
	return nil
}

// ask does something on a fresh connection to the server.
func (s *Server) ask(do func(c net.Conn) error) error {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	return do(c)
}

// Kill ends every process of the server by SIGKILL, and returns when they are
// gone.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

func (s *Server) kill() error {
	if s.child == nil {
		return nil
	}
	family, err := freeze(s.child.Process)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for _, p := range family {
		if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	if err := s.wait(family, "SIGKILL"); err != nil {
		return err
	}
	s.child, s.paused = nil, nil
	return nil
}

// wait for the end of the child, and of all others.
func (s *Server) wait(family []process, after string) error {
	select {
	case <-s.ended:
	case <-time.After(patience):
		return fmt.Errorf("waited %v for process %d of %s to end after %s\n%s", patience, s.child.Process.Pid, s.spec.Name, after, s.Log())
	}
	return wait(patience, fmt.Sprintf("the processes of %s to end after %s", s.spec.Name, after), func() bool {
		return !slices.ContainsFunc(family, func(p process) bool { return !gone(p) })
	})
}

// Stop ends the server in good order.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return nil
	}
	if err := s.child.Process.Signal(s.spec.Quit); err != nil {
		return err
	}
	if err := s.wait(nil, s.spec.Quit.String()); err != nil {
		return err
	}
	s.child = nil
	return nil
}

// Pause stops every process of the server by SIGSTOP: connections stay, nothing
// answers.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil || s.paused != nil {
		return fmt.Errorf("%s does not run: there is nothing to pause", s.spec.Name)
	}
	family, err := freeze(s.child.Process)
	s.paused = family
	return err
}

// Resume lets a paused server go on.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range slices.Backward(s.paused) {
		if err := syscall.Kill(p.pid, syscall.SIGCONT); err != nil {
			return err
		}
	}
	s.paused = nil
	return nil
}

// remove ends the server and its folder.
func (s *Server) remove() error {
	return errors.Join(s.Kill(), os.RemoveAll(s.Dir))
}
