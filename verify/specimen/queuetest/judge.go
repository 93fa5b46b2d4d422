//go:build linux

package queuetest

import "slices"

// fates are the orders that went wrong.
type fates struct{ lost, doubled map[string]bool }

func (s *show) fates() fates {
	s.t.Helper()
	f := fates{make(map[string]bool), make(map[string]bool)}
	for _, id := range s.sent {
		switch n := s.count(`SELECT count(*) FROM ledger WHERE id = ?`, id); {
		case n == 0 && !slices.Contains(s.out, id):
			f.lost[id] = true
		case n > 1:
			f.doubled[id] = true
		}
	}
	s.t.Logf("%s: %d sent, %d effects, %d lost, %d doubled, %d kept back by the broker, %d kills", s.title, len(s.sent),
		s.count(`SELECT count(*) FROM ledger`), len(f.lost), len(f.doubled), len(s.out), len(s.killed))
	return f
}

// judgeCalm: without a fault each order once.
func (s *show) judgeCalm() {
	s.t.Helper()
	if f := s.fates(); len(f.lost)+len(f.doubled) > 0 {
		s.t.Errorf("%s: lost %v, doubled %v without a fault", s.title, f.lost, f.doubled)
	}
}

// judgeKilled: the pattern did what is wrong with it, to orders that the dead had, and
// nothing else.
func (s *show) judgeKilled() {
	s.t.Helper()
	f := s.fates()
	wrong, other, word := f.lost, f.doubled, "lost"
	if s.aim.doubles {
		wrong, other, word = f.doubled, f.lost, "doubled"
	}
	hit, explained := 0, make(map[string]bool)
	for _, k := range s.killed {
		aimed := []string{k.ID}
		if s.aim.ahead {
			aimed = k.Ahead
		}
		hit += len(among(wrong, aimed))
		all := slices.Concat([]string{k.ID}, k.Ahead, k.Beside)
		for _, id := range among(wrong, all) {
			explained[id] = true
		}
		s.t.Logf("  SIGKILL of process %d, which stood %s; in flight: %s, received ahead of it %v, with the process's other worker %v; of these %s: %v",
			k.pid, k.Moment, k.ID, k.Ahead, k.Beside, word, among(wrong, all))
	}
	if more := len(wrong) - len(explained); more > 0 {
		s.t.Logf("  %d more %s, which were on their way to a dead process, or came again before they were done", more, word)
	}
	if hit == 0 {
		s.t.Errorf("%s: no order that the dead had was %s; this specimen must fail", s.title, word)
	}
	if len(other) > 0 {
		s.t.Errorf("%s: it went wrong in a way it should not: %v", s.title, other)
	}
}

// among are the ids that are in the set.
func among(set map[string]bool, ids []string) (in []string) {
	for _, id := range ids {
		if set[id] {
			in = append(in, id)
		}
	}
	return in
}
