package filelog_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

func TestRetentionKeepsTheRest(t *testing.T) {
	path := newPath(t)
	clock := &handClock{now: time.Unix(1e9, 0)}
	config := filelog.Config{Lease: fast.Lease, Retention: time.Hour, Clock: clock}
	l := openLog(t, path, config)
	create(t, l, "d", 1)
	fill(t, l, "d", 0, 0, 10)
	clock.add(50 * time.Minute)
	fill(t, l, "d", 0, 10, 10)
	clock.add(-time.Hour) // set back: nothing may go early
	fill(t, l, "d", 0, 20, 10)
	trim := func(first, end int64) {
		t.Helper()
		if err := l.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e := extent(t, l, "d", 0); e.First != first || e.End != end {
			t.Fatalf("offsets %d to %d, want %d to %d", e.First, e.End, first, end)
		}
	}
	trim(0, 30)
	clock.add(time.Hour + 11*time.Minute) // the first ten are 61 minutes old
	trim(10, 30)
	clock.add(48 * time.Minute) // the last ten are older than an hour, the ten before them not
	trim(10, 30)
	clock.add(time.Hour)
	trim(30, 30)
	fill(t, l, "d", 0, 30, 5)
	m := join(t, l, newOwner(), "d") // earliest
	if diff := cmp.Diff(upTo(30, 35), bodies(m.take(t, 5))); diff != "" {
		t.Error(diff)
	}
	openLog(t, path, config) // a trimmed log is a sound one
}

type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time                                   { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *handClock) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }
func (c *handClock) add(d time.Duration)                              { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

func TestPublishingTrims(t *testing.T) {
	clock := &handClock{now: time.Unix(1e9, 0)}
	l := openLog(t, newPath(t), filelog.Config{Retention: time.Hour, Clock: clock})
	create(t, l, "d", 1)
	fill(t, l, "d", 0, 0, 10)
	clock.add(2 * time.Hour)
	await(t, "publishing to trim", func() bool {
		fill(t, l, "d", 0, 0, 1)
		return extent(t, l, "d", 0).First >= 10
	})
}

// What retention removed below a reader is begun after, not called Covered.
func TestTrimBelowAReader(t *testing.T) {
	l := openLog(t, newPath(t), fast)
	create(t, l, "d", 1)
	for i := range 10 {
		fill(t, l, "d", 0, i*10, 10)
	}
	inc := extent(t, l, "d", 0).Incarnation
	p := rollcall.Partition{Destination: "d"}
	o := newOwner()
	o.starts[p] = rollcall.Position{Incarnation: inc, Offset: 5}
	if err := l.TrimTo(t.Context(), "d", 0, 25); err != nil { // in the middle of a row
		t.Fatal(err)
	}
	m := join(t, l, o, "d")
	m.owns(t, 1)
	got := m.take(t, 5)
	if diff := cmp.Diff(upTo(25, 30), bodies(got)); diff != "" {
		t.Error(diff)
	}
	noErrors(t, m.settle(t, rollcall.Ack, got...))
	await(t, "the settled prefix to begin after what retention removed", func() bool {
		settled, err := l.Settled(t.Context(), "g")
		return err == nil && len(settled) == 1 && settled[0].Next == 30
	})
	if err := l.TrimTo(t.Context(), "d", 0, 90); err != nil {
		t.Fatal(err)
	}
	batches, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: 100, Min: 10, Wait: patience})
	if err != nil || len(batches) != 1 || batches[0].Covered != nil {
		t.Fatalf("%+v, %v", batches, err)
	}
	if diff := cmp.Diff(upTo(90, 100), bodies(batches[0].Deliveries)); diff != "" {
		t.Error(diff)
	}
	mustBe(t, l.TrimTo(t.Context(), "d", 0, 101), rollcall.ErrConfig, "ends at 100")
	mustBe(t, l.TrimTo(t.Context(), "d", 1, 0), rollcall.ErrNoDestination)
	if err := l.TrimTo(t.Context(), "d", 0, 3); err != nil || extent(t, l, "d", 0).First != 90 {
		t.Errorf("a trim to before the beginning: %v, first %d", err, extent(t, l, "d", 0).First)
	}
}

// TestRetentionKeepsBooks: books say what was lost to retention, so they stay longer.
func TestRetentionKeepsBooks(t *testing.T) {
	clock := &handClock{now: time.Unix(1e9, 0)}
	l := openLog(t, newPath(t), filelog.Config{Retention: time.Hour, Clock: clock})
	create(t, l, "d", 1)
	create(t, l, rollcall.SideDestination, 1)
	fill(t, l, "d", 0, 0, 10)
	fill(t, l, rollcall.SideDestination, 0, 0, 10)
	trim := func(messages, books int64) {
		t.Helper()
		if err := l.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d, b := extent(t, l, "d", 0), extent(t, l, rollcall.SideDestination, 0); d.First != messages || b.First != books {
			t.Fatalf("messages begin at %d and books at %d, want %d and %d", d.First, b.First, messages, books)
		}
	}
	clock.add(2 * time.Hour)
	trim(10, 0)
	clock.add(59 * 24 * time.Hour)
	trim(10, 0)
	clock.add(24 * time.Hour)
	trim(10, 10)
}
