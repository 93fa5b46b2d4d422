package audit_test

import (
	"context"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// sideAway sends books to another broker: those of a queue can be read by one group.
type sideAway struct {
	rollcall.Sender
	side *memory.Sender
}

func (s sideAway) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	if destination == rollcall.SideDestination {
		return s.side.Publish(ctx, destination, messages)
	}
	return s.Sender.Publish(ctx, destination, messages)
}

// MakeSide has nothing to do: the broker in memory makes what is missing.
func (sideAway) MakeSide(context.Context, string) error { return nil }

// TestQueue: a queue tells no positions. A message that a worker acknowledged first, and
// died, is missed once later ones took effect: suspected as long as somebody may hold it,
// then lost. What nobody came to yet is to go.
func TestQueue(t *testing.T) {
	queue, side := memory.New(memory.Config{Shape: memory.Shared}), memory.New(memory.Config{Partitions: 1})
	p := rollcall.NewPublisher(sideAway{queue.Sender(), side.Sender()}, rollcall.PublisherConfig{Books: rollcall.BooksConfig{Sender: "shop"}})
	for range 20 {
		p.Publish(t.Context(), "orders", rollcall.Message{Body: []byte("x")})
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	sub, err := queue.Source("orders").Subscribe(t.Context(), rollcall.SubscribeRequest{Group: "billing", Worker: "careless"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	batches, err := sub.Fetch(t.Context(), rollcall.FetchRequest{Max: 20, Min: 20, Wait: time.Minute})
	if err != nil || len(batches) != 1 || len(batches[0].Deliveries) != 20 {
		t.Fatalf("%d batches, %v", len(batches), err)
	}
	for _, n := range []int{2, 19} {
		if err := sub.Settle(t.Context(), []rollcall.Settlement{{Partition: batches[0].Partition, Receipt: batches[0].Deliveries[n].Receipt}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	if err := sub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := openStore(t)
	consume(t, "billing", queue.Source("orders"), store)
	w := watchOf(t, "orders", audit.Inputs{Log: queue.Source("orders"), Side: side.Source(rollcall.SideDestination), Store: store},
		audit.Config{Group: "billing", Grace: time.Minute, Hold: time.Hour})
	now := time.Now()
	for _, at := range []struct {
		after time.Duration
		says  string
	}{
		{0, "open 3 at effect: not-found"},
		{61 * time.Minute, "suspected 3 at effect: not-found"},
		{63 * time.Minute, "lost 3 at effect: not-found"},
	} {
		r := step(t, w, now.Add(at.after))
		want(t, r, at.says)
		if s := r.Totals[audit.AtEffect]; s.Stored != 20 || s.Present != 18 || s.ToGo != 1 {
			t.Errorf("after %v: %+v, want 18 of 20, and the last one to go", at.after, s)
		}
	}
	if _, err := audit.NewWatch(t.Context(), "orders", audit.Inputs{Log: queue.Source("orders"), Tap: true}, audit.Config{}); err == nil {
		t.Error("a queue was tapped")
	}
}
