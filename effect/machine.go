package effect

import (
	"sort"
)

// machine is a compiled state machine.
type machine struct {
	next    map[string]map[string]bool // state → the states that may follow
	later   map[string]map[string]bool // state → all that can be reached, in one step or more
	initial map[string]bool
}

func newMachine(s State) (machine, string) {
	m := machine{next: map[string]map[string]bool{}, later: map[string]map[string]bool{}, initial: map[string]bool{}}
	follows := map[string]bool{}
	for from, to := range s.Allow {
		m.add(from)
		for _, t := range to {
			m.add(t)
			m.next[from][t] = true
			if t != from {
				follows[t] = true
			}
		}
	}
	for state := range m.next {
		m.later[state] = map[string]bool{}
		m.reach(state, m.later[state])
		if !follows[state] && len(s.Initial) == 0 {
			m.initial[state] = true
		}
	}
	for _, i := range s.Initial {
		if m.next[i] == nil {
			return m, "initial state " + i + " is not in allow; add it there"
		}
		m.initial[i] = true
	}
	switch {
	case len(m.next) == 0:
		return m, "allow is empty; list for each state those that may follow"
	case len(m.initial) == 0:
		return m, "every state follows another, so none creates the row; name the first one in initial"
	}
	return m, ""
}

func (m machine) add(state string) {
	if m.next[state] == nil {
		m.next[state] = map[string]bool{}
	}
}

func (m machine) reach(from string, seen map[string]bool) {
	for to := range m.next[from] {
		if !seen[to] {
			seen[to] = true
			m.reach(to, seen)
		}
	}
}

// states are the names, sorted.
func (m machine) states() []string {
	var out []string
	for s := range m.next {
		out = append(out, s)
	}
	sort.Strings(out)
	return out
}

// cycle is a state that can be reached from itself, or empty.
func cycle(allow map[string][]string) string {
	m, _ := newMachine(State{Allow: allow})
	for _, s := range m.states() {
		if m.later[s][s] {
			return s
		}
	}
	return ""
}
