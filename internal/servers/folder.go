//go:build linux

package servers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// prefix of the folders of all test processes.
const prefix = "rollcall-servers-"

// held are the locks of this process; they end with it, however it ends.
var held struct {
	sync.Mutex
	locks []any
}

func hold(lock any) {
	held.Lock()
	defer held.Unlock()
	held.locks = append(held.locks, lock)
}

// home is the folder of this process. It is locked as long as the process
// lives; what is not locked is removed.
var home = sync.OnceValues(func() (string, error) {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		if f, err := lock(dir); err == nil {
			_ = os.RemoveAll(dir) // a process of it may be ending still: the next one tries again
			_ = f.Close()
		}
	}
	// Named when locked: before, another process would take it for a dead one's.
	dir, err := os.MkdirTemp("", "rollcall-new-")
	if err != nil {
		return "", err
	}
	f, err := lock(dir)
	if err != nil {
		return "", err
	}
	hold(f)
	named := filepath.Join(filepath.Dir(dir), prefix+strings.TrimPrefix(filepath.Base(dir), "rollcall-new-"))
	return named, errors.Join(os.Rename(dir, named), os.Chmod(named, 0o711)) // a server's user must be able to pass
})

// lock takes the lock of a file or folder, or fails at once.
func lock(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// FreePort is a port of 127.0.0.1 that nobody uses, and no other test process
// gets as long as this one lives.
func FreePort(t testing.TB) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// freePort chooses below the ports that the kernel gives to outgoing
// connections: a server that was killed must find its port free, and a client
// that dials a dead one must not connect to itself.
func freePort() (string, error) {
	const from, to = 20000, 32768
	for range 1000 {
		port := fmt.Sprint(from + rand.IntN(to-from))
		if reserve(port) == nil {
			return port, nil
		}
	}
	return "", fmt.Errorf("no port of 127.0.0.1 between %d and %d is free", from, to)
}

// reserve keeps a port, if nobody uses it, for this process.
func reserve(port string) error {
	reserved, err := net.Listen("unix", "@rollcall-servers-port-"+port) // abstract: no file is left
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return errors.Join(err, reserved.Close())
	}
	hold(reserved)
	return l.Close()
}

// fill gives a server's folder its data folder, from the template.
func (s *Spec) fill(data string) error {
	if s.Template == nil {
		return nil
	}
	template, err := s.template()
	if err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", "--reflink=auto", template, data).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the template: %w: %s", err, out)
	}
	return nil
}

// template is a data folder that is used by nobody. One process makes it, in a
// place aside, and names it when it is whole.
func (s *Spec) template() (string, error) {
	version, err := exec.Command(s.Program, "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w: %s: run scripts/servers", s.Program, err, version)
	}
	dir := filepath.Join(cache(), "templates", fmt.Sprintf("%s-%.8x", s.Name,
		sha256.Sum256([]byte(strings.Join(s.Template("DIR"), " ")+string(version)))))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(dir+".lock", nil, 0o600); err != nil {
		return "", err
	}
	var f *os.File
	if err := wait(patience, "another test process to make "+dir, func() bool {
		f, err = lock(dir + ".lock")
		return err == nil
	}); err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	return dir, s.makeTemplate(dir)
}

func (s *Spec) makeTemplate(dir string) error {
	aside := dir + ".new"
	if err := errors.Join(os.RemoveAll(aside), os.Mkdir(aside, 0o700), own(aside, s.User)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience-10*time.Second)
	defer cancel()
	line := s.Template(aside)
	var out strings.Builder
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = aside, environment(aside), &out, &out
	err := launch(cmd, s.User)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%v: %w: %s", line, err, out.String())
	}
	return os.Rename(aside, dir)
}

// environment of a child: nothing of the tester's own settings.
func environment(home string) []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=" + home}
}
