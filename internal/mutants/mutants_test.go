// Package mutants breaks the project on purpose, one planted bug at a time,
// and demands that the conformance kits turn red in a case that is named.
package mutants

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/servers"
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
	onRocket = "broker/rocketmq"
	onRabbit = "broker/rabbitmq"
)

// TestMain lets four kits go at a time: most of their time they wait.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// all are the planted bugs that a kit must catch.
var all = slices.Concat(mutants, onceMutants, recordMutants, redisMutants, serverMutants, kafkaMutants, rabbitMutants, rocketMutants, deadMutants, bookMutants, auditMutants, protocolMutants)

// serverOf is the server of the tests of a package that is slow to start: one for all bugs.
var serverOf = map[string]*servers.Spec{onKafka: servers.Kafka, onRabbit: servers.RabbitMQ, onServer: servers.Postgres15}

// TestPlantedBugs needs the go command and compiles the bugs of a kit through an
// overlay: the tree itself is never changed. The kits go side by side, the bugs of one
// kit one after the other, on one server where it starts slowly.
func TestPlantedBugs(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, kit := range []string{onKafka, onRabbit, onRocket, onStore, onServer, onRedis, onSQLite, onBroker, onAudit, onModel, "."} {
		bugs := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return m.kit != kit })
		t.Run(strings.NewReplacer("/", "-", ".", "root").Replace(kit), func(t *testing.T) {
			t.Parallel()
			plantAll(t, root, kit, bugs)
		})
	}
}

// plantAll runs the cases of a kit with each of its bugs, and before with none: what is
// red then is red by the bug.
func plantAll(t *testing.T, root, kit string, bugs []mutant) {
	g, err := plant(root, bugs)
	if err != nil {
		t.Fatal(err)
	}
	together := filepath.Join(t.TempDir(), "kit.test")
	compile(t, root, g.files, "go", "test", "-c", "-o", together, "./"+kit)
	env := os.Environ()
	if kit == onRocket {
		env = append(env, servers.StartRocketMQ(t, true, servers.Config{}).Lent()...)
	}
	if spec := serverOf[kit]; spec != nil {
		env = append(env, servers.Lend(servers.Start(t, spec, servers.Config{})))
	}
	run := func(binary, cases, patience, limit string, planted int) (string, error) {
		test := exec.Command(binary, "-test.run", cases, "-test.timeout", limit)
		test.Dir = filepath.Join(root, kit)
		test.Env = append(env, "ROLLCALL_TEST_PATIENCE="+patience, fmt.Sprint(switchEnv, "=", planted))
		out, err := test.CombinedOutput()
		return string(out), err
	}
	if kit != onModel { // it must say what breaks, and its own tests explore all without a bug
		started, cases := time.Now(), patterns(bugs)
		if out, err := run(together, strings.Join(cases, "|"), "1m", "10m", 0); err != nil {
			t.Fatalf("the cases fail without a bug: %v\n%s", err, out)
		}
		t.Logf("%d cases without a bug took %.1fs", len(cases), time.Since(started).Seconds())
	}
	var table []string
	for i, m := range bugs {
		t.Run(m.name, func(t *testing.T) {
			started, binary := time.Now(), together
			if slices.Contains(g.alone, m) {
				binary = filepath.Join(t.TempDir(), "alone.test")
				compile(t, root, m.overlay(t, root), "go", "test", "-c", "-o", binary, "./"+kit)
			}
			out, err := run(binary, pattern(m), patience(m), limit(m), i+1)
			caught(t, m, out, err)
			table = append(table, fmt.Sprintf("%-34s %-14s %s (%.1fs)", m.name, m.kit, m.caught, time.Since(started).Seconds()))
		})
	}
	t.Logf("%d planted bugs caught, %d of the kit compiled alone:\n%s", len(table), len(g.alone), strings.Join(table, "\n"))
}

// patterns of all cases, each once.
func patterns(bugs []mutant) (out []string) {
	for _, m := range bugs {
		if p := pattern(m); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// patience is how long a case may wait for anything before it fails: many a bug is seen
// by that. What is not broken must come much sooner.
func patience(m mutant) string {
	if m.caught == "TestRecreated" { // franz-go looks for the topic every few seconds
		return "20s"
	}
	if m.kit == onRocket { // a queue brings again what was given back after some seconds
		return "25s"
	}
	return "4s"
}

// limit is how long a case may take with its bug.
func limit(m mutant) string {
	if m.kit == onRocket { // each starts a server
		return "60s"
	}
	return "30s"
}

// caught demands that the case has failed.
func caught(t *testing.T, m mutant, out string, err error) {
	t.Helper()
	if err == nil {
		t.Fatalf("case %s of %s passes with the bug planted", m.caught, m.kit)
	}
	if !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "panic: test timed out") {
		t.Fatalf("case %s ended without failing a test: %v\n%s", m.caught, err, out)
	}
	if _, breaks, _ := strings.Cut(m.caught, ": "); m.kit == onModel && !strings.Contains(out, "violation: "+breaks) {
		t.Fatalf("case %s fails in another way:\n%.2000s", m.caught, out)
	}
}

// overlay is the file with the bug in it.
func (m mutant) overlay(t *testing.T, root string) map[string]string {
	t.Helper()
	path := filepath.Join(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	planted, err := m.plant(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{path: planted}
}

// compile runs "go build" or "go test -c" with the files instead of what is there.
func compile(t *testing.T, root string, files map[string]string, command ...string) {
	t.Helper()
	dir, replace := t.TempDir(), make(map[string]string)
	for path, text := range files {
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
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
		t.Fatalf("a planted bug does not compile, so it shows nothing: %v\n%s", err, out)
	}
}

// pattern finds the case below the tests of its package, and no other test: that one
// could fail by the bug in its place.
func pattern(m mutant) string {
	whole := "^" + strings.ReplaceAll(m.caught, "/", "$/^") + "$"
	switch {
	case m.kit == onModel:
		scenario, _, _ := strings.Cut(m.caught, ": ")
		shape, name, _ := strings.Cut(scenario, "/")
		return "^TestScenarios$/^all$/^" + shape + "$/^" + strings.ReplaceAll(name, " ", "_") + "$"
	case strings.HasPrefix(m.caught, "Test"): // a test, by its whole name
		return whole
	case m.kit == onServer: // of the kit on the older server
		return "^TestKit$/^15$/" + whole
	case m.kit == onBroker: // of the kit, which runs once for every shape
		return "^TestBroker$//" + whole
	}
	return "^Test(Kit|Store|Once|Claims)$/" + whole
}

// TestPage compares docs/planted-bugs.md with the list. UPDATE=1 writes it.
func TestPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Planted bugs\n\nWritten by `UPDATE=1 go test -run TestPage ./internal/mutants`; each is planted, one at a time, and caught by the\n" +
		"named case of the kit by `go test ./internal/mutants`.\n\n| planted bug | in | caught by case | of the kit on |\n|---|---|---|---|\n")
	for _, m := range all {
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
