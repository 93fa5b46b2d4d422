package rollcall

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// rollCache are the rolls of one partition's messages as last read. It may be
// behind the store, never ahead: Known in it is final. A roll in it is never
// changed again.
type rollCache struct {
	partition Scope // the partition's own roll; zero where there are no positions
	mu        sync.Mutex
	rolls     map[Scope]*Roll
	// contended: another worker was faster with a message of the last batch, so
	// what is cached is behind, and is read again.
	contended atomic.Bool
}

// maxCached bounds the cache: past it, it is emptied and read again.
const maxCached = 100_000

func newRollCache(partition Scope) *rollCache {
	return &rollCache{partition: partition, rolls: make(map[Scope]*Roll)}
}

// table is the sets of scopes, and the scopes that are to be read: those that are
// not in the cache, or all.
func (c *rollCache) table(scopes []Scope) (sets []*interval.Set, missing []Scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sets = make([]*interval.Set, len(scopes))
	behind := c.contended.Swap(false)
	for i, s := range scopes {
		if r := c.rolls[s]; r != nil {
			sets[i] = &r.set
		}
		if behind || sets[i] == nil {
			missing = append(missing, s)
		}
	}
	return sets, missing
}

// has reports whether the rolls of all scopes are known to be in the store.
func (c *rollCache) has(scopes []Scope) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.ContainsFunc(scopes, func(s Scope) bool { r := c.rolls[s]; return r == nil || r.set.High() == 0 })
}

// copies of the rolls of scopes; false if it does not have them all.
func (c *rollCache) copies(scopes []Scope) (rolls []*Roll, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range scopes {
		r := c.rolls[s]
		if r == nil {
			return nil, false
		}
		rolls = append(rolls, &Roll{Scope: s, set: *r.set.Clone(), seen: r.seen, epoch: r.epoch, placed: r.placed, begun: r.begun})
	}
	return rolls, true
}

// learn takes over rolls as the store gave or keeps them.
func (c *rollCache) learn(rolls []*Roll) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rolls) > maxCached {
		clear(c.rolls)
	}
	for _, r := range rolls {
		c.rolls[r.Scope] = r
	}
}

func openRolls(rows []RollRow) ([]*Roll, error) {
	rolls := make([]*Roll, len(rows))
	for i, row := range rows {
		r, err := OpenRoll(row)
		if err != nil {
			return nil, err
		}
		rolls[i] = r
	}
	return rolls, nil
}
