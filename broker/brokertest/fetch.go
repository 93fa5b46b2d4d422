package brokertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func fetchCases() []Case {
	return []Case{
		{"fetch-bounds", one(fetchBounds)},
		{"fetch-waits", one(fetchWaits)},
		{"fetch-paused", one(fetchPaused)},
		{"fetch-cancelled", one(fetchCancelled)},
		{"settle", one(settle)},
		{"receipt-of-older-session", one(staleReceipt)},
		{"restart", one(restart)},
		{"replay", one(replay)},
		{"other-incarnation", one(otherIncarnation)},
		{"beyond-the-end", one(beyondTheEnd)},
		{"empty", one(empty)},
	}
}

// fetchBounds: at most Max messages a batch, one batch a partition, in order.
func fetchBounds(t *testing.T, b Broker) {
	s := newStamper(b)
	var all []rollcall.Message
	for i := range 25 {
		all = append(all, s.message(0, "", numbered(i)))
	}
	publish(t, b.Sender(t), all...)
	m := join(t, b, "w", nil)
	var got []string
	for len(got) < 25 {
		batches, err := m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[rollcall.Partition]bool)
		for _, batch := range batches {
			if len(batch.Deliveries) > 10 || seen[batch.Partition] {
				t.Fatalf("a batch of %d messages, or two of one partition; want at most 10", len(batch.Deliveries))
			}
			seen[batch.Partition] = true
		}
		got = append(got, bodies(batches)...)
	}
	if !slices.IsSorted(asStored(t, b, got)) || len(slices.Compact(got)) != 25 {
		t.Fatalf("got %v", got)
	}
	m.nothing("though all were handed over already")
}

// fetchWaits: not longer than Wait for too few; at once when there are enough.
func fetchWaits(t *testing.T, b Broker) {
	s := newStamper(b)
	sender := b.Sender(t)
	publish(t, sender, s.message(0, "", "one"))
	m := join(t, b, "w", nil)
	m.read(1)
	started := time.Now()
	publish(t, sender, s.message(0, "", "two"))
	batches, err := m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 5, Wait: 300 * time.Millisecond})
	if err != nil || len(bodies(batches)) != 1 {
		t.Fatalf("got %v (%v), want the one that is there", bodies(batches), err)
	}
	if took := time.Since(started); took < 250*time.Millisecond {
		t.Fatalf("Fetch returned after %v with 1 of 5 messages; it should have waited 300ms for more", took)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		sender.Publish(context.Background(), b.Destination, []rollcall.Message{s.message(0, "", "three")})
	}()
	started = time.Now()
	batches, err = m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: patience})
	if err != nil || len(bodies(batches)) != 1 {
		t.Fatalf("got %v (%v), want the one that came", bodies(batches), err)
	}
	if took := time.Since(started); took > patience/2 {
		t.Fatalf("Fetch took %v though a message came after 50ms", took)
	}
}

// fetchPaused: nothing of a partition whose queue is full; it comes later.
func fetchPaused(t *testing.T, b Broker) {
	s := newStamper(b)
	sender := b.Sender(t)
	publish(t, sender, s.message(0, "", "one"))
	m := join(t, b, "w", nil)
	m.read(1)
	publish(t, sender, s.message(0, "", "two"))
	batches, err := m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 150 * time.Millisecond,
		Paused: []rollcall.Partition{{Destination: b.Destination}}})
	if err != nil || len(batches) != 0 {
		t.Fatalf("got %v (%v) of a paused partition", bodies(batches), err)
	}
	if got := bodies(m.read(1)); !slices.Equal(got, []string{"two"}) {
		t.Fatalf("got %v after the pause", got)
	}
}

// fetchCancelled: Fetch ends soon after its context.
func fetchCancelled(t *testing.T, b Broker) {
	publish(t, b.Sender(t), newStamper(b).message(0, "", "one"))
	m := join(t, b, "w", nil)
	m.read(1)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, _ = m.sub.Fetch(ctx, rollcall.FetchRequest{Max: 10, Min: 1, Wait: patience})
	if took := time.Since(started); took > patience/2 {
		t.Fatalf("Fetch took %v after its context ended", took)
	}
}

