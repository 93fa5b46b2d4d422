package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// hall is the servers of a run, through the network's delay or not.
type hall interface {
	name() string // of the server, where a page has several
	ways() []way
	// ceiling is F: how long distinct orders take, with as many connections as the
	// load has parts.
	ceiling(ctx context.Context, l *load) (time.Duration, error)
	// turns are how many were taken to the servers so far; counted with the
	// network's delay only.
	turns() int64
	// describe says what the servers are.
	describe(p *Page)
	// grow measures Page.Growth.
	grow(ctx context.Context, p *Page) error
	// more measures what is no share of F.
	more(ctx context.Context, p *Page) error
	close()
}

// way is one way from deliveries to rows.
type way struct {
	name      string
	workers   int
	target    float64
	of        string // another way and its workers, of which it is a share; empty: F
	ofWorkers int
	distinct  bool // no repeats: the strategy lets the sender's own pass
	slower    int  // how many times fewer deliveries
	least     int
	run       runner
}

type runner func(ctx context.Context, l *load) (time.Duration, error)

// site is where consumers with transactions X work.
type site[X any] interface {
	fresh(ctx context.Context) error // makes the tables anew
	store(ctx context.Context) (rollcall.Store[X], func() error, error)
	check(ctx context.Context, l *load) error // each order is there once
}

// maker makes the consumer of a worker.
type maker[X any] func(rollcall.Source, rollcall.Store[X], rollcall.Observer) *rollcall.Consumer[X]

// consume works a load off with rollcall: one consumer a partition, or several
// that compete for one. The clock stops when the last delivery is committed.
func consume[X any](ctx context.Context, at site[X], l *load, shape memory.Shape, workers int, consumer maker[X]) (time.Duration, error) {
	took, _, err := consumeWatched(ctx, at, l, shape, workers, consumer)
	return took, err
}

// consumeWatched also says the longest time without a commit.
func consumeWatched[X any](ctx context.Context, at site[X], l *load, shape memory.Shape, workers int, consumer maker[X]) (took, silent time.Duration, err error) {
	if err := at.fresh(ctx); err != nil {
		return 0, 0, err
	}
	broker := memory.New(memory.Config{Shape: shape, Partitions: len(l.parts)})
	for _, part := range l.parts {
		for _, r := range broker.Sender().Publish(ctx, destination, part) {
			if r.Fate != rollcall.Stored {
				return 0, 0, r.Err
			}
		}
	}
	ctx, stop := context.WithTimeout(ctx, 10*time.Minute)
	defer stop()
	watch := newWatch(l.n)
	var wg sync.WaitGroup
	errs := make([]error, workers)
	begin := time.Now()
	for i := range workers {
		store, done, err := at.store(ctx)
		if err != nil {
			return 0, 0, err
		}
		defer func() { _ = done() }()
		c := consumer(broker.Source(destination), store, watch)
		if i == workers-1 {
			begin = time.Now() // connections and tables are there
		}
		wg.Go(func() { errs[i] = c.Run(ctx) })
	}
	select {
	case <-watch.all:
	case <-ctx.Done():
		err = fmt.Errorf("%d of %d deliveries after ten minutes", watch.seen.Load(), l.n)
	}
	took, silent = watch.last.Sub(begin), watch.longest(begin)
	stop()
	wg.Wait()
	if err == nil {
		err = at.check(context.WithoutCancel(ctx), l)
	}
	return took, silent, err
}
