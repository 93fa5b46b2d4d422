package postgres_test

import (
	"fmt"
	"strings"
	"sync"

	"github.com/rollcall-mq/rollcall"
)

// quiet counts events by their names, and keeps the last cause of a pause.
type quiet struct {
	mu   sync.Mutex
	n    map[string]int
	last string
}

// Observe implements rollcall.Observer.
func (q *quiet) Observe(e rollcall.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == nil {
		q.n = map[string]int{}
	}
	q.n[strings.TrimPrefix(fmt.Sprintf("%T", e), "rollcall.")]++
	if p, ok := e.(rollcall.Paused); ok {
		q.last = p.Where + ": " + p.Err.Error()
	}
}
