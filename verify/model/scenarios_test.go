package model

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// TestScenarios: nothing is lost, doubled, out of order, stuck or deadlocked in
// any interleaving, and what the scenarios are about is reached.
func TestScenarios(t *testing.T) {
	var mu sync.Mutex
	states, seen, ran := 0, uint32(0), 0
	started := time.Now()
	t.Run("all", func(t *testing.T) {
		for _, s := range Scenarios() {
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				r := Explore(s, 1_500_000)
				mu.Lock()
				defer mu.Unlock()
				ran++
				states += r.States
				seen |= r.Witnesses
				t.Logf("%d states, %d ends, %v", r.States, r.Ends, r.Took)
				if r.Violation != "" {
					t.Error(r.Tell())
				}
			})
		}
	})
	t.Logf("%d states in %v", states, time.Since(started))
	if ran < len(Scenarios()) {
		return // some were left out by name
	}
	var missing []string
	for i, name := range witnessNames {
		if seen&(1<<i) == 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		t.Errorf("never reached, so nothing is shown about it: %s", strings.Join(missing, "; "))
	}
	if states < 1_000_000 {
		t.Errorf("%d states: a model of this size shows little", states)
	}
}
