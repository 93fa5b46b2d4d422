package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func tapCases() []Case {
	return []Case{
		{"tap", positions(tapReadsOn)},
		{"tap-beside-a-group", positions(tapBesideGroup)},
		{"tap-since", positions(tapSince)},
		{"tap-bounds", positions(tapBounds)},
		{"tap-of-what-was-removed", positions(tapRemoved)},
		{"tap-of-another-incarnation", positions(tapRecreated)},
		{"explain", positions(explain)},
		{"noted", positions(noted)},
		{"side-destination", positions(sideDestination)},
	}
}

// tapped is a Tap of a case.
type tapped struct {
	t testing.TB
	rollcall.Tap
}

// positions is a case for brokers that have them: a queue cannot be read twice.
func positions(f func(t *testing.T, b Broker)) func(*testing.T, Harness) {
	return one(func(t *testing.T, b Broker) {
		if b.Source(t, b.Destination).Capabilities().Positions {
			f(t, b)
		}
	})
}

func tap(t testing.TB, b Broker, destination string, since time.Time) *tapped {
	t.Helper()
	opened, err := b.Source(t, destination).(rollcall.Tapper).Tap(context.Background(), since)
	if err != nil {
		t.Fatalf("Tap: %v", err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return &tapped{t, opened}
}

// until fetches until enough says so; errors other than ErrMissed fail the case.
func (p *tapped) until(what string, enough func(batches []rollcall.Batch, missed error) bool) ([]rollcall.Batch, error) {
	p.t.Helper()
	var out []rollcall.Batch
	var missed error
	for deadline := time.Now().Add(patience); !enough(out, missed); {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited %v for %s; %v came (%v)", patience, what, bodies(out), missed)
		}
		batches, err := p.Fetch(context.Background(), rollcall.FetchRequest{Max: 100, Min: 1, Wait: 100 * time.Millisecond})
		if errors.Is(err, rollcall.ErrMissed) {
			missed = errors.Join(missed, err)
		} else if err != nil {
			p.t.Fatalf("Fetch: %v", err)
		}
		out = append(out, batches...)
	}
	return out, missed
}

func (p *tapped) read(n int) []rollcall.Batch {
	p.t.Helper()
	out, missed := p.until(fmt.Sprint(n, " messages"), func(batches []rollcall.Batch, _ error) bool { return len(bodies(batches)) >= n })
	if missed != nil {
		p.t.Fatalf("Fetch: %v", missed)
	}
	return out
}

// tapReadsOn: what is there and what comes, each at its position, in order; and nothing
// after Close.
func tapReadsOn(t *testing.T, b Broker) {
	s, sender := newStamper(b), b.Sender(t)
	other, third := int32(1%b.Partitions), int32(2%b.Partitions)
	first := located(t, b, publish(t, sender, s.message(0, "", "one"), s.message(other, "", "other"), s.message(0, "", "two")))
	p := tap(t, b, b.Destination, time.Time{})
	got := p.read(3)
	for _, batch := range got {
		for i, d := range batch.Deliveries {
			want := first[1]
			if b.Partitions == 1 {
				want = first[d.Position.Offset]
			} else if batch.Partition.Number == 0 {
				want = first[2*int(d.Position.Offset)]
			}
			if !samePlace(d.Position, want.Position) || d.Stamp.IsZero() || d.Destination != b.Destination {
				t.Fatalf("delivery %d of %v: %+v, want it at %+v with its stamp", i, batch.Partition, d, want.Position)
			}
		}
	}
	publish(t, sender, s.message(0, "", "three"), s.message(third, "", "new"))
	more := bodies(p.read(2))
	slices.Sort(more)
	if !slices.Equal(more, []string{"new", "three"}) {
		t.Fatalf("then came %v", more)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Fetch(context.Background(), rollcall.FetchRequest{Max: 1, Wait: time.Millisecond}); !errors.Is(err, rollcall.ErrClosed) {
		t.Fatalf("Fetch after Close: %v, want ErrClosed", err)
	}
}

// tapBesideGroup: a group gets everything, keeps its partitions, and what is noted of it
// is its own work.
func tapBesideGroup(t *testing.T, b Broker) {
	s, sender := newStamper(b), b.Sender(t)
	publish(t, sender, s.message(0, "", "one"), s.message(0, "", "two"))
	p := tap(t, b, b.Destination, time.Time{})
	p.read(2)
	m := join(t, b, "w", nil)
	wait(t, "the member to own all partitions", func() bool { return m.owns() == b.Partitions })
	second := tap(t, b, b.Destination, time.Time{})
	second.read(2)
	if got := bodies(m.read(2)); !slices.Equal(got, []string{"one", "two"}) {
		t.Fatalf("the group got %v beside a tap", got)
	}
	publish(t, sender, s.message(0, "", "three"))
	second.read(1)
	p.read(1)
	if got := bodies(m.read(1)); !slices.Equal(got, []string{"three"}) {
		t.Fatalf("the group got %v beside a tap", got)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.owned) != b.Partitions || len(m.lost)+len(m.revoked) > 0 {
		t.Fatalf("beside a tap the member owns %d of %d partitions, lost %v, gave back %v", len(m.owned), b.Partitions, m.lost, m.revoked)
	}
	noter, can := b.Source(t, b.Destination).(rollcall.Noter)
	if !can {
		return
	}
	if noted, err := noter.Noted(context.Background(), b.Group); err != nil || noted[rollcall.Partition{Destination: b.Destination}] > 0 {
		t.Fatalf("noted %v (%v), though the group has settled nothing", noted, err)
	}
}

// tapSince: nothing that the broker took before, and nothing less than what it took
// after.
func tapSince(t *testing.T, b Broker) {
	s, sender := newStamper(b), b.Sender(t)
	timed := func(body string) rollcall.Message {
		m := s.message(0, "", body)
		m.Time = time.Now()
		return m
	}
	publish(t, sender, timed("before"))
	time.Sleep(20 * time.Millisecond)
	since := time.Now()
	time.Sleep(20 * time.Millisecond)
	publish(t, sender, timed("after"))
	p := tap(t, b, b.Destination, since)
	got := bodies(p.read(1))
	if b.Coarse > 0 && got[0] == "before" { // not more than a minute before, but before
		got = append(got[1:], bodies(p.read(2-len(got)))...)
	}
	if !slices.Equal(got, []string{"after"}) {
		t.Fatalf("since the middle came %v", got)
	}
	publish(t, sender, timed("later"))
	if got := bodies(p.read(1)); !slices.Equal(got, []string{"later"}) {
		t.Fatalf("then came %v", got)
	}
}

// tapBounds: Max, Paused, Wait and the end of ctx hold as for a subscription.
func tapBounds(t *testing.T, b Broker) {
	s, sender := newStamper(b), b.Sender(t)
	for i := range 7 {
		publish(t, sender, s.message(0, "", numbered(i)))
	}
	p := tap(t, b, b.Destination, time.Time{})
	paused := []rollcall.Partition{{Destination: b.Destination}}
	batches, err := p.Fetch(context.Background(), rollcall.FetchRequest{Max: 3, Min: 1, Wait: 300 * time.Millisecond, Paused: paused})
	if err != nil || len(bodies(batches)) > 0 {
		t.Fatalf("got %v (%v) of a paused partition", bodies(batches), err)
	}
	var got []string
	for deadline := time.Now().Add(patience); len(got) < 7; {
		batches, err := p.Fetch(context.Background(), rollcall.FetchRequest{Max: 3, Min: 1, Wait: 100 * time.Millisecond})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("waited %v for 7 messages, got %v (%v)", patience, got, err)
		}
		for _, batch := range batches {
			if len(batch.Deliveries) > 3 {
				t.Fatalf("a batch of %d, want at most 3", len(batch.Deliveries))
			}
		}
		got = append(got, bodies(batches)...)
	}
	if !slices.IsSorted(got) {
		t.Fatalf("got %v", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, _ = p.Fetch(ctx, rollcall.FetchRequest{Max: 1, Min: 1, Wait: patience})
	if took := time.Since(started); took > patience/2 {
		t.Fatalf("Fetch took %v after its context ended", took)
	}
}

// tapRemoved: what is removed before it was read is either read all the same, from a
// buffer, or missed aloud; what is left comes.
func tapRemoved(t *testing.T, b Broker) {
	if b.Remove == nil {
		return
	}
	s, sender := newStamper(b), b.Sender(t)
	publish(t, sender, s.message(0, "", numbered(0)))
	p := tap(t, b, b.Destination, time.Time{})
	p.read(1)
	var all []rollcall.Message
	for i := 1; i < 10; i++ {
		all = append(all, s.message(0, "", numbered(i)))
	}
	publish(t, sender, all...)
	b.Remove(t, b.Destination, 0, 6)
	publish(t, sender, s.message(0, "", numbered(10)))
	got, missed := p.until("the last message", func(batches []rollcall.Batch, _ error) bool {
		return slices.Contains(bodies(batches), numbered(10))
	})
	if n := len(bodies(got)); n != 10 && (missed == nil || n < 5) {
		t.Fatalf("got %v (%v), want all, or word of what was missed and the rest", bodies(got), missed)
	}
	if got := bodies(tap(t, b, b.Destination, time.Time{}).read(5)); got[0] != numbered(6) {
		t.Fatalf("a new tap begins at %v, want what is first there", got)
	}
}

// tapRecreated: a destination that was made again is told of once, and read on.
func tapRecreated(t *testing.T, b Broker) {
	if b.Recreate == nil {
		return
	}
	s, sender := newStamper(b), b.Sender(t)
	publish(t, sender, s.message(0, "", "old"), s.message(0, "", "older"))
	p := tap(t, b, b.Destination, time.Time{})
	old := p.read(2)
	b.Recreate(t, b.Destination)
	publish(t, b.Sender(t), s.message(0, "", "new"))
	got, missed := p.until("the new message, and word of it", func(batches []rollcall.Batch, missed error) bool {
		return len(bodies(batches)) > 0 && missed != nil
	})
	if !slices.Equal(bodies(got), []string{"new"}) {
		t.Fatalf("got %v (%v)", bodies(got), missed)
	}
	for _, batch := range got {
		if len(batch.Deliveries) > 0 && batch.Deliveries[0].Position.Incarnation == old[0].Deliveries[0].Position.Incarnation {
			t.Fatal("the new message has the old incarnation")
		}
	}
	_, err := p.Fetch(context.Background(), rollcall.FetchRequest{Max: 100, Min: 1, Wait: 100 * time.Millisecond})
	if err != nil {
		t.Fatalf("and once more: %v", err)
	}
}

// explain: what was removed, what holds messages, what lies behind the end.
func explain(t *testing.T, b Broker) {
	if b.Remove == nil {
		return // the driver has a test of its own
	}
	source := b.Source(t, b.Destination)
	s := newStamper(b)
	var all []rollcall.Message
	for i := range 10 {
		all = append(all, s.message(0, "", numbered(i)))
	}
	publish(t, b.Sender(t), all...)
	b.Remove(t, b.Destination, 0, 3)
	for _, c := range []struct {
		first, last int64
		want        []rollcall.Hole
	}{
		{0, 14, []rollcall.Hole{{First: 0, Last: 2, Cause: rollcall.HoleRemoved}, {First: 10, Last: 14, Cause: rollcall.HoleBeyond}}},
		{1, 1, []rollcall.Hole{{First: 1, Last: 1, Cause: rollcall.HoleRemoved}}},
		{3, 9, nil},
		{9, 10, []rollcall.Hole{{First: 10, Last: 10, Cause: rollcall.HoleBeyond}}},
		{20, 22, []rollcall.Hole{{First: 20, Last: 22, Cause: rollcall.HoleBeyond}}},
	} {
		got, err := source.(rollcall.Explainer).Explain(context.Background(), rollcall.Partition{Destination: b.Destination}, c.first, c.last)
		if err != nil || !slices.EqualFunc(got, c.want, sameHole) {
			t.Fatalf("offsets %d to %d: %+v (%v), want %+v", c.first, c.last, got, err, c.want)
		}
	}
	if _, err := source.(rollcall.Explainer).Explain(context.Background(), rollcall.Partition{Destination: b.Destination, Number: 999}, 0, 1); !errors.Is(err, rollcall.ErrNoDestination) {
		t.Fatalf("a partition that does not exist: %v, want ErrNoDestination", err)
	}
}

func sameHole(a, b rollcall.Hole) bool {
	return a.First == b.First && a.Last == b.Last && a.Cause == b.Cause && slices.Equal(a.Stamps, b.Stamps)
}

// noted: the broker tells behind which message a group has settled all.
func noted(t *testing.T, b Broker) {
	source := b.Source(t, b.Destination)
	if _, can := source.(rollcall.Noter); !can {
		return
	}
	s := newStamper(b)
	publish(t, b.Sender(t), s.message(0, "", "one"), s.message(0, "", "two"), s.message(0, "", "three"))
	m := join(t, b, "w", nil)
	batches := m.read(3)
	for i, err := range m.sub.Settle(context.Background(), settleAll(batches, rollcall.Ack)[:2]) {
		if err != nil {
			t.Fatalf("settlement %d: %v", i, err)
		}
	}
	m.close()
	wait(t, "the broker to have noted two messages", func() bool {
		noted, err := source.(rollcall.Noter).Noted(context.Background(), b.Group)
		if err != nil {
			t.Fatal(err)
		}
		return noted[rollcall.Partition{Destination: b.Destination}] == 2
	})
	if other, err := source.(rollcall.Noter).Noted(context.Background(), b.Group+"-other"); err != nil || len(other) > 0 {
		t.Fatalf("of a group that does not exist: %v (%v)", other, err)
	}
}

// sideDestination: it is made when it is missing, left as it is when it is there, and
// read like any other.
func sideDestination(t *testing.T, b Broker) {
	side := b.Destination + "-side"
	sender := b.Sender(t)
	maker, can := sender.(rollcall.SideMaker)
	if !can {
		return
	}
	for range 2 {
		if err := maker.MakeSide(context.Background(), side); err != nil {
			t.Fatalf("MakeSide: %v", err)
		}
	}
	book := rollcall.Book{Kind: rollcall.BookBirth, Life: rollcall.NewLife(), Destination: b.Destination, Number: 1, Time: time.Now(), Next: time.Second}
	book.Keeper = book.Life
	m, err := book.Message()
	if err != nil {
		t.Fatal(err)
	}
	m.Destination = side
	publish(t, sender, m)
	got := tap(t, b, side, time.Time{}).read(1)
	read, err := rollcall.ParseBook(&got[0].Deliveries[0].Message)
	if err != nil || read.Life != book.Life || read.Kind != book.Kind {
		t.Fatalf("read %+v (%v), written %+v", read, err, book)
	}
}
