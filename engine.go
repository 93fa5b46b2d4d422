package rollcall

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Consumer takes the messages of a source through a handler into a store, so
// that each takes effect once. Make it with NewConsumer or NewBatchConsumer.
type Consumer[X any] struct {
	group        string
	source       Source
	store        Store[X]
	handler      Handler[X]
	batchHandler BatchHandler[X]
	config       ConsumerConfig
}

// NewConsumer makes a consumer whose handler sees one message at a time.
// Nothing happens before Run; a configuration that cannot work is Run's error.
func NewConsumer[X any](group string, source Source, store Store[X], handler Handler[X], config ConsumerConfig) *Consumer[X] {
	return &Consumer[X]{group: group, source: source, store: store, handler: handler, config: config.withDefaults()}
}

// NewBatchConsumer makes a consumer whose handler sees many messages at once.
func NewBatchConsumer[X any](group string, source Source, store Store[X], handler BatchHandler[X], config ConsumerConfig) *Consumer[X] {
	return &Consumer[X]{group: group, source: source, store: store, batchHandler: handler, config: config.withDefaults()}
}

// Run works until ctx ends, then drains: what is in hand is finished within
// ConsumerConfig.Drain, nothing else is begun, partitions and tokens are given
// back. It returns nil after a clean drain. Every process that runs the same
// group takes its share.
func (c *Consumer[X]) Run(ctx context.Context) error {
	e, err := c.engine()
	if err != nil {
		return err
	}
	return e.run(ctx, func(context.Context) {})
}

// Check reports, without connecting, whether Run of this group can work on a
// broker with these capabilities. The error is ErrConfig and names the field.
func (c ConsumerConfig) Check(group string, can Capabilities) error {
	c = c.withDefaults()
	switch group {
	case "":
		return configError("group", `""`, "give the consumer group a name: it is the scope of all records")
	case relayGroup:
		return configError("group", group, "the name is taken by relays; choose another")
	}
	if _, err := newRecorder(group, c.Dedup, can); err != nil {
		return err
	}
	if can.Late > c.Dedup.Window {
		return configError("dedup.window", c.Dedup.Window,
			fmt.Sprintf("%s can bring a message again after %v; make the window at least that", can.Broker, can.Late))
	}
	return nil
}

// RunUntilEmpty works until what lies in the source now is finished, by this
// worker or others, messages set aside for a retry included, and drains. Where there
// are no positions it ends when nothing waits to be handed over any more: what other
// workers have in hand is theirs to finish.
func (c *Consumer[X]) RunUntilEmpty(ctx context.Context) error {
	e, err := c.engine()
	if err != nil {
		return err
	}
	finished, err := e.untilEmpty(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = e.run(ctx, func(ctx context.Context) { e.watchEmpty(ctx, finished, cancel) })
	if err != nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errEmpty) {
		return cause
	}
	return nil
}

// errEmpty ends RunUntilEmpty.
var errEmpty = errors.New("rollcall: everything is finished")

func (c *Consumer[X]) engine() (*engine[X], error) {
	if c.handler == nil && c.batchHandler == nil {
		return nil, configError("handler", nil, "a consumer needs one")
	}
	can := c.source.Capabilities()
	if err := c.config.Check(c.group, can); err != nil {
		return nil, err
	}
	recorder, err := newRecorder(c.group, c.config.Dedup, can)
	if err != nil {
		return nil, err
	}
	var suffix [6]byte
	_, _ = rand.Read(suffix[:])
	return &engine[X]{
		Consumer:   c,
		can:        can,
		recorder:   recorder,
		worker:     c.config.Worker + "-" + hex.EncodeToString(suffix[:]),
		partitions: make(map[Partition]*runner),
	}, nil
}

// engine is one run of a Consumer: one worker.
type engine[X any] struct {
	*Consumer[X]
	can      Capabilities
	recorder *recorder
	worker   string
	work     context.Context // ends Drain after Run's context: work in hand lives by it

	trouble atomic.Pointer[error] // the last one that was waited out
	overdue time.Time             // when watchAge told something; of the fetch loop alone

	mu         sync.Mutex
	own        Hold // the worker's own token
	sub        Subscription
	partitions map[Partition]*runner
	space      chan struct{} // a queue has room again
}

func (e *engine[X]) observe(event Event) { e.config.Observer.Observe(event) }

func (e *engine[X]) subscription() Subscription {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sub
}

func (e *engine[X]) ownHold() Hold {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.own
}

// run is the life of a worker. watch runs beside it once it has joined.
func (e *engine[X]) run(ctx context.Context, watch func(context.Context)) error {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	e.work = work
	e.space = make(chan struct{}, 1)
	stopDrain := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrAbort) {
			cancel(ErrAbort)
			return
		}
		time.AfterFunc(e.config.Drain, func() { cancel(errDrain) })
	})
	defer stopDrain()

	if err := e.join(ctx); err != nil {
		return err
	}
	if err := e.sameLog(ctx); err != nil {
		return errors.Join(err, e.releaseOwn())
	}
	if err := e.patient(ctx, "place", func() error { return e.place(ctx, e.ownHold()) }); err != nil {
		return errors.Join(err, e.releaseOwn())
	}
	var sub Subscription
	err := e.patient(ctx, "subscribe", func() (err error) {
		sub, err = e.source.Subscribe(ctx, SubscribeRequest{Group: e.group, Worker: e.worker, Token: e.ownHold().Token}, e)
		return err
	})
	if err != nil {
		return errors.Join(err, e.releaseOwn())
	}
	e.mu.Lock()
	e.sub = sub
	e.mu.Unlock()

	var beside sync.WaitGroup
	live, end := context.WithCancel(ctx)
	defer end()
	beside.Go(func() { e.workAsides(live) })
	beside.Go(func() { e.upkeep(live) })
	beside.Go(func() { watch(live) })
	failed := e.fetchLoop(live)
	end() // a source that cannot go on ends the rest too, in the same time
	late := time.AfterFunc(e.config.Drain, func() { cancel(errDrain) })
	defer late.Stop()
	drained := e.drain(sub, &beside)
	return errors.Join(failed, drained, e.releaseOwn())
}

