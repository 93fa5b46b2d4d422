package rollcall

import (
	"slices"
	"sync"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// rollCache are the rolls of one partition's messages as last read. It may be
// behind the store, never ahead: Known in it is final.
type rollCache struct {
	partition Scope // the partition's own roll; zero where there are no positions
	mu        sync.Mutex
	rolls     map[Scope]*Roll
}

// maxCached bounds the cache: past it, it is emptied and read again.
const maxCached = 100_000

func newRollCache(partition Scope) *rollCache {
	return &rollCache{partition: partition, rolls: make(map[Scope]*Roll)}
}

func (c *rollCache) answer(m mark) interval.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.rolls[m.scope]; r != nil {
		return r.set.Answer(m.number)
	}
	return interval.New
}

// missing are the scopes of the batch that are not in the cache.
func (c *rollCache) missing(b *Batch) []Scope {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Scope
	seen := make(map[Scope]bool)
	add := func(s Scope) {
		if c.rolls[s] == nil && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	var last Scope
	for i := range b.Deliveries {
		if d := &b.Deliveries[i]; !d.Stamp.IsZero() {
			if s := SenderScope(d.Stamp); s != last {
				add(s)
				last = s
			}
		}
	}
	if c.partition != (Scope{}) {
		add(c.partition)
	}
	slices.SortFunc(out, Scope.Compare)
	return out
}

// learn takes over rolls as the store gave or keeps them.
func (c *rollCache) learn(locked lockedRolls) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rolls) > maxCached {
		clear(c.rolls)
	}
	for _, l := range locked.list {
		c.rolls[l.roll.Scope] = l.roll
	}
}

// lockedRolls are rolls as a locking read returned them, and what is merged
// into them.
type lockedRolls struct {
	list []*lockedRoll
	by   map[Scope]*lockedRoll
}

type lockedRoll struct {
	roll    *Roll
	changed bool
}

func openRolls(rows []RollRow) (lockedRolls, error) {
	locked := lockedRolls{by: make(map[Scope]*lockedRoll, len(rows))}
	for _, row := range rows {
		r, err := OpenRoll(row)
		if err != nil {
			return lockedRolls{}, err
		}
		l := &lockedRoll{roll: r}
		locked.list = append(locked.list, l)
		locked.by[row.Scope] = l
	}
	return locked, nil
}

// answer is New for a scope that was not locked: all its numbers in this batch
// were Known already.
func (l lockedRolls) answer(m mark) interval.Answer {
	if r := l.by[m.scope]; r != nil {
		return r.roll.set.Answer(m.number)
	}
	return interval.New
}

// add merges one number and reports whether it was New.
func (l lockedRolls) add(m mark) bool {
	r := l.by[m.scope]
	if r == nil || r.roll.set.Answer(m.number) != interval.New {
		return false
	}
	r.roll.set.Add(m.number)
	r.changed = true
	return true
}

// cover merges the offsets that the broker never delivers.
func (l lockedRolls) cover(scope Scope, ranges []OffsetRange) {
	r := l.by[scope]
	if r == nil {
		return
	}
	for _, c := range ranges {
		r.roll.set.AddRange(uint64(c.First)+1, uint64(c.Last)+1)
		r.changed = true
	}
}

// scopesToLock are the scopes of all numbers that are not known to be Known,
// sorted: every worker locks in this order.
func (w *work) scopesToLock() []Scope {
	seen := make(map[Scope]bool)
	var last Scope
	var out []Scope
	for _, it := range w.items {
		if it.fate == fateUnknown {
			continue
		}
		for _, m := range it.marks[:it.nmarks] {
			if m.scope == last || seen[m.scope] || w.rolls.answer(m) == interval.Known {
				continue
			}
			last = m.scope
			seen[m.scope] = true
			out = append(out, m.scope)
		}
	}
	if w.covered && len(w.batch.Covered) > 0 && !seen[w.rolls.partition] {
		out = append(out, w.rolls.partition)
	}
	slices.SortFunc(out, Scope.Compare)
	return out
}

// anythingNew reports whether a transaction would change anything.
func (w *work) anythingNew() bool {
	for _, it := range w.items {
		if it.planned != fateDropped || it.suspect {
			return true
		}
	}
	return len(w.scopesToLock()) > 0
}

// limitRolls keeps every roll below size bytes: the oldest region becomes
// Unknown, never Known. It returns the rows to write.
func (e *engine[X]) limitRolls(locked lockedRolls) ([]RollRow, error) {
	var rows []RollRow
	for _, l := range locked.list {
		if !l.changed {
			continue
		}
		if lost, cut := l.roll.set.Limit(e.config.RollSize); cut {
			e.observe(RollOverflow{l.roll.Scope, lost.First, lost.Last})
		}
		row, err := l.roll.Row()
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}
