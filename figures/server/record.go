package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/redis"
)

// recording is one worker of the record in Redis: 500 keys claimed in one turn,
// the effect of the fresh ones committed in PostgreSQL, completed in one turn.
// The next batch is claimed, and the last one completed, while an effect runs.
// A crash in between loses no effect, but may repeat one.
type recording struct {
	h      *postgresHall
	claims *redis.Store
	conn   *pgx.Conn

	mu   sync.Mutex
	open map[rollcall.DedupKey]bool // claimed by us, not yet completed
}

// claimed is a batch on its way.
type claimed struct {
	orders      []order
	completions []redis.Completion
}

// record works a load off so, a worker a part.
func (h *postgresHall) record(ctx context.Context, l *load) (time.Duration, error) {
	if err := h.fresh(ctx); err != nil {
		return 0, err
	}
	claims, err := redis.Open(ctx, redis.Config{Addr: h.redis, Prefix: fmt.Sprintf("%s:%d", h.schema, time.Now().UnixNano()), Keep: time.Minute})
	if err != nil {
		return 0, err
	}
	defer func() { _ = claims.Close() }()
	conns, done, err := h.connect(ctx, len(l.parts))
	if err != nil {
		return 0, err
	}
	defer done()
	errs := make([]error, len(l.parts))
	var wg sync.WaitGroup
	begin := time.Now()
	for i, part := range l.parts {
		r := &recording{h: h, claims: claims, conn: conns[i], open: make(map[rollcall.DedupKey]bool)}
		wg.Go(func() { errs[i] = r.run(ctx, part) })
	}
	wg.Wait()
	took := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return took, h.check(ctx, l)
}

// run has three stages. An error of one ends them all.
func (r *recording) run(ctx context.Context, part []rollcall.Message) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	fresh, committed := make(chan claimed, 1), make(chan claimed, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(fresh)
		for len(part) > 0 && ctx.Err() == nil {
			n := min(perTransaction, len(part))
			b, err := r.claim(ctx, part[:n])
			if err != nil {
				fail(err)
				return
			}
			fresh <- b
			part = part[n:]
		}
	})
	wg.Go(func() {
		defer close(committed)
		for b := range fresh {
			if ctx.Err() == nil {
				if err := r.h.write(ctx, r.conn, b.orders); err != nil {
					fail(err)
				} else {
					committed <- b
				}
			}
		}
	})
	for b := range committed {
		if err := r.complete(ctx, b.completions); err != nil {
			fail(err)
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

// claim leaves out repeats of what is on its way here; Redis knows the others.
func (r *recording) claim(ctx context.Context, part []rollcall.Message) (b claimed, err error) {
	const lease = 30 * time.Second
	keys, orders := make([]rollcall.DedupKey, 0, len(part)), make([]order, 0, len(part))
	r.mu.Lock()
	for _, m := range part {
		sum := sha256.Sum256([]byte(m.ID))
		if key := rollcall.DedupKey(sum[:16]); !r.open[key] {
			r.open[key] = true
			keys, orders = append(keys, key), append(orders, parse(m.Body))
		}
	}
	r.mu.Unlock()
	answers, err := r.claims.ClaimAll(ctx, group, keys, lease)
	if err != nil {
		return b, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range answers {
		switch a.State {
		case rollcall.ClaimFresh:
			b.orders = append(b.orders, orders[i])
			b.completions = append(b.completions, redis.Completion{Key: keys[i], Token: a.Token})
		case rollcall.ClaimDone:
			delete(r.open, keys[i])
		default:
			return b, fmt.Errorf("key %x is in progress: nobody else works on this partition", keys[i])
		}
	}
	return b, nil
}

func (r *recording) complete(ctx context.Context, list []redis.Completion) error {
	const window = 20 * time.Second // so short that Redis is empty again soon
	if err := errors.Join(r.claims.CompleteAll(ctx, group, list, window)...); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range list {
		delete(r.open, c.Key)
	}
	return nil
}
