package brokertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func ownershipCases() []Case {
	return []Case{
		{"ownership-shared-out", one(ownershipSharedOut)},
		{"ownership-blocks", one(ownershipBlocks)},
		{"ownership-token-of-the-fetch", one(ownershipToken)},
		{"competing", one(competing)},
		{"recreated", one(recreated)},
	}
}

// ownershipSharedOut: every partition has one owner at a time; members get
// their share as they come, and what they leave goes to the others.
func ownershipSharedOut(t *testing.T, b Broker) {
	if !b.Source(t, b.Destination).Capabilities().Exclusive {
		return // see competing
	}
	first := ownsAll(t, b)
	second := join(t, b, "w2", nil)
	half := b.Partitions / 2
	wait(t, "both to have a half", func() bool { return first.owns() == b.Partitions-half && second.owns() == half })
	first.mu.Lock()
	for p := range second.owned {
		if _, both := first.owned[p]; both {
			t.Errorf("partition %v has two owners", p)
		}
		if !slices.Contains(first.revoked, p) {
			t.Errorf("partition %v moved without being revoked", p)
		}
	}
	first.mu.Unlock()
	first.close()
	wait(t, "the second to own all", func() bool { return second.owns() == b.Partitions })
}

// ownershipBlocks: a partition moves only when Revoked has returned, and
// Revoked needs no Fetch to return.
func ownershipBlocks(t *testing.T, b Broker) {
	if !b.Source(t, b.Destination).Capabilities().Exclusive {
		return
	}
	first := ownsAll(t, b)
	gate := make(chan struct{})
	first.mu.Lock()
	first.draining = gate
	first.mu.Unlock()
	if b.Partitions == 1 {
		oneMovesWhenLeft(t, b, first, gate)
		return
	}
	joined := make(chan *member)
	go func() { joined <- join(t, b, "w2", nil) }()
	wait(t, "the first member to be asked to let go", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return len(first.revoked) > 0
	})
	var second *member
	select {
	case second = <-joined:
		for begun := time.Now(); time.Since(begun) < letGoWatch; time.Sleep(time.Millisecond) {
			if n := second.owns(); n > 0 {
				t.Fatalf("%d partitions moved while Revoked was at work", n)
			}
		}
		close(gate)
	case <-time.After(letGoWatch): // it joins when there is something for it
		close(gate)
		second = <-joined
	}
	wait(t, "the second member to get its half", func() bool { return second.owns() == b.Partitions/2 })
}

// ownsAll is a member that has all partitions. Where the broker assigns nothing, the
// first message says whose they are.
func ownsAll(t *testing.T, b Broker) *member {
	t.Helper()
	if _, err := b.Sender(t).Lanes(context.Background(), b.Destination); err != nil {
		t.Fatal(err)
	}
	if !b.Source(t, b.Destination).Capabilities().Positions {
		publish(t, b.Sender(t), newStamper(b).message(0, "", "one"))
	}
	m := join(t, b, "w1", nil)
	wait(t, "the first member to own all", func() bool { return m.owns() == b.Partitions })
	return m
}

// oneMovesWhenLeft: the only partition goes to the next member when the first has
// drained it.
func oneMovesWhenLeft(t *testing.T, b Broker, first *member, gate chan struct{}) {
	second := join(t, b, "w2", nil)
	left := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		left <- first.sub.Close(ctx)
	}()
	wait(t, "the first member to be asked to let go", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return len(first.revoked) > 0
	})
	for begun := time.Now(); time.Since(begun) < letGoWatch; time.Sleep(time.Millisecond) {
		if n := second.owns(); n > 0 {
			t.Fatalf("%d partitions moved while Revoked was at work", n)
		}
	}
	close(gate)
	if err := <-left; err != nil {
		t.Fatal(err)
	}
	wait(t, "the second member to get it", func() bool { return second.owns() == 1 })
}

// letGoWatch is how long it is watched that nothing moves: longer than a group of Kafka
// takes to meet again.
const letGoWatch = 2 * time.Second

// ownershipToken: a batch carries the token of the assignment under which it
// was fetched.
func ownershipToken(t *testing.T, b Broker) {
	publish(t, b.Sender(t), newStamper(b).message(0, "", "one"))
	m := join(t, b, "w", func(rollcall.Assignment) rollcall.Start { return rollcall.Start{Token: 4711} })
	want := rollcall.Token(4711)
	if !b.Source(t, b.Destination).Capabilities().Exclusive {
		want = sharedToken
	}
	if batch := m.read(1)[0]; batch.Token != want {
		t.Fatalf("the batch carries token %d, want %d", batch.Token, want)
	}
}

// competing: members of shared partitions get different messages; what one
// leaves unsettled comes to the other.
func competing(t *testing.T, b Broker) {
	if b.Source(t, b.Destination).Capabilities().Exclusive {
		return // see ownership-shared-out
	}
	s := newStamper(b)
	var want []string
	for i := range 20 {
		publish(t, b.Sender(t), s.message(0, "", numbered(i)))
		want = append(want, numbered(i))
	}
	first := joinBy(t, b, b.Narrow(t, b.Destination), "w1", nil)
	batches, err := first.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 8, Min: 8, Wait: patience})
	if err != nil {
		t.Fatal(err)
	}
	second := joinBy(t, b, b.Narrow(t, b.Destination), "w2", nil)
	var rest []rollcall.Batch
	for len(bodies(rest)) < 12 { // settled as they come: it may take no more before that
		got := second.read(1)
		for _, err := range second.sub.Settle(context.Background(), settleAll(got, rollcall.Ack)) {
			if err != nil {
				t.Fatal(err)
			}
		}
		rest = append(rest, got...)
	}
	got := append(bodies(batches), bodies(rest)...)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("both together got %v", got)
	}
	first.close()
	again := second.read(8)
	if !slices.Equal(asStored(t, b, bodies(again)), asStored(t, b, bodies(batches))) {
		t.Fatalf("left unsettled: %v, came again: %v", bodies(batches), bodies(again))
	}
}

// recreated: the same name, another incarnation. The member is given it anew, or is
// told that it is another: then who joins next is given it. Nothing of it is taken for
// the old one.
func recreated(t *testing.T, b Broker) {
	if b.Recreate == nil || !b.Source(t, b.Destination).Capabilities().Positions {
		return // no positions that could be mistaken
	}
	publish(t, b.Sender(t), newStamper(b).message(0, "", "before"))
	m := join(t, b, "w", nil)
	old := m.read(1)[0].Deliveries[0].Position.Incarnation
	b.Recreate(t, b.Destination)
	publish(t, b.Sender(t), newStamper(b).message(0, "", "after"))
	var got []rollcall.Batch
	wait(t, "the new incarnation, or word of it", func() bool {
		batches, err := m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 100 * time.Millisecond})
		got = append(got, batches...)
		if errors.Is(err, rollcall.ErrDamaged) {
			m.close()
			got = append(got, join(t, b, "w2", nil).read(1)...)
		}
		return len(bodies(got)) > 0
	})
	if !slices.Equal(bodies(got), []string{"after"}) || got[0].Deliveries[0].Position.Incarnation == old {
		t.Fatalf("got %v of incarnation %x, which was %x before", bodies(got), got[0].Deliveries[0].Position.Incarnation, old)
	}
}
