package memory_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/brokertest"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func TestBroker(t *testing.T) {
	for name, shape := range map[string]memory.Shape{"replayable": memory.Replayable, "exclusive": memory.Exclusive, "shared": memory.Shared} {
		t.Run(name, func(t *testing.T) {
			brokertest.Run(t, func(testing.TB) brokertest.Broker {
				b := memory.New(memory.Config{Shape: shape})
				partitions := 4
				if shape == memory.Shared {
					partitions = 1
				}
				return brokertest.Broker{
					Sender:     func(testing.TB) rollcall.Sender { return b.Sender() },
					Source:     func(_ testing.TB, d string) rollcall.Source { return b.Source(d) },
					Recreate:   func(_ testing.TB, d string) { b.Recreate(d) },
					Remove:     func(_ testing.TB, d string, partition int32, below int64) { b.Remove(d, partition, below) },
					Partitions: partitions,
				}
			})
		})
	}
}

// lateOwner cannot take its partitions at first.
type lateOwner struct {
	asked atomic.Int32
	taken chan struct{}
}

func (o *lateOwner) Assigned(_ context.Context, as []rollcall.Assignment) ([]rollcall.Start, error) {
	switch o.asked.Add(1) {
	case 1:
		return nil, errors.New("the store is away")
	case 2:
		close(o.taken)
	}
	return make([]rollcall.Start, len(as)), nil
}
func (o *lateOwner) Revoked(context.Context, []rollcall.Partition) {}
func (o *lateOwner) Lost([]rollcall.Partition)                     {}

// TestAskedAgain: an owner whose store was away when it was asked is asked again:
// nobody else would take its partitions.
func TestAskedAgain(t *testing.T) {
	b, owner := memory.New(memory.Config{Shape: memory.Replayable}), &lateOwner{taken: make(chan struct{})}
	s, err := b.Source("orders").Subscribe(t.Context(), rollcall.SubscribeRequest{Group: "g", Worker: "w"}, owner)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(context.Background()) }()
	select {
	case <-owner.taken:
	case <-time.After(10 * time.Second):
		t.Fatal("waited 10s for Assigned to be called again")
	}
}
