package rabbitmq_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// node is a RabbitMQ of one test's own.
type node struct {
	t     testing.TB
	Addr  string
	dir   string
	port  int
	env   []string
	child *exec.Cmd
	ended chan struct{}
}

const script = "/work/shared/services/rabbitmq/rabbitmq-up"

// start a node. conf are lines of rabbitmq.conf, advanced the text of advanced.config.
func start(t testing.TB, conf, advanced string) *node {
	t.Helper()
	port := freePorts(t)
	n := &node{t: t, Addr: fmt.Sprintf("127.0.0.1:%d", port), dir: t.TempDir(), port: port,
		env: append(os.Environ(), "PLUGINS=", "FG=1", "CONF=vm_memory_high_watermark.absolute = 512MB\n"+conf, "ADVANCED="+advanced)}
	t.Cleanup(n.end)
	n.Restart()
	return n
}

// freePorts is the first of ten.
func freePorts(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port/10*10 - 20000 + 2
}

// Restart on the same folder and port; it answers when this returns.
func (n *node) Restart() {
	n.t.Helper()
	cmd := exec.Command(script, n.dir, strconv.Itoa(n.port))
	cmd.Env = n.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.child, n.ended = cmd, make(chan struct{})
	go func() { _ = cmd.Wait(); close(n.ended) }()
	wait(n.t, "the server at "+n.Addr, func() bool {
		select {
		case <-n.ended:
			n.t.Fatalf("the server ended: %s", n.log())
		default:
		}
		return greets(n.Addr)
	})
}

// greets says whether AMQP is spoken there.
func greets(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = c.Write([]byte("AMQP\x00\x00\x09\x01"))
	b := make([]byte, 3)
	_, err = c.Read(b)
	return err == nil && b[0] == 1
}

func (n *node) log() string {
	b, _ := os.ReadFile(filepath.Join(n.dir, "n1", "out.log"))
	return string(b)
}

func (n *node) Pid() int { return n.child.Process.Pid }

// Kill is SIGKILL.
func (n *node) Kill() {
	_ = syscall.Kill(n.Pid(), syscall.SIGKILL)
	<-n.ended
}

func (n *node) Pause()  { _ = syscall.Kill(n.Pid(), syscall.SIGSTOP) }
func (n *node) Resume() { _ = syscall.Kill(n.Pid(), syscall.SIGCONT) }

func (n *node) end() {
	if n.child != nil {
		n.Resume()
		n.Kill()
	}
	if b, err := os.ReadFile(filepath.Join(n.dir, "epmd.pid")); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// ctl runs rabbitmqctl.
func (n *node) ctl(args ...string) string {
	n.t.Helper()
	cmd := exec.Command("/usr/lib/rabbitmq/bin/rabbitmqctl", append([]string{"-n", fmt.Sprintf("r%d-1@localhost", n.port)}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+n.dir, fmt.Sprint("ERL_EPMD_PORT=", n.port+9), "RABBITMQ_CONF_ENV_FILE="+filepath.Join(n.dir, "env.conf"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("rabbitmqctl %v: %v: %s", args, err, out)
	}
	return string(out)
}
