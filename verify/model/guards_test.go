package model

import (
	"strings"
	"testing"
)

// guard is a rule of the world, or of the worker's life around the protocol,
// that is taken away. What it breaks is found in a scenario. Rules of the
// protocol itself are taken away in the code: internal/mutants.
type guard struct {
	name     string // the case of protocol-cases, where it is one
	without  string
	scenario string
	breaks   string // how the violation begins
}

var guards = []guard{
	{"create-row", "rows created first", "S/copies apart", "doubled"},
	{"sleeper", "sweep raises tokens", "S/sleeper", "doubled"},
	{"sleeper", "sweep raises tokens", "XQ/sleeper", ""}, // whoever took over has raised the partition's token
	{"sleeper", "token compared", "S/sleeper", "doubled"},
	{"sleeper", "token compared", "XQ/sleeper", "doubled"},
	{"own-old-batch", "token of the fetch", "XQ/sleeper", "doubled"},
	{"sweep-dead", "no sweep of held keys", "X/swept while dead", "doubled"},
	{"late-acquire", "fenced and still ours: acquire again", "X/late acquire", "stuck"},
	{"claim-dead", "claim only from waiting", "X/dead by another worker", "order"},
	{"redrive-any", "redrive only from dead or parked", "X/redriven twice", "doubled"},
	{"failed-run", "failed run compares", "S/redriven twice", "doubled"},
	{"attempt-due", "an attempt is not due", "X/stopped", "doubled"},
	{"doubt-guessed", "doubt is not taken for done", "S/two messages of one key", "lost"},
	{"doubt-guessed", "doubt is not taken for failed", "S/two messages of one key", "doubled"},
	{"doubt-overtaken", "the partition stands still", "X/one at a time", "order"},
	{"dead-shortcut", "dead through the steps", "S/slow, not dead", "doubled"},
	{"no-deadline", "deadlines at the server", "X/stopped", "stuck"},
	{"settle-first", "settle last", "S/two messages of one key", "lost"},
	{"settle-first", "settle last", "XQ/two messages of one key", "lost"},
	{"settle-first", "settle last", "X/two messages of one key", ""}, // positions come from the store: nothing is lost
	{"parked-twice", "row unique by stamp", "X/unknown number", "heap of rows"},
	{"early-waits", "early holds nobody back", "S/too early, apart", "stuck"},
	{"key-held", "discard frees the key", "S/key held", ""}, // the operator gave the first up; the second waits for a decision
	{"all-suspect", "clean release", "X/clean rebalance", "crawl"},
	{"part-of-a-batch", "savepoint", "X/one fails", "doubled"},
	{"zombie", "token compared", "X/two messages of one key", ""}, // the positions' roll is locked and tested again: it decides alone
}

// TestGuards: each rule that is taken away yields its counterexample.
func TestGuards(t *testing.T) {
	for _, g := range guards {
		t.Run(g.name+"/"+g.without+" "+g.scenario, func(t *testing.T) {
			s := find(t, g.scenario)
			s.Without = g.without
			r := Explore(s, 3_000_000)
			if g.breaks == "" && r.Violation != "" || !strings.HasPrefix(r.Violation, g.breaks) {
				t.Fatalf("without %q: %q, want %q\n%s", g.without, r.Violation, g.breaks, r.Tell())
			}
			t.Logf("%q after %d states:\n%s", r.Violation, r.States, strings.Join(r.Trace, "\n"))
		})
	}
}

func find(t *testing.T, name string) *Scenario {
	t.Helper()
	for _, s := range Scenarios() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no scenario %q", name)
	return nil
}
