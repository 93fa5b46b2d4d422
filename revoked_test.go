package rollcall

import (
	"context"
	"testing"
	"time"
)

// releases are the holds that were given back.
type releases struct {
	Store[any]
	holds []Hold
}

func (r *releases) Release(_ context.Context, holds []Hold) error {
	r.holds = append(r.holds, holds...)
	return nil
}

// TestRevoked: a token counts as cleanly released only if the batch in hand was
// finished. What was given up at the drain's deadline, or lost, may have been in
// work: the next owner has to suspect it.
func TestRevoked(t *testing.T) {
	finished, slow, lost := Partition{"d", 0}, Partition{"d", 1}, Partition{"d", 2}
	store := &releases{}
	e := &engine[any]{Consumer: NewConsumer[any]("g", nil, store, nil, ConsumerConfig{Drain: 20 * time.Millisecond}),
		work: t.Context(), partitions: make(map[Partition]*runner), space: make(chan struct{}, 1)}
	aborted := make(map[Partition]bool)
	for _, p := range []Partition{finished, slow, lost} {
		r := &runner{partition: p, hold: Hold{Holder: Holder{Partition: p}, Token: 7}, abort: func() { aborted[p] = true },
			queue: make(chan *Batch, queueSize), quit: make(chan struct{}), done: make(chan struct{})}
		if p == finished {
			close(r.done)
		}
		e.partitions[p] = r
	}
	left := e.partitions[lost]
	e.Revoked(t.Context(), []Partition{finished, slow})
	e.Lost([]Partition{lost})
	if len(store.holds) != 1 || store.holds[0].Holder.Partition != finished {
		t.Errorf("released %v, want just the partition whose batch was finished", store.holds)
	}
	if aborted[finished] || !aborted[slow] {
		t.Errorf("aborted %v, want the slow one", aborted)
	}
	select {
	case <-left.quit:
	default:
		t.Error("the runner of a lost partition goes on")
	}
	if len(e.partitions) != 0 {
		t.Errorf("%d runners are kept", len(e.partitions))
	}
}
