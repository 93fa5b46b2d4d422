package filelog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

var fast = filelog.Config{Lease: 300 * time.Millisecond}

func TestMembersShareAndTakeOver(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, fast)
	create(t, l, "d", 8)
	var members []*member
	for _, want := range [][]int{{8}, {4, 4}, {3, 3, 2}, {2, 2, 2, 2}} {
		members = append(members, join(t, openLog(t, path, fast), newOwner(), "d"))
		await(t, fmt.Sprint("shares ", want), func() bool { return slices.Equal(shares(members), want) })
	}
	if err := members[0].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if members[0].count() != 0 {
		t.Errorf("%d partitions were not revoked by Close", members[0].count())
	}
	await(t, "three members to share eight", func() bool { return slices.Equal(shares(members), []int{3, 3, 2, 0}) })
	if members[0].lostCount() != 0 {
		t.Error("a clean leave was told Lost")
	}
	seen := map[rollcall.Partition]bool{}
	for _, m := range members[1:] {
		for p := range m.owned {
			if seen[p] {
				t.Errorf("%v has two owners", p)
			}
			seen[p] = true
		}
	}
}

func shares(ms []*member) []int {
	out := make([]int, len(ms))
	for i, m := range ms {
		out[i] = m.count()
	}
	slices.SortFunc(out, func(a, b int) int { return b - a })
	return out
}

// Members of one group with other destinations do not count.
func TestMembersOfOtherDestinations(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 4)
	create(t, l, "e", 4)
	a, b, both := join(t, l, newOwner(), "d"), join(t, l, newOwner(), "e"), join(t, l, newOwner(), "d", "e")
	a.owns(t, 2)
	b.owns(t, 2)
	both.owns(t, 4)
}

// While Revoked blocks, the heartbeat goes on and nothing is taken away.
func TestSlowDrainLosesNothing(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, fast)
	create(t, l, "d", 4)
	fill(t, l, "d", 0, 0, 10)
	fill(t, l, "d", 3, 0, 10)
	draining, drained := make(chan []rollcall.Partition, 8), make(chan struct{})
	o := newOwner()
	o.drain = func(ps []rollcall.Partition) { draining <- ps; <-drained }
	a := join(t, l, o, "d")
	defer sync.OnceFunc(func() { close(drained) })()
	a.owns(t, 4)
	first := a.take(t, 20)
	b := join(t, openLog(t, path, fast), newOwner(), "d")
	leaving := <-draining
	if len(leaving) != 2 {
		t.Fatalf("revoked %v, want 2 of 4", leaving)
	}
	// Longer than the lease: b watches a's heartbeat all the while.
	for end := time.Now().Add(3 * fast.Lease); time.Now().Before(end); {
		if n := b.count(); n != 0 {
			t.Fatalf("the new member has %d partitions although the old one still drains", n)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if a.lostCount() != 0 {
		t.Error("partitions were lost during the drain")
	}
	// Receipts are good until Revoked returns, and nothing new is handed over.
	noErrors(t, a.settle(t, rollcall.Ack, first...))
	for _, p := range leaving {
		fill(t, l, "d", p.Number, 10, 1)
		if err := a.Restart(t.Context(), p, rollcall.Start{}); !errors.Is(err, rollcall.ErrNotOwner) {
			t.Errorf("Restart while it is revoked: %v", err)
		}
	}
	batches, err := a.Fetch(t.Context(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 50 * time.Millisecond})
	if len(batches) != 0 || err != nil {
		t.Errorf("while revoked: %d batches, %v", len(batches), err)
	}
	o.mu.Lock()
	o.drain = nil
	o.mu.Unlock()
	drained <- struct{}{}
	b.owns(t, 2)
	for i, err := range a.settle(t, rollcall.Ack, first...) {
		p := rollcall.Partition{Destination: "d", Number: first[i].Partition}
		if gone := slices.Contains(leaving, p); gone != errors.Is(err, rollcall.ErrNotOwner) {
			t.Errorf("after Revoked: partition %v settled with %v", p, err)
		}
	}
}

// Stolen while it drains: the owner is told at once, and Revoked may go on.
func TestLostWhileRevoked(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, filelog.Config{Lease: time.Minute})
	create(t, l, "d", 2)
	draining, drained := make(chan struct{}), make(chan struct{})
	o := newOwner()
	o.drain = func([]rollcall.Partition) { close(draining); <-drained }
	a := join(t, l, o, "d")
	release := sync.OnceFunc(func() { close(drained) })
	defer release()
	a.owns(t, 2)
	b := join(t, l, newOwner(), "d")
	<-draining
	o.mu.Lock()
	o.drain = nil
	o.mu.Unlock()
	edit(t, path, `UPDATE leases SET member = 'somebody', generation = generation + 1`)
	await(t, "Lost of both, the one that drains too", func() bool { return a.lostCount() == 2 })
	release()
	a.owns(t, 1)
	b.owns(t, 1)
}

