package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

const (
	group       = "g"
	destination = "orders"
)

// patience is how long anything may take before the case fails. The tests of
// the kit itself, which expect failures, make it shorter.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("ROLLCALL_TEST_PATIENCE")); err == nil {
		return d
	}
	return 30 * time.Second
}()

// world is one case: a storage, a broker, workers.
type world[X any] struct {
	t       testing.TB
	storage Storage[X]
	broker  *memory.Broker
	life    rollcall.Life

	looking sync.Once // opens look
	look    rollcall.Store[X]

	mu      sync.Mutex
	events  []rollcall.Event
	workers []*worker[X]
	gates   []*gate
}

func newWorld[X any](t testing.TB, h Harness[X], shape memory.Shape) *world[X] {
	w := &world[X]{t: t, storage: h(t), broker: memory.New(memory.Config{Shape: shape, Partitions: 1}), life: rollcall.NewLife()}
	t.Cleanup(func() {
		if t.Failed() {
			w.explain()
		}
		for _, g := range w.gates {
			g.release()
		}
		for _, worker := range w.workers {
			worker.end()
		}
	})
	return w
}

// Observe implements rollcall.Observer.
func (w *world[X]) Observe(e rollcall.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// reader is a store for looking on.
func (w *world[X]) reader() rollcall.Store[X] {
	w.looking.Do(func() { w.look = w.storage.Open(w.t) })
	return w.look
}

// count is how many events satisfy a condition.
func (w *world[X]) count(is func(rollcall.Event) bool) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if is(e) {
			n++
		}
	}
	return n
}

// stamped makes message n of the world's sender.
func (w *world[X]) stamped(n int, key string) rollcall.Message {
	return rollcall.Message{
		ID: rollcall.MessageID(fmt.Sprintf("id-%d", n)), Key: key, Body: fmt.Appendf(nil, `{"n":%d}`, n), Time: time.Now(),
		Stamp: rollcall.Stamp{Life: w.life, Sequence: uint64(n), Origin: rollcall.OriginOf(destination)},
	}
}

// owned makes message n with an id of the application's own.
func (w *world[X]) owned(n int, key, id string) rollcall.Message {
	m := w.stamped(n, key)
	m.ID = rollcall.MessageID(id)
	m.Stamp.OwnID = true
	return m
}

func (w *world[X]) send(messages ...rollcall.Message) {
	w.t.Helper()
	for i, r := range w.broker.Sender().Publish(context.Background(), destination, messages) {
		if r.Fate != rollcall.Stored {
			w.t.Fatalf("message %d was not stored: %v", i, r.Err)
		}
	}
}

// record is the usual handler: one line a message.
func (w *world[X]) record(ctx context.Context, tx X, m rollcall.Message) error {
	return w.storage.Record(ctx, tx, line(m))
}

func line(m rollcall.Message) string { return m.Key + " " + string(m.Body) }

// worker is one engine with a connection of its own: a process.
type worker[X any] struct {
	world  *world[X]
	store  *faultyStore[X]
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error
	once   sync.Once
}

// options of a worker.
type options[X any] struct {
	config  rollcall.ConsumerConfig
	handler rollcall.Handler[X]
	batch   rollcall.BatchHandler[X]
	// at is called at every step; what it returns is the step's error.
	at func(ctx context.Context, wk *worker[X], step string, inWork int) error
	// store prepares the faults of the worker's connection.
	store func(*faultyStore[X])
}

func (w *world[X]) start(o options[X]) *worker[X] {
	w.t.Helper()
	wk := &worker[X]{world: w, store: newFaultyStore(w.storage.Open(w.t), w.storage.Kill), done: make(chan struct{})}
	if o.store != nil {
		o.store(wk.store)
	}
	if o.handler == nil {
		o.handler = w.record
	}
	c := o.config
	c.Observer = w
	if c.Drain == 0 {
		c.Drain = 5 * time.Second
	}
	c.Retry.First = or(c.Retry.First, 5*time.Millisecond)
	ctx, cancel := context.WithCancelCause(context.Background())
	wk.cancel = cancel
	if o.at != nil {
		ctx = failpoint.With(ctx, func(ctx context.Context, step string, n int) error { return o.at(ctx, wk, step, n) })
	}
	consumer := rollcall.NewConsumer[X](group, w.broker.Source(destination), wk.store, o.handler, c)
	if o.batch != nil {
		consumer = rollcall.NewBatchConsumer[X](group, w.broker.Source(destination), wk.store, o.batch, c)
	}
	w.workers = append(w.workers, wk)
	go func() {
		defer close(wk.done)
		wk.err = consumer.Run(ctx)
	}()
	wait(w.t, "the worker to join its group", func() bool {
		return wk.member() != nil || closed(wk.done)
	})
	return wk
}

