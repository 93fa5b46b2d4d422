package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// TestDemoCalm: without faults every pattern passes, so what they do under
// faults is the faults' doing.
func TestDemoCalm(t *testing.T) {
	a := newApp(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
	d := &demo{app: a, plan: fault.NewPlan(1, fault.Fewest).Calm(), folder: t.TempDir(), calm: true}
	runs, err := d.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != 1+len(specimen.Patterns()) {
		t.Fatalf("%d runs", len(runs))
	}
	for i := range runs {
		if v := check.Judge(&runs[i]); !v.Safe() || v.Sent != fault.Fewest || v.Effects != fault.Fewest || v.Killed != 0 {
			t.Errorf("%s without faults: %+v", v.Name, v)
		}
	}
}

// TestDemo is the whole run, as a user starts it, with everything left behind.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	out := ran(t, dir, "demo", "--seed", "1", "--json", "--keep", "kept", "--html", "page.html")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 10 {
		t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	for _, line := range lines[:9] {
		var p demoPattern
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		if p.Type != "pattern" || p.Kills < leastKills || p.Sent != 300 || p.Dead != 1 || p.Safe != (p.Name == "rollcall") || len(p.Orders) != p.Lost+p.Doubled {
			t.Errorf("%s", line)
		}
	}
	var s demoSummary
	if err := json.Unmarshal([]byte(lines[9]), &s); err != nil {
		t.Fatal(err)
	}
	if s.Type != "summary" || !s.Safe || !s.Proved || len(s.Objections) > 0 || s.Seconds > 60 {
		t.Errorf("%s", lines[9])
	}
	if err := withDB(filepath.Join(dir, "kept", "effect-then-ack.db"), func(db *sql.DB) error {
		if n := number(t, db, `SELECT count(*) - count(DISTINCT id) FROM ledger`); n == 0 {
			t.Error("the ledger that is left behind shows no double")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "page.html"))
	if err != nil || !bytes.Contains(text, []byte("<svg")) {
		t.Errorf("the page: %v", err)
	}
}

// TestObjections: a run that proves nothing says so.
func TestObjections(t *testing.T) {
	rollcall := func(lost, doubled, kills int) check.Verdict {
		return check.Verdict{Name: demoRollcall, Lost: lost, Doubled: doubled, Killed: kills, Rejected: 1}
	}
	bitten := check.Verdict{Name: "cache-check", Doubled: 1, Killed: 3, Findings: []check.Finding{{What: check.Doubled, Cause: "a kill"}}}
	outside := bitten
	outside.Lost = 1
	aside := rollcall(0, 0, 3)
	aside.Rejected = 4
	sent := bitten
	sent.Findings = []check.Finding{{What: check.Doubled, Cause: "sent twice", Sent: true}}
	for name, c := range map[string]struct {
		verdict  check.Verdict
		unbitten int
		want     string
		broken   bool
	}{
		"fine":                      {verdict: rollcall(0, 0, 3)},
		"rollcall lost":             {verdict: rollcall(1, 0, 3), want: "rollcall lost 1", broken: true},
		"rollcall doubled":          {verdict: rollcall(0, 2, 3), want: "rollcall doubled 2", broken: true},
		"rollcall gave up more":     {verdict: aside, want: "rollcall set 4 orders aside", broken: true},
		"too few kills":             {verdict: rollcall(0, 0, 2), want: "rollcall was killed 2 times"},
		"a fault that did not bite": {verdict: rollcall(0, 0, 3), unbitten: 1, want: "never came to the step of 1 faults"},
		"a specimen as it must be":  {verdict: bitten},
		"a specimen that passed":    {verdict: check.Verdict{Name: "cache-check", Killed: 3}, want: "had to double"},
		"only what was sent twice":  {verdict: sent, want: "had to double an order that was sent once"},
		"a loser that passed":       {verdict: check.Verdict{Name: "setnx-first", Killed: 3}, want: "had to lose"},
		"outside the model":         {verdict: outside, want: "cache-check lost 1"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := objections([]check.Verdict{c.verdict}, map[string]int{c.verdict.Name: c.unbitten})
			if (len(wrong) > 0) != (c.want != "") {
				t.Fatalf("%+v", wrong)
			}
			if c.want == "" {
				return
			}
			if !strings.Contains(wrong[0].text, c.want) || wrong[0].broken != c.broken {
				t.Errorf("%+v", wrong)
			}
			err := verdictOf(wrong)
			a := newApp(nil, &bytes.Buffer{}, &bytes.Buffer{})
			if code := a.finish(err); code != exitFindings {
				t.Errorf("exit code %d", code)
			}
			if strings.Contains(err.Error(), "proved nothing") == c.broken {
				t.Errorf("%v", err)
			}
		})
	}
}