// settle: what is acked does not come again to a later member, where the
// broker remembers; what is not, does.
func settle(t *testing.T, b Broker) {
	s := newStamper(b)
	publish(t, b.Sender(t), s.message(0, "", "acked"), s.message(0, "", "left"))
	m := join(t, b, "w", nil)
	batches := m.read(2)
	for i, err := range m.sub.Settle(context.Background(), settleAll(batches, rollcall.Ack)[:1]) {
		if err != nil {
			t.Fatalf("settlement %d: %v", i, err)
		}
	}
	m.close()
	again := join(t, b, "w2", nil)
	can := b.Source(t, b.Destination).Capabilities()
	if can.Positions { // the store's roll decides where to start, never the broker
		if got := bodies(again.read(2)); !slices.Equal(got, []string{"acked", "left"}) {
			t.Fatalf("got %v from the earliest position", got)
		}
		return
	}
	got := again.read(1)
	if !slices.Equal(bodies(got), []string{"left"}) || !got[0].Deliveries[0].Redelivered {
		t.Fatalf("got %v (redelivered: %v), want just what was not acked, marked", bodies(got), got[0].Deliveries[0].Redelivered)
	}
}

// staleReceipt: receipts die with their session; the driver itself refuses.
func staleReceipt(t *testing.T, b Broker) {
	publish(t, b.Sender(t), newStamper(b).message(0, "", "one"))
	m := join(t, b, "w", nil)
	old := m.read(1)
	if err := m.sub.Restart(context.Background(), old[0].Partition, rollcall.Start{Token: 500}); err != nil {
		t.Fatal(err)
	}
	for _, err := range m.sub.Settle(context.Background(), settleAll(old, rollcall.Ack)) {
		if !errors.Is(err, rollcall.ErrStaleReceipt) {
			t.Fatalf("a receipt of before the restart: %v, want ErrStaleReceipt", err)
		}
	}
	if got := bodies(m.read(1)); !slices.Equal(got, []string{"one"}) {
		t.Fatalf("after the restart came %v", got)
	}
	if b.Source(t, b.Destination).Capabilities().Exclusive {
		stranger := rollcall.Settlement{Partition: rollcall.Partition{Destination: b.Destination, Number: 999}}
		if err := m.sub.Settle(context.Background(), []rollcall.Settlement{stranger})[0]; !errors.Is(err, rollcall.ErrNotOwner) {
			t.Fatalf("settling in a partition of others: %v, want ErrNotOwner", err)
		}
	}
}

// restart: what was handed over and not settled comes again, under the new
// token; batches handed over before keep theirs.
func restart(t *testing.T, b Broker) {
	s := newStamper(b)
	publish(t, b.Sender(t), s.message(0, "", "one"), s.message(0, "", "two"))
	m := join(t, b, "w", nil)
	before := m.read(2)
	old := before[0].Token
	if old == 0 {
		t.Fatal("the batch carries no token")
	}
	if err := m.sub.Restart(context.Background(), before[0].Partition, rollcall.Start{Token: old + 100}); err != nil {
		t.Fatal(err)
	}
	after := m.read(2)
	if !slices.Equal(asStored(t, b, bodies(after)), []string{"one", "two"}) || after[0].Token != old+100 || before[0].Token != old {
		t.Fatalf("after the restart: %v under token %d, want both under %d", bodies(after), after[0].Token, old+100)
	}
	err := m.sub.Restart(context.Background(), rollcall.Partition{Destination: b.Destination, Number: 999}, rollcall.Start{Token: 1})
	if b.Source(t, b.Destination).Capabilities().Exclusive && !errors.Is(err, rollcall.ErrNotOwner) {
		t.Fatalf("restart of a partition of others: %v, want ErrNotOwner", err)
	}
}

