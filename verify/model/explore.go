package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// Result is what an exploration found.
type Result struct {
	States    int
	Took      time.Duration
	Violation string   // empty: none
	Trace     []string // how it came to the violation
	Witnesses uint32   // what was seen on the way
	Ends      int      // states in which nothing more can happen
	Found     []string // all violations, where all were looked for
}

// Tell is the counterexample, one line a step.
func (r *Result) Tell() string {
	var b strings.Builder
	fmt.Fprintf(&b, "violation: %s, after %d steps (%d states)\n", r.Violation, len(r.Trace), r.States)
	for i, line := range r.Trace {
		fmt.Fprintf(&b, "%3d %s\n", i+1, line)
	}
	return b.String()
}

// Explore visits every state that a scenario can reach, and stops at the first
// violation. most bounds the states (0: no bound); reaching it is a violation.
func Explore(s *Scenario, most int) *Result {
	return newExplorer(s, most).run()
}

func newExplorer(s *Scenario, most int) *explorer {
	return &explorer{scenario: s, seen: make(map[hash]struct{}), most: most, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

func (x *explorer) run() *Result {
	started := time.Now()
	x.visit(newWorld(x.scenario))
	x.result.States = len(x.seen)
	x.result.Took = time.Since(started)
	return &x.result
}

type hash [2]uint64

type explorer struct {
	scenario *Scenario
	all      bool // do not stop at the first violation
	seen     map[hash]struct{}
	seeds    [2]maphash.Seed
	most     int
	buffer   []byte
	path     []string
	result   Result
}

// visit is depth first: the path is the counterexample.
func (x *explorer) visit(w *world) (stop bool) {
	x.buffer = w.encode(x.buffer[:0])
	at := hash{maphash.Bytes(x.seeds[0], x.buffer), maphash.Bytes(x.seeds[1], x.buffer)}
	if _, seen := x.seen[at]; seen {
		return false
	}
	x.seen[at] = struct{}{}
	x.result.Witnesses |= w.witness
	if w.bad == "" && x.most > 0 && len(x.seen) > x.most {
		w.bad = fmt.Sprintf("more than %d states", x.most)
	}
	moves := w.moves()
	if w.bad == "" {
		w.judge(moves)
	}
	if w.bad != "" && x.all {
		if !slices.Contains(x.result.Found, w.bad) {
			x.result.Found = append(x.result.Found, w.bad)
		}
		return false
	}
	if w.bad != "" {
		x.result.Violation, x.result.Trace = w.bad, slices.Clone(x.path)
		return true
	}
	if len(moves) == 0 {
		x.result.Ends++
	}
	for i := range moves {
		next := w.clone()
		moves[i].do(next)
		x.path = append(x.path, moves[i].label)
		if x.visit(next) {
			return true
		}
		x.path = x.path[:len(x.path)-1]
	}
	return false
}

// judge says what is wrong in a state by itself: a deadlock that is our own,
// and, where nothing more can happen by itself, what is not finished.
func (w *world) judge(moves []move) {
	if w.deadlocked() {
		w.bad = "database deadlock"
		return
	}
	if most := w.s.Attempts + 1 + w.s.Redrives*w.s.Attempts; int(w.deaths) > most {
		w.bad = "crash loop"
		return
	}
	allStopped := !slices.ContainsFunc(w.workers[:], func(k worker) bool { return !k.frozen })
	if !allStopped && !slices.ContainsFunc(moves, func(m move) bool { return !m.may }) {
		w.judgeEnd()
	}
}

// judgeEnd: everything stored is done or lies aside, and is known to be.
func (w *world) judgeEnd() {
	for e := range w.sent {
		done := w.entries[e].settled
		if w.s.Shape == Replayable {
			// A number that nobody knows enters no roll, and its position neither.
			done = w.rolls[placeRoll].known&(1<<(e+1)) != 0 || w.s.Messages[w.s.Entries[e].Message].Lost
		}
		if !done {
			w.bad = "stuck"
			return
		}
	}
	for i := range w.s.Messages {
		if !slices.ContainsFunc(w.s.Entries[:w.sent], func(e Entry) bool { return e.Message == i && !e.Hole }) {
			continue
		}
		if slices.ContainsFunc(w.s.business(i), func(m int) bool { return w.effects[m] > 0 || w.discarded[m] }) {
			continue
		}
		if !slices.ContainsFunc(w.rows, func(r row) bool {
			return slices.Contains(w.s.business(i), int(r.message)) && (r.state == protocol.RowDead || r.state == protocol.RowParked)
		}) {
			w.bad = "lost"
			if slices.ContainsFunc(w.rows, func(r row) bool { return int(r.message) == i && r.state == protocol.RowWaiting }) {
				w.bad = "stuck"
			}
			return
		}
	}
}

// deadlocked: transactions wait for each other in a circle.
func (w *world) deadlocked() bool {
	waits := make(map[*txn]*txn)
	w.every(func(tx *txn, _ int, t *thread) {
		if t != nil {
			if o := w.waitsFor(t); o != nil {
				waits[tx] = o
			}
		}
	})
	for start := range waits {
		at := start
		for range waits {
			if at = waits[at]; at == start {
				return true
			}
			if at == nil {
				break
			}
		}
	}
	return false
}
