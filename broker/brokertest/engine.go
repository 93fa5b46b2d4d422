package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/store/memory"
)

func engineCases() []Case {
	return []Case{
		{"effects-crash-between-steps", effectsCrash},
		{"effects-many-workers", one(effectsManyWorkers)},
		{"effects-many-senders", one(effectsManySenders)},
		{"effects-publisher", one(effectsPublisher)},
		{"publisher-unknown", one(publisherUnknown)},
		{"effects-until-empty", one(effectsUntilEmpty)},
	}
}

// steps are the points between two steps of the protocol.
var steps = []string{"begin", "token", "keys", "behind", "effects", "effect", "rolls", "asides", "counts", "commit", "committed", "settle"}

// worker is an engine on the broker under test and a store in memory.
type worker struct {
	t      testing.TB
	store  *memory.Store
	cancel context.CancelCauseFunc
	done   chan error
}

func work(t testing.TB, b Broker, db *memory.Database, config rollcall.ConsumerConfig, at func(w *worker, step string, n int) error) *worker {
	ctx, cancel := context.WithCancelCause(context.Background())
	w := &worker{t: t, store: memory.Open(db), cancel: cancel, done: make(chan error, 1)}
	if at != nil {
		ctx = failpoint.With(ctx, func(_ context.Context, step string, n int) error { return at(w, step, n) })
	}
	c := rollcall.NewConsumer(b.Group, b.Source(t, b.Destination), w.store, func(ctx context.Context, tx *memory.Tx, m rollcall.Message) error {
		return tx.Append(ctx, "ledger", m.Key+" "+string(m.Body))
	}, config)
	go func() {
		err := c.Run(ctx)
		if ctx.Err() == nil { // nobody killed it
			t.Errorf("a worker ended by itself: %v", err)
		}
		w.done <- err
	}()
	t.Cleanup(func() {
		w.kill()
		w.ended()
	})
	return w
}

var errKilled = errors.New("killed")

// kill ends the engine at once; its connection to the store is cut.
func (w *worker) kill() {
	w.store.Kill()
	w.cancel(rollcall.ErrAbort)
}

// ended waits for the goroutines of a killed worker.
func (w *worker) ended() {
	w.t.Helper()
	select {
	case err := <-w.done:
		w.done <- err
	case <-time.After(patience):
		w.t.Fatalf("waited %v for a killed worker to end", patience)
	}
}

func ledger(db *memory.Database) []string {
	var out []string
	for _, line := range db.All("ledger") {
		out = append(out, line.(string))
	}
	return out
}

func expect(t testing.TB, db *memory.Database, want []string) {
	t.Helper()
	wait(t, fmt.Sprintf("%d effects", len(want)), func() bool { return len(ledger(db)) >= len(want) })
	got := slices.Sorted(slices.Values(ledger(db)))
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Fatalf("effects:\n got %s\nwant %s", strings.Join(got, " | "), strings.Join(want, " | "))
	}
}

// load publishes n messages over all partitions, every fourth one twice.
func load(t testing.TB, b Broker, n int) (lines []string) {
	s := newStamper(b)
	sender := b.Sender(t)
	var batch []rollcall.Message
	for i := range n {
		m := s.message(int32(i%b.Partitions), fmt.Sprintf("k%d", i%b.Partitions), numbered(i))
		m.Stamp.OwnID = true
		batch = append(batch, m)
		if i%4 == 0 {
			batch = append(batch, m)
		}
		lines = append(lines, m.Key+" "+string(m.Body))
	}
	publish(t, sender, batch...)
	return lines
}

// effectsCrash kills a worker at each step with messages in work; the next one
// finishes. Rolls alone, Inbox alone, and both.
func effectsCrash(t *testing.T, h Harness) {
	rolls := []rollcall.Strategy{rollcall.ByStamp}
	if b := h(t).withDefaults(); b.Source(t, b.Destination).Capabilities().Positions {
		rolls = append(rolls, rollcall.ByPosition)
	}
	for _, by := range [][]rollcall.Strategy{nil, rolls, {rollcall.ByKey}} {
		for _, step := range steps {
			t.Run(fmt.Sprintf("%s-%v", step, by), func(t *testing.T) {
				t.Parallel() // a queue brings what a killed worker had only after a while
				crashAt(t, h(t).withDefaults(), by, step)
			})
		}
	}
}

func crashAt(t *testing.T, b Broker, by []rollcall.Strategy, step string) {
	t.Helper()
	lines := load(t, b, 40)
	db := memory.NewDatabase(memory.Config{})
	config := rollcall.ConsumerConfig{Batch: 3, Dedup: rollcall.DedupConfig{By: by}}
	var bitten, seen atomic.Int64
	victim := work(t, b, db, config, func(w *worker, at string, n int) error {
		if at == step && n > 0 && seen.Add(1) == 2 {
			bitten.Store(int64(n))
			w.kill()
			return errKilled
		}
		return nil
	})
	wait(t, "the kill at step "+step, func() bool { return bitten.Load() > 0 })
	victim.ended()
	t.Logf("by %v: killed at %s with %d messages in work", by, step, bitten.Load())
	next := work(t, b, db, config, nil)
	expect(t, db, lines)
	next.kill()
	next.ended()
}