// replay: where there are positions, a start is exact.
func replay(t *testing.T, b Broker) {
	if !b.Source(t, b.Destination).Capabilities().Positions {
		return // nothing is promised; the engine uses stamps and keys
	}
	s := newStamper(b)
	var all []rollcall.Message
	for i := range 10 {
		all = append(all, s.message(0, "", numbered(i)))
	}
	results := located(t, b, publish(t, b.Sender(t), all...))
	for _, from := range []int{0, 1, 7, 9} {
		m := join(t, b, "w"+numbered(from), func(a rollcall.Assignment) rollcall.Start {
			start := rollcall.Start{Token: 5}
			if a.Partition.Number == 0 {
				start.Position = results[from].Position
			}
			return start
		})
		batches := m.read(10 - from)
		if got := bodies(batches); got[0] != numbered(from) || len(got) != 10-from {
			t.Fatalf("from position %d came %v", from, got)
		}
		for i, d := range batches[0].Deliveries {
			if !samePlace(d.Position, results[from+i].Position) {
				t.Fatalf("delivered at %+v, stored at %+v", d.Position, results[from+i].Position)
			}
		}
		m.close()
	}
	extents, err := b.Source(t, b.Destination).(rollcall.Measurer).Measure(context.Background())
	if err != nil || len(extents) != b.Partitions || extents[0].First != 0 || extents[0].End != 10 {
		t.Fatalf("measured %+v (%v), want 10 messages in the first of %d partitions", extents, err, b.Partitions)
	}
}

// otherIncarnation: a position of another incarnation is refused, never read
// as one of this.
func otherIncarnation(t *testing.T, b Broker) {
	if !b.Source(t, b.Destination).Capabilities().Positions {
		return // there are no positions to mistake
	}
	s := newStamper(b)
	publish(t, b.Sender(t), s.message(0, "", "one"), s.message(0, "", "two"))
	m := join(t, b, "w", func(a rollcall.Assignment) rollcall.Start {
		if a.Partition.Number != 0 {
			return rollcall.Start{Token: 1}
		}
		return rollcall.Start{Token: 1, Position: rollcall.Position{Incarnation: rollcall.Incarnation{1, 2, 3}, Offset: 1}}
	})
	for range 5 {
		batches, err := m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 50 * time.Millisecond})
		if len(batches) > 0 {
			t.Fatalf("got %v from a position of another incarnation", bodies(batches))
		}
		if err != nil {
			return // and it says so
		}
	}
}

// beyondTheEnd: a position past the end means that messages are gone: an
// error, never a silent reset.
func beyondTheEnd(t *testing.T, b Broker) {
	if !b.Source(t, b.Destination).Capabilities().Positions {
		return
	}
	publish(t, b.Sender(t), newStamper(b).message(0, "", "one"))
	m := join(t, b, "w", func(a rollcall.Assignment) rollcall.Start {
		if a.Partition.Number != 0 {
			return rollcall.Start{Token: 1}
		}
		return rollcall.Start{Token: 1, Position: rollcall.Position{Incarnation: a.Incarnation, Offset: 1000}}
	})
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		batches, err := m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 50 * time.Millisecond})
		if len(batches) > 0 {
			t.Fatalf("got %v from a position past the end", bodies(batches))
		}
		if errors.Is(err, rollcall.ErrDamaged) {
			return
		}
	}
	t.Fatal("a position past the end was not reported as damage")
}

// empty: a subscription without positions is empty when nothing waits and nothing that
// it was given is unsettled.
func empty(t *testing.T, b Broker) {
	if b.Source(t, b.Destination).Capabilities().Positions {
		return // Measurer tells
	}
	s := newStamper(b)
	sender := b.Sender(t)
	publish(t, sender, s.message(0, "", "one"))
	m := join(t, b, "w", nil)
	is := func() bool {
		empty, err := m.sub.(rollcall.Emptier).Empty(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return empty
	}
	got := m.read(1)
	if is() {
		t.Fatal("it is empty though what it was given is not settled")
	}
	for _, err := range m.sub.Settle(context.Background(), settleAll(got, rollcall.Ack)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "it to be empty", func() bool { m.nothing("though all is settled"); return is() })
	publish(t, sender, s.message(0, "", "two"))
	if is() {
		t.Fatal("it is empty though a message waits")
	}
	m.read(1)
}
