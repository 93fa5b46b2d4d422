package memory_test

import (
	"testing"

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
					Partitions: partitions,
				}
			})
		})
	}
}
