package rollcall_test

import (
	"context"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	memorystore "github.com/rollcall-mq/rollcall/store/memory"
)

// TestNameless: equal messages of a queue with nothing to tell them apart by are set aside
// each: none of them is taken for another.
func TestNameless(t *testing.T) {
	b, db := memory.New(memory.Config{Shape: memory.Shared}), memorystore.NewDatabase(memorystore.Config{})
	bare := rollcall.Message{Destination: "orders", Body: []byte("same")}
	for _, r := range b.Sender().Publish(t.Context(), "orders", []rollcall.Message{bare, bare, bare}) {
		if r.Fate != rollcall.Stored {
			t.Fatal(r.Err)
		}
	}
	store := memorystore.Open(db)
	never := func(context.Context, *memorystore.Tx, rollcall.Message) error { t.Error("it took effect"); return nil }
	if err := rollcall.NewConsumer("g", b.Source("orders"), store, never, rollcall.ConsumerConfig{Observer: new(events)}).RunUntilEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	dead, err := store.Asides().List(t.Context(), "g", rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}, Max: 10})
	if err != nil || len(dead) != 3 {
		t.Fatalf("%d rows are dead, want 3 (%v)", len(dead), err)
	}
}
