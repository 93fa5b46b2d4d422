package rollcall

import (
	"context"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// outdatedStore is one whose transactions never are as believed.
type outdatedStore struct {
	Store[any]
	begun int
}

type outdatedTx struct{ Tx[any] }

func (s *outdatedStore) Begin(context.Context) (Tx[any], error) { s.begun++; return outdatedTx{}, nil }
func (*outdatedStore) Classify(error) Class                     { return ClassEnvironment }

func (outdatedTx) Fence(context.Context, Hold) error { return ErrOutdated }
func (outdatedTx) Rollback() error                   { return nil }

// TestOutdatedTwice: what was believed and is not so is asked at once. When that
// does not help it is something else, and waited out like any trouble.
func TestOutdatedTwice(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	store := &outdatedStore{}
	e := &engine[any]{Consumer: NewConsumer[any]("g", nil, store, nil, ConsumerConfig{Observer: silence{}})}
	s := &subject{deliveries: make([]Delivery, 1), identities: make([]Identity, 1), cache: newRollCache(Scope{})}
	_, err := e.transact(ctx, Hold{}, s, protocol.Work{Kind: protocol.OfBatch, CoveredRoll: -1, Items: []protocol.Item{{Original: -1}}})
	if err == nil || store.begun < 3 || store.begun > 20 {
		t.Errorf("begun %d times in 300ms (%v), want at once and then with pauses", store.begun, err)
	}
}

// silence is an observer that says nothing.
type silence struct{}

func (silence) Observe(Event) {}
