package crashtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Guarded is a resource beside the claims that its lock lies in.
type Guarded struct {
	Open OpenClaims
	// Write changes the row of the place in one transaction that compares the token:
	// false, and nothing is changed, when the row has seen a higher one.
	Write func(ctx context.Context, url, place string, token rollcall.Token) (bool, error)
}

// lockJob is what a process that holds a lock is told.
type lockJob struct{ URL, Place string }

const (
	lockEnv   = "ROLLCALL_CRASHTEST_LOCK"
	lockLease = 300 * time.Millisecond
)

var lockKey = rollcall.LockKey{Scope: group, Name: "report"}

// LockChild runs the job of the process of RunLock and reports that it was one. A
// driver's TestMain calls it first.
func LockChild(g Guarded) bool {
	text := os.Getenv(lockEnv)
	if text == "" {
		return false
	}
	var j lockJob
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = lockWork(g, j)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// lockWork takes the lock, sees that it has it, is stopped, and writes.
func lockWork(g Guarded, j lockJob) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	claims, closing, err := g.Open(ctx, j.URL, j.Place)
	if err != nil {
		return err
	}
	held, err := rollcall.Lock(ctx, claims, lockKey, rollcall.LockConfig{Lease: lockLease})
	if err != nil {
		return err
	}
	fmt.Println("token", uint64(held.Token()))
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	wrote, err := g.Write(ctx, j.URL, j.Place, held.Token())
	if err != nil {
		return err
	}
	select {
	case <-held.Done():
	case <-ctx.Done():
		return fmt.Errorf("waited %v to hear that the lock is lost", patience)
	}
	unlock := held.Unlock(ctx)
	fmt.Println("wrote", wrote, "fenced", errors.Is(unlock, rollcall.ErrFenced))
	return closing()
}

// RunLock stops a holder for longer than its lease. Another takes the lock and
// writes; the first, when it goes on, still means to hold it: its token is
// refused by the row, and by nothing else.
func RunLock(t *testing.T, g Guarded, url, place string) {
	in, out, cmd := lockHolder(t, lockJob{url, place})
	var stale rollcall.Token
	if _, err := fmt.Fscanf(out, "token %d\n", &stale); err != nil {
		t.Fatal(err)
	}
	wantWrite(t, g, url, place, stale, true)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	claims, closing, err := g.Open(t.Context(), url, place)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closing() }()
	held, err := rollcall.Lock(t.Context(), claims, lockKey, rollcall.LockConfig{Lease: time.Minute, Wait: patience})
	if err != nil {
		t.Fatal(err)
	}
	wantWrite(t, g, url, place, held.Token(), true)
	if _, err := io.WriteString(in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	line, err := out.ReadString('\n')
	if err != nil || line != "wrote false fenced true\n" {
		t.Fatalf("the holder that was stopped says %q %v, want that the row refused it and that the lock was lost", line, err)
	}
	wantWrite(t, g, url, place, held.Token(), true)
	if err := held.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("token %d slept past its lease, %d took over: the row refused the former", stale, held.Token())
}

func wantWrite(t *testing.T, g Guarded, url, place string, token rollcall.Token, want bool) {
	t.Helper()
	if wrote, err := g.Write(t.Context(), url, place, token); err != nil || wrote != want {
		t.Fatalf("token %d: wrote %v %v, want %v", token, wrote, err, want)
	}
}

// lockHolder starts the process, and ends it with the test.
func lockHolder(t *testing.T, j lockJob) (io.Writer, *bufio.Reader, *exec.Cmd) {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
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
	late := time.AfterFunc(patience/2, func() { _ = cmd.Process.Kill() }) // ends every wait above
	t.Cleanup(func() {
		late.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return in, bufio.NewReader(out), cmd
}