func or(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// stop drains the worker, as at SIGTERM.
func (wk *worker[X]) stop() {
	wk.world.t.Helper()
	wk.cancel(nil)
	select {
	case <-wk.done:
	case <-time.After(patience):
		wk.world.t.Fatal("the worker did not drain")
	}
	if wk.err != nil {
		wk.world.t.Fatalf("the worker ended with %v", wk.err)
	}
}

// kill is SIGKILL as the servers see it: the connection to the store is gone,
// its transactions are rolled back, the broker's session times out.
func (wk *worker[X]) kill() {
	wk.once.Do(func() {
		wk.store.Kill()
		if m := wk.member(); m != nil {
			go m.Expire()
		}
		wk.cancel(rollcall.ErrAbort)
	})
}

// member is the worker's place in its group, nil if it has none.
func (wk *worker[X]) member() *memory.Subscription {
	name := wk.store.worker.Load()
	for _, m := range wk.world.broker.Members(group, destination) {
		if name != nil && m.Worker() == *name {
			return m
		}
	}
	return nil
}

var errKilled = errors.New("killed")

// end is for cleaning up, whatever state the worker is in.
func (wk *worker[X]) end() {
	wk.kill()
	select {
	case <-wk.done:
	case <-time.After(patience):
		wk.world.t.Error("a killed worker's goroutines did not end")
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// wait polls until cond holds; past patience the case fails and says for what.
func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// waitLines waits until the ledger has n lines, and then that it stays so.
func (w *world[X]) waitLines(n int) []string {
	w.t.Helper()
	wait(w.t, fmt.Sprintf("%d effects", n), func() bool { return len(w.storage.Ledger(w.t)) >= n })
	return w.storage.Ledger(w.t)
}

// waitIdle waits until everything stored is recorded (settled, where there are
// no positions) and no row waits.
func (w *world[X]) waitIdle() {
	w.t.Helper()
	store := w.reader()
	wait(w.t, "the backlog to be finished", func() bool {
		rows, err := store.Asides().List(context.Background(), group, rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideWaiting}})
		if err != nil || len(rows) > 0 {
			return false
		}
		if !w.broker.Capabilities().Positions {
			return w.broker.Settled(group, destination)
		}
		return w.recorded(store)
	})
}

// recorded: every offset is in the roll of its partition.
func (w *world[X]) recorded(store rollcall.Store[X]) bool {
	w.t.Helper()
	extents, err := w.broker.Source(destination).Measure(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, x := range extents {
		rows, err := store.Rolls(context.Background(), group, []rollcall.Scope{rollcall.PartitionScope(x.Partition, x.Incarnation)})
		if err != nil {
			return false
		}
		r, err := rollcall.OpenRoll(rows[0])
		if err != nil {
			w.t.Fatal(err)
		}
		if r.Floor() < uint64(x.End) {
			return false
		}
	}
	return true
}

// redeliver makes the broker bring everything again, and waits until that is
// settled too.
func (w *world[X]) redeliver() {
	w.t.Helper()
	w.broker.Redeliver(group)
	wait(w.t, "the redelivery to be settled", func() bool { return w.broker.Settled(group, destination) })
	w.waitIdle()
}

// expect compares the ledger with what should be in it, each line once, in
// whatever order.
func (w *world[X]) expect(lines ...string) {
	w.t.Helper()
	got := slices.Sorted(slices.Values(w.storage.Ledger(w.t)))
	want := slices.Sorted(slices.Values(lines))
	if !slices.Equal(got, want) {
		w.t.Fatalf("effects:\n got %s\nwant %s", strings.Join(got, " | "), strings.Join(want, " | "))
	}
}

// asides are the rows of these states, or of all.
func (w *world[X]) asides(states ...rollcall.AsideState) []rollcall.Aside {
	w.t.Helper()
	if len(states) == 0 {
		states = []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked, rollcall.AsideAttempt,
			rollcall.AsideDone, rollcall.AsideDiscarded}
	}
	rows, err := w.reader().Asides().List(context.Background(), group, rollcall.AsideFilter{States: states, Max: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// tally is the books of the destination.
func (w *world[X]) tally() rollcall.Tally {
	w.t.Helper()
	all, err := w.reader().Upkeep().Tally(context.Background(), group)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, t := range all {
		if t.Destination == destination {
			return t
		}
	}
	return rollcall.Tally{}
}

// floor is the floor of the partition's roll.
func (w *world[X]) floor() uint64 {
	w.t.Helper()
	extents, err := w.broker.Source(destination).Measure(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	rows, err := w.reader().Rolls(context.Background(), group,
		[]rollcall.Scope{rollcall.PartitionScope(extents[0].Partition, extents[0].Incarnation)})
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := rollcall.OpenRoll(rows[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Floor()
}

// gate stops a goroutine at a point until it is released.
type gate struct {
	first    sync.Once
	released sync.Once
	reached  chan struct{}
	open     chan struct{}
}

// gate makes one that is released at the end of the case at the latest.
func (w *world[X]) gate() *gate {
	g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	w.gates = append(w.gates, g)
	return g
}

// pass blocks the first caller; later ones go through.
func (g *gate) pass() {
	first := false
	g.first.Do(func() { first = true; close(g.reached) })
	if first {
		<-g.open
	}
}

func (g *gate) release() { g.released.Do(func() { close(g.open) }) }

func (g *gate) wait(t testing.TB, what string) {
	t.Helper()
	select {
	case <-g.reached:
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
	}
}

// expireAll is a session timeout of every member: what they hold moves on.
func (w *world[X]) expireAll() {
	for _, m := range w.broker.Members(group, destination) {
		go m.Expire()
	}
	wait(w.t, "the broker to take everything back", func() bool { return len(w.broker.Members(group, destination)) == 0 })
}

// explain logs what happened last, when a case has failed.
func (w *world[X]) explain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events[max(0, len(w.events)-15):] {
		w.t.Logf("%T %+v", e, e)
	}
	for _, m := range w.broker.Members(group, destination) {
		w.t.Logf("member %s", m)
	}
}