// joinPatience is how long a store or a broker may be away when a run begins. What
// lasts longer, a missing table say, is told by the run's error.
const joinPatience = 30 * time.Second

// patient tries for joinPatience what a run begins with.
func (e *engine[X]) patient(ctx context.Context, where string, do func() error) error {
	begun := e.config.Clock.Now()
	var failed error
	err := e.retry(ctx, where, func() error {
		err := do()
		if lasting(err) || e.config.Clock.Now().Sub(begun) > joinPatience {
			failed, err = err, nil
		}
		return err
	})
	return errors.Join(failed, err)
}

// lasting errors do not go away by themselves.
func lasting(err error) bool {
	for _, is := range []error{ErrClosed, ErrConfig, ErrDamaged, ErrNewerSchema, ErrNoDestination} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// join acquires the worker's own token. A COMMIT in doubt is repeated: a token
// that is raised twice does no harm.
func (e *engine[X]) join(ctx context.Context) error {
	return e.patient(ctx, "acquire", func() error { return e.acquireOwn(ctx) })
}

func (e *engine[X]) measure(ctx context.Context, m Measurer) (extents []Extent, err error) {
	err = e.patient(ctx, "measure", func() error {
		extents, err = m.Measure(ctx)
		return err
	})
	return extents, err
}

// errDrain ends work that did not finish in time.
var errDrain = errors.New("rollcall: drain deadline exceeded; what was in work is rolled back and comes again")

func (e *engine[X]) acquireOwn(ctx context.Context) error {
	got, err := e.store.Acquire(ctx, e.group, []Holder{{Worker: e.worker}})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.own = Hold{e.group, Holder{Worker: e.worker}, got[0].Token}
	return nil
}

func (e *engine[X]) releaseOwn() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.work), releaseTimeout)
	defer cancel()
	release := func() error { return e.store.Release(ctx, []Hold{e.ownHold()}) }
	if errors.Is(context.Cause(e.work), ErrAbort) {
		return release() // at once means at once
	}
	return e.retry(ctx, "release", release)
}

// releaseTimeout bounds giving back tokens at the end: not given back only
// means that the next owner is a little more careful.
const releaseTimeout = 5 * time.Second

// fetchLoop hands batches to their partitions until ctx ends. The consumer
// sets the pace: a partition whose queue is full is paused.
func (e *engine[X]) fetchLoop(ctx context.Context) error {
	request := FetchRequest{Max: e.config.Batch, Min: 1, Wait: time.Second}
	for try := 0; ctx.Err() == nil; {
		var all bool
		if request.Paused, all = e.paused(); all {
			select {
			case <-e.space:
			case <-ctx.Done():
			}
			continue
		}
		if len(request.Paused) > 0 {
			// A paused queue may have room any moment, and a Fetch that waits for
			// the others does not see it.
			request.Wait = min(request.Wait, e.config.Linger)
		}
		batches, err := e.sub.Fetch(ctx, request)
		// What was handed over is handed on, also beside an error.
		n := 0
		for i := range batches {
			n += len(batches[i].Deliveries)
			e.watchAge(&batches[i])
			e.dispatch(&batches[i])
		}
		request.Min, request.Wait = 1, time.Second
		if n > 0 {
			request.Min, request.Wait = e.config.Batch, e.config.Linger
		}
		if err == nil {
			try = 0
			continue
		}
		if lasting(err) {
			return err
		}
		if ctx.Err() == nil {
			_ = e.pause(ctx, "fetch", err, try) // the loop's own test ends it
			try++
		}
	}
	return nil
}

// drain ends the subscription, which revokes what is owned, and waits for the
// rest of the work.
func (e *engine[X]) drain(sub Subscription, beside *sync.WaitGroup) error {
	if !e.can.Exclusive {
		e.stopRunners() // receipts are good until Close
	}
	err := sub.Close(e.work)
	e.stopRunners() // what a subscription that broke has not revoked
	if e.work.Err() == nil {
		err = errors.Join(err, e.waitBeside(beside))
	}
	if e.work.Err() != nil {
		if trouble := e.trouble.Load(); trouble != nil {
			return fmt.Errorf("%w; the last trouble was: %w", context.Cause(e.work), *trouble)
		}
		return context.Cause(e.work)
	}
	return err
}

// stopRunners lets every partition finish the batch in hand, and no other.
func (e *engine[X]) stopRunners() {
	e.mu.Lock()
	runners := slices.Collect(maps.Values(e.partitions))
	e.mu.Unlock()
	for _, r := range runners {
		r.stop()
	}
	for _, r := range runners {
		select {
		case <-r.done:
		case <-e.work.Done():
		}
	}
}

func (e *engine[X]) waitBeside(beside *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		beside.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-e.work.Done():
		return context.Cause(e.work)
	}
}