func TestAssignedMayFail(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 2)
	o := newOwner()
	o.fail = errors.New("the store is away")
	m := join(t, l, o, "d")
	await(t, "Assigned to be tried again", func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.assigned >= 2 })
	o.mu.Lock()
	o.fail = nil
	o.mu.Unlock()
	m.owns(t, 2)
	fill(t, l, "d", 1, 0, 1)
	m.take(t, 1)
}

func TestReplayFromAnyPosition(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 1)
	fill(t, l, "d", 0, 0, 3000) // several rows
	fill(t, l, "d", 0, 3000, 1)
	inc := extent(t, l, "d", 0).Incarnation
	p := rollcall.Partition{Destination: "d"}
	for _, from := range []int{0, 1, 1023, 1024, 1025, 2999, 3000, 3001} {
		o := newOwner()
		o.starts[p] = rollcall.Position{Incarnation: inc, Offset: int64(from)}
		m := join(t, l, o, "d")
		m.owns(t, 1)
		if diff := cmp.Diff(upTo(from, 3001), bodies(m.take(t, 3001-from))); diff != "" {
			t.Errorf("from %d:\n%s", from, diff)
		}
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRestart(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 2)
	fill(t, l, "d", 0, 0, 100)
	m := join(t, l, newOwner(), "d")
	m.owns(t, 2)
	p := rollcall.Partition{Destination: "d"}
	old := m.take(t, 10) // the rest is read ahead
	at := rollcall.Position{Incarnation: old[0].Position.Incarnation, Offset: 4}
	if err := m.Restart(t.Context(), p, rollcall.Start{Token: 99, Position: at}); err != nil {
		t.Fatal(err)
	}
	for _, err := range m.settle(t, rollcall.Ack, old...) {
		mustBe(t, err, rollcall.ErrStaleReceipt)
	}
	batches, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: 96, Min: 96, Wait: patience})
	if err != nil || len(batches) != 1 || batches[0].Token != 99 || batches[0].Partition != p || batches[0].Covered != nil {
		t.Fatalf("Fetch: %+v, %v", batches, err)
	}
	if diff := cmp.Diff(upTo(4, 100), bodies(batches[0].Deliveries)); diff != "" {
		t.Error(diff)
	}
	noErrors(t, m.settle(t, rollcall.Ack, batches[0].Deliveries...))
	beyond := batches[0].Deliveries[0]
	beyond.Receipt.Number = 100
	mustBe(t, m.settle(t, rollcall.Ack, beyond)[0], rollcall.ErrStaleReceipt)
	mustBe(t, m.Restart(t.Context(), rollcall.Partition{Destination: "other"}, rollcall.Start{}), rollcall.ErrNotOwner)
}

// A Restart while Fetch reads: what Fetch had read must not be handed over.
func TestRestartDuringFetch(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 1)
	fill(t, l, "d", 0, 0, 2000)
	m := join(t, l, newOwner(), "d")
	m.owns(t, 1)
	p := rollcall.Partition{Destination: "d"}
	// Assigned has been called; that it has returned shows when there is a batch.
	var last rollcall.Token
	next := int64(0)
	for next == 0 {
		batches, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: 1, Min: 1, Wait: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			last, next = b.Token, 1
		}
	}
	var restarts sync.WaitGroup
	restarts.Go(func() {
		for token := rollcall.Token(100); token < 200; token++ {
			if err := m.Restart(t.Context(), p, rollcall.Start{Token: token}); err != nil {
				t.Error(err)
			}
		}
	})
	for last < 199 || next < 2000 {
		batches, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: 300, Min: 1, Wait: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			if b.Token != last {
				last, next = b.Token, 0
			}
			if got := b.Deliveries[0].Position.Offset; got != next {
				t.Fatalf("token %d continues at %d, want %d", b.Token, got, next)
			}
			next += int64(len(b.Deliveries))
		}
	}
	restarts.Wait()
}

