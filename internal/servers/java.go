//go:build linux

package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Java runs a program of one Java source file, which sees Kafka's own clients
// besides Java, and returns what it wrote to its standard output. It fails the
// test when the program ends with another code than 0 or does not end in a
// minute. The source is the text of a file with one class that has a main.
func Java(t testing.TB, source string, args ...string) string {
	t.Helper()
	out, err := runJava(time.Minute, source, args...)
	if err != nil {
		t.Fatalf("a Java program: %v", err)
	}
	return out
}

// runJava is Java with a limit of time; the error has what was written to the
// standard error.
func runJava(limit time.Duration, source string, args ...string) (string, error) {
	base, err := home()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(base, "java-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "Main.java")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		return "", err
	}
	if _, err := os.Stat(Kafka.Program); err != nil {
		return "", fmt.Errorf("%w: run scripts/servers", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, Kafka.Program, append([]string{file}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environment(dir), &stdout, &stderr
	err = launch(cmd, "")
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end in %v", limit)
	}
	if err != nil {
		said := stderr.String()
		err = fmt.Errorf("%w\n%s\n%s", err, stdout.String(), said[max(0, len(said)-3000):])
	}
	return stdout.String(), err
}
