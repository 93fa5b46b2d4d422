// Package mutants breaks the project on purpose, one planted bug at a time,
// and demands that the conformance kits turn red in a case that is named.
package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mutant is one planted bug: in a file, one text is replaced by another; the
// kit of a package must then fail in the case.
type mutant struct {
	name     string
	file     string
	old, new string
	kit      string // package whose test runs the kit
	caught   string // the case that must fail, of protocol-cases where it is one
}

const (
	onStore  = "store/memory"
	onSQLite = "store/sqlite"
	onRedis  = "store/redis"
	onServer = "store/postgres"
	onBroker = "broker/memory"
	onKafka  = "broker/kafka"
)

// TestPlantedBugs needs the go command and compiles each mutant through an
// overlay: the tree itself is never changed.
func TestPlantedBugs(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var table []string
	for _, m := range slices.Concat(mutants, onceMutants, recordMutants, redisMutants, serverMutants, kafkaMutants, deadMutants, bookMutants, protocolMutants) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			took := run(t, root, m)
			mu.Lock()
			table = append(table, fmt.Sprintf("%-34s %-14s %s (%.1fs)", m.name, m.kit, m.caught, took.Seconds()))
			mu.Unlock()
		})
	}
	t.Cleanup(func() { t.Logf("%d planted bugs caught:\n%s", len(table), strings.Join(table, "\n")) })
}

func run(t *testing.T, root string, m mutant) time.Duration {
	t.Helper()
	started := time.Now()
	binary := filepath.Join(t.TempDir(), "kit.test")
	build(t, root, m, "go", "test", "-c", "-o", binary, "./"+m.kit)
	test := exec.Command(binary, "-test.run", pattern(m), "-test.timeout", "100s")
	test.Dir = filepath.Join(root, m.kit)
	test.Env = append(os.Environ(), "ROLLCALL_TEST_PATIENCE=4s")
	out, err := test.CombinedOutput()
	if err == nil {
		t.Fatalf("case %s of %s passes with the bug planted", m.caught, m.kit)
	}
	if !strings.Contains(string(out), "--- FAIL") && !strings.Contains(string(out), "panic: test timed out") {
		t.Fatalf("case %s ended without failing a test: %v\n%s", m.caught, err, out)
	}
	if _, breaks, _ := strings.Cut(m.caught, ": "); m.kit == onModel && !strings.Contains(string(out), "violation: "+breaks) {
		t.Fatalf("case %s fails in another way:\n%.2000s", m.caught, out)
	}
	return time.Since(started)
}

// build compiles with the planted bug, through an overlay.
func build(t *testing.T, root string, m mutant, command ...string) {
	t.Helper()
	path := filepath.Join(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		t.Fatalf("%s has the text %d times, want once: the planted bug has to follow the code\n%s", m.file, n, m.old)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	verbs := 2 // "go build", or "go test -c"
	cmd := exec.Command(command[0], slices.Concat(command[1:verbs], []string{"-overlay", file}, command[verbs:])...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the planted bug does not compile, so it shows nothing: %v\n%s", err, out)
	}
}

// pattern finds the case below the tests of its package: the kit of brokers
// runs once for every shape.
func pattern(m mutant) string {
	switch m.kit {
	case onModel:
		scenario, _, _ := strings.Cut(m.caught, ": ")
		shape, name, _ := strings.Cut(scenario, "/")
		return "^TestScenarios$/^all$/^" + shape + "$/^" + strings.ReplaceAll(name, " ", "_") + "$"
	case onRedis, onKafka, ".": // most of their tests start servers: run no other
		return "^" + strings.ReplaceAll(m.caught, "/", "$/^") + "$"
	case onServer: // of the kit on the older server, or a test by its whole name
		if strings.HasPrefix(m.caught, "Test") {
			return "^" + strings.ReplaceAll(m.caught, "/", "$/^") + "$"
		}
		return "^TestKit$/^15$/^" + m.caught + "$"
	case onBroker:
		return "//^" + m.caught + "$"
	}
	return "/^" + m.caught + "$"
}

// TestPage compares docs/planted-bugs.md with the list. UPDATE=1 writes it.
func TestPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Planted bugs\n\nWritten by `UPDATE=1 go test -run TestPage ./internal/mutants`; each is planted, one at a time, and caught by the\n" +
		"named case of the kit by `go test ./internal/mutants`.\n\n| planted bug | in | caught by case | of the kit on |\n|---|---|---|---|\n")
	for _, m := range slices.Concat(mutants, onceMutants, recordMutants, redisMutants, serverMutants, kafkaMutants, deadMutants, bookMutants, protocolMutants) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", m.name, m.file, m.caught, m.kit)
	}
	path := "../../docs/planted-bugs.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != b.String() {
		t.Fatalf("docs/planted-bugs.md is not what the list says (%v): UPDATE=1 go test -run TestPage ./internal/mutants", err)
	}
}