func TestRetryBringsAgain(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 1)
	fill(t, l, "d", 0, 0, 10)
	m := join(t, l, newOwner(), "d")
	first := m.take(t, 6)
	noErrors(t, m.settle(t, rollcall.Ack, first[:2]...))
	noErrors(t, m.settle(t, rollcall.Retry, first[2]))
	if diff := cmp.Diff(upTo(2, 10), bodies(m.take(t, 8))); diff != "" {
		t.Error(diff)
	}
	start := time.Now()
	errs := m.Settle(t.Context(), []rollcall.Settlement{{Partition: rollcall.Partition{Destination: "d"}, Receipt: first[5].Receipt,
		Verb: rollcall.RetryAfter, After: 100 * time.Millisecond}})
	noErrors(t, errs)
	if diff := cmp.Diff(upTo(5, 10), bodies(m.take(t, 5))); diff != "" {
		t.Error(diff)
	}
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("brought again after %v, not before 100ms", took)
	}
	if err := m.settle(t, rollcall.Verb(9), first[0])[0]; !errors.Is(err, rollcall.ErrConfig) {
		t.Errorf("unknown verb: %v", err)
	}
}

func TestSettledIsForTools(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 2)
	fill(t, l, "d", 1, 0, 10)
	m := join(t, l, newOwner(), "d")
	got := m.take(t, 10)
	noErrors(t, m.settle(t, rollcall.Ack, got[0], got[1], got[3]))
	noErrors(t, m.settle(t, rollcall.Reject, got[2]))
	noErrors(t, m.settle(t, rollcall.Ack, got[5])) // behind a hole
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled, err := l.Settled(t.Context(), "g")
	want := []filelog.Settled{{Partition: rollcall.Partition{Destination: "d", Number: 1}, Next: 4}}
	if diff := cmp.Diff(want, settled); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	m = join(t, l, newOwner(), "d")
	if diff := cmp.Diff(upTo(0, 10), bodies(m.take(t, 10))); diff != "" {
		t.Error("a member started from what was settled, not where its owner said\n" + diff)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := newOwner()
	o.starts[want[0].Partition] = rollcall.Position{Incarnation: extent(t, l, "d", 1).Incarnation, Offset: 6}
	m = join(t, l, o, "d")
	noErrors(t, m.settle(t, rollcall.Ack, m.take(t, 4)[0]))
	// Stored while it goes on, at most every second.
	await(t, "what is settled to be stored", func() bool {
		settled, err := l.Settled(t.Context(), "g")
		return err == nil && len(settled) == 1 && settled[0].Next == 7
	})
}

