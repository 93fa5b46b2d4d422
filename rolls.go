package rollcall

import (
	"sync"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// rollCache are the rolls of one partition's messages as last read. It may be
// behind the store, never ahead: Known in it is final. A roll in it is never
// changed again.
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

// table is the sets of scopes, and the scopes that are not in the cache.
func (c *rollCache) table(scopes []Scope) (sets []*interval.Set, missing []Scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sets = make([]*interval.Set, len(scopes))
	for i, s := range scopes {
		if r := c.rolls[s]; r != nil {
			sets[i] = &r.set
		} else {
			missing = append(missing, s)
		}
	}
	return sets, missing
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
