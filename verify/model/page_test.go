package model

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const (
	pageHead = `# The model

The decisions of the engine are pure functions (internal/protocol): what comes next, what becomes of each message.
verify/model runs the very same functions on a model of broker, store and two workers, through every interleaving and
every choice of faults: row locks and READ COMMITTED, transactions that outlive their client, replies to COMMIT that are
lost, workers that are stopped and wake, partitions that move, keys that are swept, operators that redrive.

    go test -v -run TestScenarios ./verify/model     # every scenario, with the number of states
    go test -v -run TestGuards ./verify/model        # each counterexample, step by step
    go test -v ./internal/mutants                    # the same for the decisions themselves (planted-bugs.md)
    UPDATE=1 go test -run 'TestMatrix|TestPage' ./verify/model   # writes this page

Shapes: X exclusive and replayable (Kafka, the embedded log), XQ exclusive without positions (single active consumer), S
shared (a queue with competing consumers).

## What can come of strategies and patterns

Each fault at most twice, every order of steps. "-" is once in every end, l lost, d doubled. A run of the demo or of the
crash campaign that shows anything else is a failure.

`
	pageGuards = `
## What breaks without a rule

Rules of the world around the protocol, taken away one at a time. "nothing" is a rule that another one covers in that
shape: the explorer has looked.

| case | without | scenario | breaks |
|---|---|---|---|
`
)

// TestPage compares docs/model.md. UPDATE=1 writes it.
func TestPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(pageHead + table(Load()) + pageGuards)
	for _, g := range guards {
		breaks := g.breaks
		if breaks == "" {
			breaks = "nothing"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", g.name, g.without, g.scenario, breaks)
	}
	b.WriteString("\n## The scenarios\n\n")
	for _, s := range Scenarios() {
		fmt.Fprintf(&b, "- %s\n", s.Name)
	}
	path := "../../docs/model.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Fatalf("docs/model.md is not what the model says (%v): UPDATE=1 go test -run TestPage ./verify/model", err)
	}
}