func TestLongPoll(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, fast)
	create(t, l, "d", 2)
	m := join(t, l, newOwner(), "d")
	m.owns(t, 2)
	start := time.Now()
	batches, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 60 * time.Millisecond})
	if took := time.Since(start); len(batches) != 0 || err != nil || took < 60*time.Millisecond || took > patience/2 {
		t.Errorf("empty log: %d batches, %v after %v", len(batches), err, took)
	}
	fill(t, l, "d", 0, 0, 3)
	start = time.Now()
	batches, err = m.Fetch(t.Context(), rollcall.FetchRequest{Max: 10, Min: 4, Wait: 60 * time.Millisecond})
	if took := time.Since(start); err != nil || len(batches) != 1 || len(batches[0].Deliveries) != 3 || took < 60*time.Millisecond {
		t.Errorf("less than Min: %d batches, %v after %v; want what there is, at the end of the wait", len(batches), err, took)
	}
	// Woken by a publish here, and by one of another process.
	for i, from := range []*filelog.Log{l, openLog(t, path, fast)} {
		go func() {
			fill(t, from, "d", 0, 3+4*i, 3)
			fill(t, from, "d", 1, 0, 1)
		}()
		start = time.Now()
		batches, err = m.Fetch(t.Context(), rollcall.FetchRequest{Max: 4, Min: 4, Wait: patience})
		if took := time.Since(start); err != nil || took > patience/2 || len(batches) != 2 {
			t.Errorf("publisher %d: %d batches, %v after %v", i, len(batches), err, took)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.Fetch(ctx, rollcall.FetchRequest{Max: 1, Min: 1, Wait: patience}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch with its context over: %v", err)
	}
	go m.Close(context.WithoutCancel(t.Context()))
	_, err = m.Fetch(t.Context(), rollcall.FetchRequest{Max: 1, Min: 1, Wait: patience})
	mustBe(t, err, rollcall.ErrClosed)
}

func TestPausedAndFair(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 4)
	for p := range int32(4) {
		fill(t, l, "d", p, 0, 100)
	}
	m := join(t, l, newOwner(), "d")
	m.owns(t, 4)
	paused := []rollcall.Partition{{Destination: "d", Number: 1}, {Destination: "d", Number: 3}}
	seen := map[int32]int{}
	for left := -1; left != 0; left-- {
		if left < 0 && seen[0] > 0 && seen[2] > 0 { // both are being read
			clear(seen)
			left = 4
		}
		batches, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: patience, Paused: paused})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			seen[b.Partition.Number] += len(b.Deliveries)
		}
	}
	if diff := cmp.Diff(map[int32]int{0: 20, 2: 20}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestDeletedAndCreatedAgain(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 2)
	fill(t, l, "d", 0, 0, 5)
	before := extent(t, l, "d", 0).Incarnation
	m := join(t, l, newOwner(), "d")
	m.owns(t, 2)
	old := m.take(t, 5)
	if err := l.Delete(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	create(t, l, "d", 3)
	fill(t, l, "d", 0, 100, 2)
	await(t, "the old partitions to be lost", func() bool { return m.lostCount() == 2 })
	m.owns(t, 3)
	if diff := cmp.Diff(upTo(100, 102), bodies(m.take(t, 2))); diff != "" {
		t.Error(diff)
	}
	after := extent(t, l, "d", 0).Incarnation
	if a := m.owned[rollcall.Partition{Destination: "d"}]; before == after || a.Incarnation != after {
		t.Errorf("incarnation was %x, is %x, assigned %x", before, after, a.Incarnation)
	}
	mustBe(t, m.settle(t, rollcall.Ack, old[0])[0], rollcall.ErrStaleReceipt)
}

// A start that does not fit is refused, with the place and the next step, and
// the others go on.
func TestStartsThatAreRefused(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 2)
	fill(t, l, "d", 0, 0, 5)
	fill(t, l, "d", 1, 0, 5)
	inc := extent(t, l, "d", 0).Incarnation
	p := rollcall.Partition{Destination: "d"}
	for _, c := range []struct {
		at    rollcall.Position
		is    error
		texts []string
	}{
		{rollcall.Position{Incarnation: rollcall.Incarnation{1}, Offset: 2}, nil, []string{"deleted and created again", "another group"}},
		{rollcall.Position{Incarnation: inc, Offset: 6}, rollcall.ErrDamaged, []string{"position 6 lies beyond the end 5", "older copy"}},
		{rollcall.Position{Incarnation: inc, Offset: -1}, rollcall.ErrConfig, []string{"begin at 0"}},
	} {
		o := newOwner()
		o.starts[p] = c.at
		m := join(t, l, o, "d")
		m.owns(t, 2)
		err := m.fetchError(t)
		mustSay(t, err, append(c.texts, `destination "d", partition 0`)...)
		if c.is != nil {
			mustBe(t, err, c.is)
		}
		for _, d := range m.take(t, 5) {
			if d.Partition != 1 {
				t.Errorf("%+v: partition 0 is consumed", c.at)
			}
		}
		mustSay(t, m.fetchError(t), c.texts...) // again, not only once
		mustSay(t, m.Restart(t.Context(), p, rollcall.Start{Position: c.at}), c.texts...)
		if err := m.Restart(t.Context(), p, rollcall.Start{Position: rollcall.Position{Incarnation: inc, Offset: 3}}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(upTo(3, 5), bodies(m.take(t, 2))); diff != "" {
			t.Error(diff)
		}
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A close whose drain takes too long gives up at its deadline, and others go on.
func TestCloseAtItsDeadline(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 2)
	release := make(chan struct{})
	o := newOwner()
	o.drain = func([]rollcall.Partition) { <-release }
	sub, err := l.Source("d").Subscribe(t.Context(), rollcall.SubscribeRequest{Group: "g"}, o)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "both partitions", func() bool { return o.count() == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := sub.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	close(release)
	join(t, l, newOwner(), "d").owns(t, 2)
}

// Another's lease is seen by the very next call, not by the next round of
// balancing: a process that wakes settles and fetches nothing.
func TestStolenLeaseIsSeenAtOnce(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, filelog.Config{Lease: time.Minute})
	create(t, l, "d", 1)
	fill(t, l, "d", 0, 0, 10)
	m := join(t, l, newOwner(), "d")
	for round := range 3 {
		got := m.take(t, 5)
		edit(t, path, `UPDATE leases SET member = 'somebody', generation = generation + 1`)
		fetched, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: 1, Min: 1})
		if len(fetched) != 0 || err != nil {
			t.Errorf("fetched %d batches, %v", len(fetched), err)
		}
		// Nobody alive has it, so it may be ours again by now, in another session.
		if err := m.settle(t, rollcall.Ack, got[0])[0]; !errors.Is(err, rollcall.ErrNotOwner) && !errors.Is(err, rollcall.ErrStaleReceipt) {
			t.Errorf("settled in a session that was lost: %v", err)
		}
		await(t, "Lost", func() bool { return m.lostCount() == round+1 })
		m.owns(t, 1)
	}
}
