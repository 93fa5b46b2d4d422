package server

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// watch is an observer that knows when the last delivery is committed.
type watch struct {
	want int64
	seen atomic.Int64
	once sync.Once
	last time.Time
	all  chan struct{}

	mu      sync.Mutex
	commits []time.Time
}

func newWatch(n int) *watch { return &watch{want: int64(n), all: make(chan struct{})} }

// Observe implements rollcall.Observer.
func (w *watch) Observe(e rollcall.Event) {
	c, is := e.(rollcall.Committed)
	if is {
		w.mu.Lock()
		w.commits = append(w.commits, time.Now())
		w.mu.Unlock()
	}
	if is && w.seen.Add(int64(c.Delivered)) >= w.want {
		w.once.Do(func() {
			w.last = time.Now()
			close(w.all)
		})
	}
}

// longest is the longest time without a commit, from begin on.
func (w *watch) longest(begin time.Time) (most time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.commits {
		most = max(most, at.Sub(begin))
		begin = at
	}
	return most
}
