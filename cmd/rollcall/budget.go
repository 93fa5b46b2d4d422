package main

import (
	"context"
	"sync"
)

// budget bounds how many bytes are in hand. One taker that wants more than all
// of it gets it when nothing else is taken.
type budget struct {
	mu   sync.Mutex
	free *sync.Cond
	most int64
	used int64
}

func newBudget(most int64) *budget {
	b := &budget{most: most}
	b.free = sync.NewCond(&b.mu)
	return b
}

// take waits for room.
func (b *budget) take(ctx context.Context, n int64) error {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		b.free.Broadcast()
		b.mu.Unlock()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.used > 0 && b.used+n > b.most {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.free.Wait()
	}
	b.used += n
	return nil
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.free.Broadcast()
}
