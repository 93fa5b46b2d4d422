package specimen

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall-mq/rollcall/verify/fault"
)

// remembered is how long a mark stays: longer than any redelivery takes.
const remembered = 24 * time.Hour

// cacheCheck looks the id up in a cache, works, and marks it: "the consumer is
// idempotent, Redis remembers what was done".
var cacheCheck = Pattern{
	Name: "cache-check", Idea: "look the id up in a cache, work, mark",
	Why: "the cache remembers what was done, so the consumer is idempotent",
	handle: func(ctx context.Context, w *Worker, m Message) error {
		if _, done, err := w.Cache.Get(ctx, "done:"+m.ID); err != nil {
			return err
		} else if done {
			return w.Queue.Ack(ctx, m)
		}
		if err := w.work(ctx, m, nil); err != nil {
			return err
		}
		return w.markAndAck(ctx, m)
	},
}

func (w *Worker) markAndAck(ctx context.Context, m Message) error {
	if err := w.Cache.Set(ctx, "done:"+m.ID, "1", remembered); err != nil {
		return err
	}
	if err := w.At(ctx, fault.AfterRecord, m); err != nil {
		return err
	}
	return w.ack(ctx, m)
}

// setnxFirst marks atomically before it works: "look and mark are one command,
// so two workers cannot both pass". A failure takes the mark away, so that the
// redelivery works.
var setnxFirst = Pattern{
	Name: "setnx-first", Idea: "mark with SETNX, then work",
	Why:     "look and mark are one command, so two workers cannot both pass",
	Nearest: map[fault.Moment]fault.Moment{fault.Committing: fault.Marking},
	handle: func(ctx context.Context, w *Worker, m Message) error {
		first, err := w.claim(ctx, m)
		if err != nil {
			return err
		}
		if !first {
			return w.Queue.Ack(ctx, m) // a duplicate
		}
		if err := w.At(ctx, fault.AfterRecord, m); err != nil {
			return err
		}
		if err := w.work(ctx, m, nil); err != nil {
			return errors.Join(err, w.Cache.Del(ctx, "done:"+m.ID))
		}
		return w.ack(ctx, m)
	},
}

// claim is SETNX as clients of Redis send it: after a broken connection once
// more.
func (w *Worker) claim(ctx context.Context, m Message) (bool, error) {
	first, err := w.Cache.SetNX(ctx, "done:"+m.ID, "1", remembered)
	if err == nil {
		err = w.At(ctx, fault.Marking, m)
	}
	if errors.Is(err, fault.ErrReplyLost) {
		first, err = w.Cache.SetNX(ctx, "done:"+m.ID, "1", remembered)
	}
	return first, err
}
