package specimen

import (
	"context"
	"fmt"
	"time"
)

const (
	// shortLock is far longer than the work takes, and lets the next worker in
	// soon after a crash.
	shortLock = 300 * time.Millisecond
	// longLock is the 30 s of the well-known libraries.
	longLock = 30 * time.Second
	lockPoll = 20 * time.Millisecond
)

// ttlLock takes a lock with a time limit, checks, works, marks: "only one
// worker at a time is in there, so check and mark cannot race; the limit frees
// the lock when its holder dies".
var ttlLock = Pattern{
	Name: "ttl-lock", Idea: "lock with a time limit, check, work, mark",
	Why: "one worker at a time, so check and mark cannot race; the limit frees the lock of the dead",
	handle: func(ctx context.Context, w *Worker, m Message) error {
		for {
			held, unlock, err := w.lock(ctx, m, shortLock)
			if err != nil {
				return err
			}
			if held {
				defer unlock()
				return w.checkWorkMark(ctx, m)
			}
			select {
			case <-time.After(lockPoll):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	},
}

// lockBusySkip is the same with "if the lock is busy somebody else is at this
// message, so there is nothing to do".
var lockBusySkip = Pattern{
	Name: "lock-busy-skip", Idea: "lock busy: somebody is at it, end",
	Why: "if the lock is busy somebody else is at this message, there is nothing to do",
	handle: func(ctx context.Context, w *Worker, m Message) error {
		held, unlock, err := w.lock(ctx, m, longLock)
		if err != nil {
			return err
		}
		if !held {
			return w.Queue.Ack(ctx, m)
		}
		defer unlock()
		return w.checkWorkMark(ctx, m)
	},
}

// lock takes the lock of a message. It is taken away only by its holder.
func (w *Worker) lock(ctx context.Context, m Message, limit time.Duration) (bool, func(), error) {
	holder := fmt.Sprintf("%d-%d", w.PID, time.Now().UnixNano())
	held, err := w.Cache.SetNX(ctx, "lock:"+m.ID, holder, limit)
	unlock := func() {
		if err := w.Cache.DelIf(context.WithoutCancel(ctx), "lock:"+m.ID, holder); err != nil {
			w.Log("unlock %s: %v", m.ID, err)
		}
	}
	return held, unlock, err
}

func (w *Worker) checkWorkMark(ctx context.Context, m Message) error {
	return cacheCheck.handle(ctx, w, m)
}
