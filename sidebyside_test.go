package rollcall

import (
	"context"
	"errors"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// noStore is a store that cannot be reached.
type noStore struct{ Store[any] }

func (noStore) Begin(context.Context) (Tx[any], error) { return nil, errors.New("no connection") }
func (noStore) Classify(error) Class                   { return ClassEnvironment }

// TestSideBySide: a part is durable when all of its transactions are, whichever
// of them is not: else what they left out would be settled.
func TestSideBySide(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	e := &engine[any]{Consumer: NewConsumer[any]("g", nil, noStore{}, nil, ConsumerConfig{})}
	s := &subject{deliveries: make([]Delivery, 1), identities: make([]Identity, 1), cache: newRollCache(Scope{})}
	nothing := protocol.Work{Kind: protocol.OfBatch, CoveredRoll: -1}
	work := nothing
	work.Items = []protocol.Item{{Original: -1}}
	for i := range 3 {
		works := []protocol.Work{nothing, nothing, nothing}
		works[i] = work
		if err := e.sideBySide(ctx, Hold{}, s, works); !errors.Is(err, stopped) {
			t.Errorf("transaction %d of 3 did not end: %v, want %v", i, err, stopped)
		}
	}
	if err := e.sideBySide(ctx, Hold{}, s, []protocol.Work{nothing, nothing}); err != nil {
		t.Error(err)
	}
}
