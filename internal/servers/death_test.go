//go:build linux

package servers_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestDeath: servers end with a test process that is killed with SIGKILL, and
// the next test process removes what it left.
func TestDeath(t *testing.T) {
	child := exec.Command(os.Args[0], "-test.run=^TestDeathChild$", "-test.v")
	child.Env = append(os.Environ(), "ROLLCALL_SERVERS_CHILD=1")
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	late := time.AfterFunc(2*time.Minute, func() { _ = child.Process.Kill() })
	defer late.Stop()
	lines, seen, dir, pids := bufio.NewScanner(out), "", "", []int(nil)
	for len(pids) < dying && lines.Scan() {
		seen += lines.Text() + "\n"
		var pid int
		if n, _ := fmt.Sscanf(lines.Text(), "server %d %s", &pid, &dir); n == 2 {
			pids = append(pids, pid)
		}
	}
	if len(pids) < dying {
		_ = child.Wait()
		t.Fatalf("the child started no servers:\n%s", seen)
	}
	for _, pid := range pids {
		must(t, syscall.Kill(pid, 0)) // it runs
	}
	pids = append(pids, descendants(child.Process.Pid)...) // epmd, and what the servers started
	t.Logf("%d processes", len(pids)-dying)
	must(t, child.Process.Kill())
	_ = child.Wait()
	for _, pid := range pids {
		waitFor(t, fmt.Sprintf("server %d to end after its test was killed", pid), func() bool { return !running(pid) })
	}
	home := filepath.Dir(dir)
	if _, err := os.Stat(home); err != nil {
		t.Fatalf("the folder of the dead test: %v, want it there still", err)
	}
	next := exec.Command(os.Args[0], "-test.run=^TestDeathNext$", "-test.v")
	next.Env = append(os.Environ(), "ROLLCALL_SERVERS_CHILD=1")
	if out, err := next.CombinedOutput(); err != nil || !strings.Contains(string(out), "server ") {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(home); !os.IsNotExist(err) {
		t.Fatalf("the folder of the dead test: %v, want it gone", err)
	}
}

// dying is how many servers TestDeathChild starts.
const dying = 5

// TestDeathChild runs in a process of its own, and is killed there. Its servers
// are PostgreSQL, which changes the user, Redis, which does not, RabbitMQ, which
// changes its root and runs helpers, and RocketMQ, which is two.
func TestDeathChild(t *testing.T) {
	if os.Getenv("ROLLCALL_SERVERS_CHILD") == "" {
		return // TestDeath runs it
	}
	var all []*servers.Server
	for _, spec := range []*servers.Spec{servers.Postgres15, servers.Redis, servers.RabbitMQ4} {
		all = append(all, servers.Start(t, spec, servers.Config{}))
	}
	r := servers.StartRocketMQ(t, true, servers.Config{})
	for _, s := range append(all, r.Names, r.Proxy) {
		fmt.Printf("server %d %s\n", s.Pid(), s.Dir)
	}
	time.Sleep(2 * time.Minute)
}

// TestDeathNext is the next test process that starts a server.
func TestDeathNext(t *testing.T) {
	if os.Getenv("ROLLCALL_SERVERS_CHILD") == "" {
		return // TestDeath runs it
	}
	s := servers.Start(t, servers.Redis, servers.Config{})
	fmt.Printf("server %d %s\n", s.Pid(), s.Dir)
}

// descendants are the processes under one, theirs too.
func descendants(pid int) (all []int) {
	text, _ := exec.Command("pgrep", "-P", fmt.Sprint(pid)).Output() // none: an error, and no text
	for _, field := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(field); err == nil {
			all = append(append(all, n), descendants(n)...)
		}
	}
	return all
}

// running says that a process is there and no zombie: nobody collects the
// orphans of a killed test at once.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}
