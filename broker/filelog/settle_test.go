package filelog_test

import (
	"errors"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// TestFlush: what is settled is written at once, and only by its owner.
func TestFlush(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, fast)
	create(t, l, "d", 1)
	fill(t, l, "d", 0, 0, 10)
	m := join(t, l, newOwner(), "d")
	got := m.take(t, 10)
	for i := range 5 {
		noErrors(t, m.settle(t, rollcall.Ack, got[i]))
		if err := m.Subscription.(filelog.Flusher).Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled, err := openLog(t, path, fast).Settled(t.Context(), "g")
		if err != nil || len(settled) != 1 || settled[0].Next != int64(i)+1 {
			t.Fatalf("after %d acks: %v, %v", i+1, settled, err)
		}
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Subscription.(filelog.Flusher).Flush(t.Context()); err != nil && !errors.Is(err, rollcall.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
