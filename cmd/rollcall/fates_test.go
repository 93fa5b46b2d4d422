package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// TestUnknownFate: reading stops, it is a finding, and the numbers add up.
func TestUnknownFate(t *testing.T) {
	spy := &senderSpy{}
	spy.on = func(_ int, m *rollcall.Message) rollcall.PublishResult {
		if m.Stamp.Sequence == 2 {
			return rollcall.PublishResult{Err: errors.New("no answer")}
		}
		return rollcall.PublishResult{Fate: rollcall.Stored}
	}
	const records = 40_000 // far more than wait at a time
	out, errs, err := sendFile(t, spy, "x.raw", strings.Repeat("a\n", records), sendOptions{format: formatRaw})
	var f *failure
	if !errors.As(err, &f) || f.code != exitFindings || !strings.Contains(err.Error(), "the fate of 1 messages is unknown") {
		t.Errorf("want a finding, got %v", err)
	}
	if !strings.Contains(f.next, "send the same file again") {
		t.Errorf("next: %s", f.next)
	}
	if !strings.Contains(out, " + refused 0 + unknown 1; bad 0") || !strings.Contains(errs, "line 2: unknown: ") {
		t.Errorf("%s%s", out, errs)
	}
	if n := len(spy.messages); n >= records {
		t.Errorf("it went on: %d messages", n)
	}
}

// TestMemoryIsGivenBack: many times what may be in hand goes through.
func TestMemoryIsGivenBack(t *testing.T) {
	spy := &senderSpy{}
	done := make(chan error, 1)
	go func() {
		_, _, err := sendFile(t, spy, "x.raw", strings.Repeat(strings.Repeat("a", 900)+"\n", 5000), sendOptions{format: formatRaw})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil || len(spy.messages) != 5000 {
			t.Errorf("%d messages, %v", len(spy.messages), err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("5 MB with 1 MiB in hand are not sent after 30 s")
	}
}

// TestPipe: what cannot be read twice has no life, and the user is told.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(path, []byte("a\nb\n"), 0o600) }()
	spy := &senderSpy{}
	out, errs, err := sendPath(t, spy, path, sendOptions{format: formatRaw})
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if err != nil || len(spy.messages) != 2 || strings.Contains(out, "life") || !strings.Contains(errs, "is no regular file") {
		t.Errorf("%v, %d messages\n%s%s", err, len(spy.messages), out, errs)
	}
}

func TestInitFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rollcall.yaml")
	if err := (initOptions{source: "embedded", store: "sqlite", name: "a"}).write(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestSettingsReachTheDrivers: what the file and the flags say is not dropped
// on the way.
func TestSettingsReachTheDrivers(t *testing.T) {
	const text = `
name: a
source: {embedded: {destination: q, partitions: 3, retention: 2h}}
store: {sqlite: {}}
effect: {table: {name: t, mode: insert, columns: {a: payload}}}
parallel: 2
`
	f, err := pipeline.Parse(filepath.Join(t.TempDir(), "rollcall.yaml"), []byte(text), pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBroker(t.Context(), newApp(nil, os.Stdout, os.Stderr), f, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if late := b.source.Capabilities().Late; late != 2*time.Hour {
		t.Errorf("retention %v", late)
	}
	extents, err := b.source.(rollcall.Measurer).Measure(t.Context())
	if err != nil || len(extents) != 3 {
		t.Errorf("%d partitions, %v", len(extents), err)
	}
	if n := (&runOptions{}).config(f).Parallel; n != 2 {
		t.Errorf("parallel %d", n)
	}
	if n := (&runOptions{parallel: 7}).config(f).Parallel; n != 7 {
		t.Errorf("--parallel 7: %d", n)
	}
}
