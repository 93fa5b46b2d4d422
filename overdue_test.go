package rollcall_test

import (
	"context"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	memorystore "github.com/rollcall-mq/rollcall/store/memory"
)

// TestOverdue: a message that lay in a queue for longer than repeats are recognised is
// told, once a minute; not of what can be replayed, which the window is checked against.
func TestOverdue(t *testing.T) {
	for shape, want := range map[memory.Shape]int{memory.Shared: 1, memory.Exclusive: 1, memory.Replayable: 0} {
		b, db := memory.New(memory.Config{Shape: shape}), memorystore.NewDatabase(memorystore.Config{})
		p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{})
		for range 3 {
			p.Publish(t.Context(), "orders", rollcall.Message{Body: []byte("old"), Time: time.Now().Add(-time.Hour)})
		}
		p.Publish(t.Context(), "orders", rollcall.Message{Body: []byte("young")})
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := new(events)
		c := rollcall.NewConsumer("g", b.Source("orders"), memorystore.Open(db), func(context.Context, *memorystore.Tx, rollcall.Message) error { return nil },
			rollcall.ConsumerConfig{Batch: 1, Observer: seen, Dedup: rollcall.DedupConfig{Window: 10 * time.Minute}})
		if err := c.RunUntilEmpty(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range seen.all {
			if o, is := e.(rollcall.Overdue); is {
				n++
				if o.Destination != "orders" || o.Age < time.Hour || o.Limit != 10*time.Minute {
					t.Errorf("%+v", o)
				}
			}
		}
		if n != want {
			t.Errorf("shape %d: told %d times, want %d", shape, n, want)
		}
	}
}
