// Package programtest runs a program of this module in a test: builds it, runs
// it, and kills it in the middle.
package programtest

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long a program may take for anything.
const patience = 60 * time.Second

// Build compiles the program of the folder that the test runs in.
func Build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// Run runs the program to its end and returns what it printed.
func Run(t *testing.T, binary string, args ...string) string {
	t.Helper()
	out, err := exec.Command(binary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// Kill starts the program, waits for a line that begins with after, and then as
// long as until is not true, and sends it SIGKILL. It is an error if the
// program ended before: then nothing was killed.
func Kill(t *testing.T, after string, until func() bool, binary string, args ...string) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(out)
	reached := false
	for !reached && lines.Scan() {
		reached = strings.HasPrefix(lines.Text(), after)
	}
	if !reached {
		t.Fatalf("waited %v for a line %q of process %d", patience, after, cmd.Process.Pid)
	}
	for deadline := time.Now().Add(patience); !until(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for process %d to be in the middle of its work", patience, cmd.Process.Pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatalf("process %d ended before it was killed: %v", cmd.Process.Pid, err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("process %d was not killed: %v", cmd.Process.Pid, err)
	}
	t.Log(fmt.Sprintf("process %d killed after %q", cmd.Process.Pid, after))
}
