package rollcall_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	broker "github.com/rollcall-mq/rollcall/broker/memory"
	store "github.com/rollcall-mq/rollcall/store/memory"
)

// TestRemade: a destination that was made again while nobody ran is told with the first
// run, by how much was done of the one before; the new one is read from its beginning.
func TestRemade(t *testing.T) {
	b, db := broker.New(broker.Config{Partitions: 2}), store.NewDatabase(store.Config{})
	var done atomic.Int32
	run := func(observer rollcall.Observer) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		count := func(context.Context, *store.Tx, rollcall.Message) error { done.Add(1); return nil }
		if err := rollcall.NewConsumer("g", b.Source("orders"), store.Open(db), count, rollcall.ConsumerConfig{Observer: observer}).RunUntilEmpty(ctx); err != nil {
			t.Fatal(err)
		}
	}
	send := func(n int) {
		t.Helper()
		p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Observer: &events{}})
		for _, r := range p.Publish(t.Context(), "orders", make([]rollcall.Message, n)...) {
			if r.Fate != rollcall.Stored {
				t.Fatal(r.Err)
			}
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	send(10)
	first, second := &events{}, &events{}
	run(first)
	b.Recreate("orders")
	send(3)
	run(second)
	if done.Load() != 13 || len(first.remade()) != 0 || len(second.remade()) != 1 || second.remade()[0] != (rollcall.Remade{Destination: "orders", Done: 10}) {
		t.Errorf("%d took effect, told %v, then %v", done.Load(), first.remade(), second.remade())
	}
}

func (e *events) remade() (out []rollcall.Remade) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		if r, ok := event.(rollcall.Remade); ok {
			out = append(out, r)
		}
	}
	return out
}
