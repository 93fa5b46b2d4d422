package protocol

import (
	"fmt"
	"testing"
)

// toEffects answers as a store does until handlers are to run.
func toEffects(t *testing.T, w Work, e Event) (Work, Action) {
	t.Helper()
	for range 20 {
		var a Action
		w, a = w.Next(e)
		e = Event{}
		switch a.Do {
		case Effects:
			if len(a.Items) > 0 {
				return w, a
			}
		case Done:
			t.Fatal("done before the effects")
		}
	}
	t.Fatal("no handler is run")
	return w, Action{}
}

// failing are the outcomes of a run in which these places failed.
func failing(n int, places ...int) Event {
	e := Event{Broken: true, Outcomes: make([]Outcome, n)}
	for _, at := range places {
		e.Outcomes[at] = Outcome{Kind: Fails, Cause: "no"}
	}
	return e
}

// TestApart: a few that fail are taken apart once; when others fail then, or too
// many do at once, or it is not known which, there are savepoints.
func TestApart(t *testing.T) {
	const n, chunk = 100, 25
	begin := func() (Work, Action) {
		w := Work{Kind: OfBatch, Config: Config{Attempts: 5, Chunk: chunk}, CoveredRoll: -1}
		for i := range n {
			w.Items = append(w.Items, Item{Index: i, Original: -1, Key: fmt.Sprint("k", i%50)})
		}
		w, a := toEffects(t, w, Event{})
		if len(a.Items) != n || a.Savepoint {
			t.Fatalf("%d handlers, savepoint %v, want all without", len(a.Items), a.Savepoint)
		}
		return w, a
	}
	w, _ := begin()
	w, a := toEffects(t, w, failing(n, 3))
	if len(a.Items) != n-2 || a.Savepoint { // without it and the later one of its key
		t.Fatalf("%d handlers, savepoint %v, want %d without", len(a.Items), a.Savepoint, n-2)
	}
	if _, a = toEffects(t, w, failing(n-2, 7)); len(a.Items) != chunk || !a.Savepoint {
		t.Errorf("after another failure %d handlers, savepoint %v, want a chunk with one", len(a.Items), a.Savepoint)
	}
	many := make([]int, chunk+1)
	for i := range many {
		many[i] = i
	}
	for name, e := range map[string]Event{"many": failing(n, many...), "unknown": failing(n)} {
		w, _ := begin()
		if _, a := toEffects(t, w, e); len(a.Items) != chunk || !a.Savepoint {
			t.Errorf("%s: %d handlers, savepoint %v, want a chunk with one", name, len(a.Items), a.Savepoint)
		}
	}
}
