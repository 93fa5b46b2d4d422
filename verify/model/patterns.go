package model

import (
	"slices"
)

// The patterns that articles teach (verify/specimen), one message, two workers,
// as lists of steps that happen at once. It is another model than the
// engine's: they have no decisions worth sharing.

// op is one step of a pattern.
type op uint8

const (
	opAck     op = iota
	opEffect     // commits by itself
	opOffset     // the effect with the offset, in one transaction, unconditionally
	opSeen       // look the id up in the cache: there → acknowledge
	opMark       // mark it there
	opSetNX      // look and mark at once: there → acknowledge
	opLock       // take the lock, wait for it
	opTryLock    // take the lock; busy → acknowledge
	opUnlock     // give it back
	opSelect     // look the id up in the database: there → acknowledge
	opInsert     // insert it there
)

// pattern is a list of steps. A lock of a dead holder is freed by its limit;
// patient patterns have a limit far longer than a redelivery takes.
type pattern struct {
	name    string
	ops     []op
	patient bool
}

var patterns = []pattern{
	{name: "ack-first", ops: []op{opAck, opEffect}},
	{name: "effect-then-ack", ops: []op{opEffect, opAck}},
	{name: "cache-check", ops: []op{opSeen, opEffect, opMark, opAck}},
	{name: "setnx-first", ops: []op{opSetNX, opEffect, opAck}},
	{name: "ttl-lock", ops: []op{opLock, opSeen, opEffect, opMark, opAck, opUnlock}},
	{name: "lock-busy-skip", ops: []op{opTryLock, opSeen, opEffect, opMark, opAck, opUnlock}, patient: true},
	{name: "check-then-insert", ops: []op{opSelect, opEffect, opInsert, opAck}},
	{name: "offset-unconditional", ops: []op{opOffset, opAck}},
}

// pstate is one state; it is comparable.
type pstate struct {
	entries [2]struct {
		there, settled bool
		holder         int8 // -1: ready
	}
	workers [2]struct {
		entry  int8 // -1: none
		pc     int8
		zombie bool // the broker has given its entry to another
	}
	mark, row bool
	lock      int8 // -1: free
	dead      bool // the lock's holder is gone
	offset    int8
	effects   int8
	faults    int8
}

// pfault are the faults of a pattern's column.
type pfault uint8

const (
	pCrash pfault = 1 << iota
	pAckLost
	pReplyLost
	pPause
	pLease // the lock's limit passes while its holder is paused
	pCache // the cache forgets
	pAgain // the sender sends the id again
)

// explorePattern says what a pattern can come to.
func explorePattern(p *pattern, allow pfault, faults int8) (lost, doubled bool) {
	start := pstate{lock: -1, faults: faults}
	for i := range start.entries {
		start.entries[i].holder = -1
		start.entries[i].there = i == 0 || allow&pAgain != 0
		start.workers[i].entry = -1
	}
	seen := map[pstate]bool{start: true}
	for todo := []pstate{start}; len(todo) > 0; {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if s.effects > 1 {
			doubled = true
			continue
		}
		will, may := s.next(p, allow)
		if len(will) == 0 && s.effects == 0 {
			lost = true
		}
		for _, n := range slices.Concat(will, may) {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return lost, doubled
}

// next are the states that follow: those that will come, and those that faults
// may bring.
func (s pstate) next(p *pattern, allow pfault) (will, may []pstate) {
	fault := func(kind pfault, do func(n *pstate)) {
		if allow&kind != 0 && s.faults > 0 {
			n := s
			n.faults--
			do(&n)
			may = append(may, n)
		}
	}
	if s.dead && !p.patient {
		n := s
		n.lock, n.dead = -1, false
		will = append(will, n)
	}
	fault(pCache, func(n *pstate) { n.mark, n.lock, n.dead = false, -1, false })
	for w := range s.workers {
		k := s.workers[w]
		if k.entry < 0 {
			will = append(will, s.receive(p, w)...)
			continue
		}
		if n, ok := s.step(p, w); ok {
			will = append(will, n)
		}
		fault(pCrash, func(n *pstate) { n.crash(w) })
		if !k.zombie && !s.entries[k.entry].settled {
			fault(pPause|pLease, func(n *pstate) {
				n.workers[w].zombie = true
				n.entries[k.entry].holder = -1
				if allow&pLease != 0 && n.lock == int8(w) {
					n.lock = -1
				}
			})
		}
		switch p.ops[k.pc] {
		case opAck:
			fault(pAckLost, func(n *pstate) { // nobody knows; the worker goes on
				n.redeliver(w)
				n.workers[w].zombie = true
				*n, _ = n.step(p, w)
			})
		case opSetNX:
			fault(pReplyLost, func(n *pstate) { // set, asked again, "exists"
				n.mark = true
				n.workers[w].pc = int8(slices.Index(p.ops, opAck))
			})
		case opEffect, opOffset:
			fault(pReplyLost, func(n *pstate) { // it is done, and looks like a failure
				n.effect(p, w)
				if p.ops[0] == opSetNX {
					n.mark = false // so that the redelivery works
				}
				n.redeliver(w)
				n.workers[w].entry = -1
				n.unlock(w)
			})
		}
	}
	return will, may
}

// receive hands a ready entry to a worker.
func (s pstate) receive(p *pattern, w int) (out []pstate) {
	for e := range s.entries {
		x := s.entries[e]
		if !x.there || x.settled || x.holder >= 0 || p.ops[0] == opOffset && int8(e) < s.offset {
			continue
		}
		n := s
		n.entries[e].holder = int8(w)
		n.workers[w].entry, n.workers[w].pc, n.workers[w].zombie = int8(e), 0, false
		out = append(out, n)
	}
	return out
}

// step is the next step of a worker. It is not possible while a lock is waited
// for.
func (s pstate) step(p *pattern, w int) (pstate, bool) {
	n := s
	k := &n.workers[w]
	ack := int8(slices.Index(p.ops, opAck))
	next := k.pc + 1
	switch p.ops[k.pc] {
	case opAck:
		if !k.zombie {
			n.entries[k.entry].settled = true
		}
	case opEffect, opOffset:
		n.effect(p, w)
	case opSeen, opSetNX:
		if n.mark {
			next = ack
		}
		n.mark = n.mark || p.ops[k.pc] == opSetNX
	case opMark:
		n.mark = true
	case opLock, opTryLock:
		switch {
		case n.lock < 0:
			n.lock = int8(w)
		case p.ops[k.pc] == opLock:
			return n, false
		default:
			next = ack
		}
	case opUnlock:
		n.unlock(w)
	case opSelect:
		if n.row {
			next = ack
		}
	case opInsert:
		n.row = true
	}
	k.pc = next
	if int(next) == len(p.ops) {
		k.entry = -1
	}
	return n, true
}

func (s *pstate) effect(p *pattern, w int) {
	s.effects++
	if p.ops[0] == opOffset {
		s.offset = s.workers[w].entry + 1
	}
}

func (s *pstate) unlock(w int) {
	if s.lock == int8(w) && !s.dead {
		s.lock = -1
	}
}

// redeliver: the broker hands the entry over again.
func (s *pstate) redeliver(w int) {
	if k := s.workers[w]; !k.zombie && !s.entries[k.entry].settled {
		s.entries[k.entry].holder = -1
	}
}

func (s *pstate) crash(w int) {
	s.redeliver(w)
	s.workers[w].entry = -1
	if s.lock == int8(w) {
		s.dead = true
	}
}
