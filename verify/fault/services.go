package fault

import (
	"sync"
	"time"
)

// outage is how long a failure of a shaky customer lasts: tries that follow
// each other at once meet the same one.
const outage = 50 * time.Millisecond

// Services are what stands beside the workers and survives their deaths: a
// cache as Redis is one (in memory, expiry by time), and the outside system
// that fails for one customer.
type Services struct {
	shaky string

	mu     sync.Mutex
	values map[string]entry
	failed int
	until  time.Time
}

type entry struct {
	value string
	until time.Time // zero: for ever
}

// NewServices makes an empty cache.
func NewServices(shaky string) *Services {
	return &Services{shaky: shaky, values: make(map[string]entry)}
}

// The operations of Services.
const (
	OpGet    = "get"
	OpSet    = "set"
	OpSetNX  = "setnx"
	OpDel    = "del"
	OpDelIf  = "delif" // compare and delete, as a script does in Redis
	OpCharge = "charge"
)

// Answer does one operation.
func (s *Services) Answer(r Request) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	have, ok := s.values[r.Key]
	if ok && !have.until.IsZero() && now.After(have.until) {
		delete(s.values, r.Key)
		have, ok = entry{}, false
	}
	switch r.Op {
	case OpGet:
		return Reply{ID: r.ID, OK: ok, Value: have.value}
	case OpSet, OpSetNX:
		if r.Op == OpSetNX && ok {
			return Reply{ID: r.ID}
		}
		e := entry{value: r.Value}
		if r.TTL > 0 {
			e.until = now.Add(r.TTL)
		}
		s.values[r.Key] = e
		return Reply{ID: r.ID, OK: true}
	case OpDel, OpDelIf:
		if ok = ok && (r.Op == OpDel || have.value == r.Value); ok {
			delete(s.values, r.Key)
		}
		return Reply{ID: r.ID, OK: ok}
	case OpCharge:
		return Reply{ID: r.ID, OK: s.charge(r.Key, now)}
	}
	return Reply{ID: r.ID}
}

// charge fails twice for the shaky customer, then succeeds.
func (s *Services) charge(customer string, now time.Time) bool {
	switch {
	case customer != s.shaky:
		return true
	case now.Before(s.until):
		return false
	case s.failed < 2:
		s.failed++
		s.until = now.Add(outage)
		return false
	}
	return true
}