// childrenOf are the processes that work in a folder: its name is in their
// arguments.
func childrenOf(folder string) (n int) {
	lists, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, list := range lists {
		text, err := os.ReadFile(list) // a process that is gone has none
		if err == nil && bytes.Contains(text, []byte(demoChildVerb)) && bytes.Contains(text, []byte(folder)) {
			n++
		}
	}
	return n
}

// TestDemoInterrupted: interrupted or killed in the middle it leaves nothing
// running; interrupted it cleans up, too.
func TestDemoInterrupted(t *testing.T) {
	for name, c := range map[string]struct {
		signal syscall.Signal
		code   int
	}{"Ctrl-C": {syscall.SIGINT, exitInterrupted}, "TERM": {syscall.SIGTERM, exitInterrupted}, "killed": {syscall.SIGKILL, -1}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			run := start(t, dir, "demo", "--seed", "1")
			eventually(t, "workers are running", func() bool { return childrenOf(dir) >= 2 })
			run.signal(c.signal)
			if code := run.wait(); code != c.code {
				t.Errorf("exit code %d, want %d\n%s", code, c.code, run.log.String())
			}
			eventually(t, "no child is left", func() bool { return childrenOf(dir) == 0 })
			if entries, err := os.ReadDir(dir); c.code == exitInterrupted && (err != nil || len(entries) > 0) {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// TestDemoTwiceAtOnce: two runs do not meet; of two with one --keep, one wins.
func TestDemoTwiceAtOnce(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var runs []*child
	for _, args := range [][]string{{}, {"--keep", "kept"}, {"--keep", "kept"}} {
		runs = append(runs, start(t, dir, append([]string{"demo", "--seed", "2", "--messages", "120"}, args...)...))
	}
	codes := make(map[int]int)
	var wg sync.WaitGroup
	for _, r := range runs {
		wg.Go(func() { <-r.done })
	}
	wg.Wait()
	for _, r := range runs {
		codes[r.wait()]++
	}
	if codes[exitFine] != 2 || codes[exitUsage] != 1 {
		t.Errorf("exit codes: %v\n%s\n%s\n%s", codes, runs[0].log.String(), runs[1].log.String(), runs[2].log.String())
	}
}

// TestDemoDisk: a disk that is full or cannot be written is told at once.
func TestDemoDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a small tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("TMPDIR", dir)
	refused := func(want string, args ...string) {
		t.Helper()
		r := start(t, t.TempDir(), append([]string{"demo"}, args...)...)
		if code := r.wait(); code != exitServer || !strings.Contains(r.log.String(), want) || !strings.Contains(r.log.String(), "next: ") {
			t.Errorf("exit code %d, %s", code, r.log.String())
		}
	}
	refused("the disk is full")
	refused("the disk is full", "--keep", filepath.Join(dir, "kept"))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	refused("read-only file system")
	refused("read-only file system", "--keep", filepath.Join(dir, "other"))
	refused("read-only file system", "--html", filepath.Join(dir, "page.html"))
}

// TestDemoDiskFills: a disk that becomes full in the middle is what is told, and
// is no finding about anybody.
func TestDemoDiskFills(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=70m"); err != nil {
		t.Fatalf("mount a small tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("TMPDIR", dir)
	run := start(t, dir, "demo", "--seed", "1")
	eventually(t, "workers are running", func() bool { return childrenOf(dir) >= 2 })
	ballast := bytes.Repeat([]byte("x"), 80<<20)
	if err := os.WriteFile(filepath.Join(dir, "ballast"), ballast, 0o600); err == nil {
		t.Fatal("the disk is not full: the test shows nothing")
	}
	if code := run.wait(); code != exitServer || !strings.Contains(run.log.String(), "the disk is full") {
		t.Errorf("exit code %d\n%s", code, run.log.String())
	}
	eventually(t, "no child is left", func() bool { return childrenOf(dir) == 0 })
}

// TestDiskFullIsTold: also when those that died of it have left room again.
func TestDiskFullIsTold(t *testing.T) {
	for text, full := range map[string]bool{"process 7: exit status 3: order-0071: commit: database or disk is full (13)": true,
		"write x.jsonl: no space left on device": true, "process 7: exit status 1": false} {
		err := diskFull(t.TempDir(), errors.New(text))
		var f *failure
		if told := errors.As(err, &f) && f.next == nextRoom && strings.Contains(err.Error(), "the disk is full: "+text); told != full {
			t.Errorf("%q is told as %v", text, err)
		}
	}
}