// effectsManyWorkers: one sender, four workers that come and go.
func effectsManyWorkers(t *testing.T, b Broker) {
	db := memory.NewDatabase(memory.Config{})
	config := rollcall.ConsumerConfig{Batch: 5, Retry: rollcall.RetryConfig{Attempts: 50}}
	workers := make([]*worker, 4)
	for i := range workers {
		workers[i] = work(t, b, db, config, nil)
	}
	var lines []string
	s := newStamper(b)
	sender := b.Sender(t)
	for i := range 120 {
		m := s.message(int32(i%b.Partitions), fmt.Sprintf("k%d", i%b.Partitions), numbered(i))
		publish(t, sender, m, m)
		lines = append(lines, m.Key+" "+string(m.Body))
		if i%40 == 39 {
			victim := i / 40
			workers[victim].kill()
			workers[victim].ended()
			workers[victim] = work(t, b, db, config, nil)
		}
	}
	expect(t, db, lines)
	last := make(map[string]string)
	for _, l := range ledger(db) {
		key, body, _ := strings.Cut(l, " ")
		if b.Source(t, b.Destination).Capabilities().Exclusive && body < last[key] {
			t.Fatalf("key %s: %s after %s", key, body, last[key])
		}
		last[key] = body
	}
}

// effectsManySenders: many lives, one worker.
func effectsManySenders(t *testing.T, b Broker) {
	db := memory.NewDatabase(memory.Config{})
	var lines []string
	sender := b.Sender(t)
	for n := range 50 {
		s := newStamper(b)
		m := s.message(int32(n%b.Partitions), "", numbered(n))
		publish(t, sender, m, m)
		lines = append(lines, " "+string(m.Body))
	}
	work(t, b, db, rollcall.ConsumerConfig{}, nil)
	expect(t, db, lines)
}

// effectsPublisher: a Publisher whose answers are lost sends again, with the
// same id and stamp; each message takes effect once.
func effectsPublisher(t *testing.T, b Broker) {
	db := memory.NewDatabase(memory.Config{})
	lossy := &lossySender{Sender: b.Sender(t)}
	p := rollcall.NewPublisher(lossy, rollcall.PublisherConfig{Batch: 7, RetryFirst: time.Millisecond})
	var lines []string
	var messages []rollcall.Message
	for i := range 100 {
		messages = append(messages, rollcall.Message{Key: fmt.Sprintf("k%d", i%5), Body: []byte(numbered(i))})
		lines = append(lines, fmt.Sprintf("k%d %s", i%5, numbered(i)))
	}
	for i, r := range p.Publish(context.Background(), b.Destination, messages...) {
		if r.Fate != rollcall.Stored {
			t.Fatalf("message %d: %v %v", i, r.Fate, r.Err)
		}
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if lossy.lost == 0 {
		t.Fatal("no answer was lost: the case shows nothing")
	}
	work(t, b, db, rollcall.ConsumerConfig{}, nil)
	expect(t, db, lines)
}

// publisherUnknown: an answer that never comes is Unknown, neither stored nor
// refused, and says that it may be stored.
func publisherUnknown(t *testing.T, b Broker) {
	deaf := &deafSender{b.Sender(t)}
	p := rollcall.NewPublisher(deaf, rollcall.PublisherConfig{RetryFirst: time.Millisecond, Timeout: 50 * time.Millisecond})
	results := p.Publish(context.Background(), b.Destination, rollcall.Message{Body: []byte("one")}, rollcall.Message{Body: []byte("two")})
	for _, r := range results {
		if r.Fate != rollcall.Unknown || !errors.Is(r.Err, rollcall.ErrInDoubt) {
			t.Fatalf("%v %v, want unknown and in doubt", r.Fate, r.Err)
		}
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// deafSender stores, and never hears that it did.
type deafSender struct{ rollcall.Sender }

func (s *deafSender) Publish(ctx context.Context, d string, ms []rollcall.Message) []rollcall.PublishResult {
	s.Sender.Publish(ctx, d, ms)
	return make([]rollcall.PublishResult, len(ms))
}

// lossySender loses every second answer.
type lossySender struct {
	rollcall.Sender
	calls, lost int
}

func (s *lossySender) Publish(ctx context.Context, d string, ms []rollcall.Message) []rollcall.PublishResult {
	results := s.Sender.Publish(ctx, d, ms)
	if s.calls++; s.calls%2 == 1 {
		s.lost++
		for i := range results {
			results[i] = rollcall.PublishResult{Err: errors.New("brokertest: the answer was lost")}
		}
	}
	return results
}

// effectsUntilEmpty: what is there is worked off, and the run ends; the later ones find
// nothing to do.
func effectsUntilEmpty(t *testing.T, b Broker) {
	source := b.Source(t, b.Destination)
	lines := load(t, b, 30)
	db := memory.NewDatabase(memory.Config{})
	c := rollcall.NewConsumer(b.Group, source, memory.Open(db), func(ctx context.Context, tx *memory.Tx, m rollcall.Message) error {
		return tx.Append(ctx, "ledger", m.Key+" "+string(m.Body))
	}, rollcall.ConsumerConfig{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 3 {
		if err := c.RunUntilEmpty(ctx); err != nil {
			t.Fatal(err)
		}
		expect(t, db, lines)
	}
}
