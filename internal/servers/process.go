//go:build linux

package servers

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// launcher starts all children. The kernel kills a child when the thread that
// started it ends, not when the process does: so one thread, which never ends,
// starts all.
var launcher = sync.OnceValue(func() chan<- func() {
	todo := make(chan func())
	go startAll(todo)
	return todo
})

func startAll(todo <-chan func()) {
	runtime.LockOSThread()
	for f := range todo {
		f()
	}
}

// Launch starts a command of a test, a worker say, so that it dies with us.
func Launch(cmd *exec.Cmd) error { return launch(cmd, "") }

// launch starts a command as the user, if we are root, so that it dies with us.
func launch(cmd *exec.Cmd, as string) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if as != "" && os.Getuid() == 0 {
		uid, gid, err := ids(as)
		if err != nil {
			return err
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	started := make(chan error)
	launcher() <- func() { started <- cmd.Start() }
	return <-started
}

// ids are the numbers of a user by name.
func ids(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("the server runs as user %s: %w: run scripts/servers", name, err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// own gives a folder to the user that the server runs as.
func own(dir, as string) error {
	if as == "" || os.Getuid() != 0 {
		return nil
	}
	uid, gid, err := ids(as)
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}

// process is one entry of /proc.
type process struct {
	pid, parent int
	state       string
	began       string // a number that comes again has another begin
}

// look reads one process; false when there is none.
func look(pid int) (process, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// pid (name, which may hold anything) state parent …
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	return process{pid, parent, fields[0], fields[19]}, err == nil
}

// freeze stops a child of ours and all that descends from it, and returns them,
// parents first. What is stopped forks no more, so it ends; and a stopped
// parent collects no child, so no number in the list can become another's.
func freeze(child *os.Process) ([]process, error) {
	if err := child.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	first, _ := look(child.Pid)
	family := []process{first}
	err := wait(patience, fmt.Sprintf("process %d and all that descend from it to stop", child.Pid), func() bool {
		running := slices.ContainsFunc(family, func(p process) bool {
			now, there := look(p.pid)
			return there && !strings.Contains("TtZX", now.state)
		})
		more := descendants(family)
		for _, p := range more {
			_ = syscall.Kill(p.pid, syscall.SIGSTOP) // it may have ended just now
		}
		family = append(family, more...)
		return !running && len(more) == 0
	})
	return family, err
}

// descendants are the children of the family that are not in it yet.
func descendants(family []process) (more []process) {
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, e := range entries {
		pid, err := strconv.Atoi(filepath.Base(e))
		if err != nil {
			continue
		}
		if p, there := look(pid); there && p.state != "Z" && related(family, p) {
			more = append(more, p)
		}
	}
	return more
}

// related says that the parent is in the family and the process is not yet.
func related(family []process, p process) bool {
	return slices.ContainsFunc(family, func(q process) bool { return q.pid == p.parent }) &&
		!slices.ContainsFunc(family, func(q process) bool { return q.pid == p.pid })
}

// gone says that the process ended, collected or not.
func gone(p process) bool {
	now, there := look(p.pid)
	return !there || now.state == "Z" || now.state == "X" || now.began != p.began
}

// wait polls until it is true; the deadline's error says what it waited for.
func wait(limit time.Duration, what string, is func() bool) error {
	for deadline := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", limit, what)
		}
	}
	return nil
}
