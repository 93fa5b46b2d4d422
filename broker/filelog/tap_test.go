package filelog_test

import (
	"errors"
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

func tap(t testing.TB, l *filelog.Log, destinations ...string) rollcall.Tap {
	t.Helper()
	p, err := l.Source(destinations...).Tap(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close tap: %v", err)
		}
	})
	return p
}

// tapUntil counts by partition what comes, until it is what is wanted.
func tapUntil(t testing.TB, p rollcall.Tap, want map[rollcall.Partition]int) (missed []error) {
	t.Helper()
	got := make(map[rollcall.Partition]int)
	await(t, "a tap to read what there is", func() bool {
		batches, err := p.Fetch(t.Context(), rollcall.FetchRequest{Max: 7, Min: 1, Wait: 10 * time.Millisecond})
		if errors.Is(err, rollcall.ErrMissed) {
			missed = append(missed, err)
		} else if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			got[b.Partition] += len(b.Deliveries)
		}
		return maps.Equal(got, want)
	})
	return missed
}

func part(destination string, number int32) rollcall.Partition {
	return rollcall.Partition{Destination: destination, Number: number}
}

// A damaged record is told of once, with its place; what lies behind its row comes.
func TestTapGoesOnBehindDamage(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		left int
		says string
	}{
		"record":      {`UPDATE chunks SET data = CAST(substr(data, 1, length(data)-1) || 'x' AS BLOB) WHERE id = (SELECT id FROM chunks ORDER BY id LIMIT 1 OFFSET 1)`, 29, "offset 19"},
		"row missing": {`DELETE FROM chunks WHERE id = (SELECT id FROM chunks ORDER BY id LIMIT 1 OFFSET 1)`, 20, "offset 10 should follow"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			makeLog(t, path, 30)
			edit(t, path, c.sql)
			l := openLog(t, path, fast)
			missed := tapUntil(t, tap(t, l, "d"), map[rollcall.Partition]int{part("d", 0): c.left, part("d", 1): 30, part("d", 2): 30})
			if len(missed) != 1 {
				t.Fatalf("%d times it was told of damage: %v", len(missed), missed)
			}
			mustBe(t, missed[0], rollcall.ErrDamaged, path, `destination "d", partition 0`, c.says)
		})
	}
}

// A destination that comes later, by another process, is read from its beginning; a tap
// makes none.
func TestTapOfWhatComesLater(t *testing.T) {
	path := newPath(t)
	l, other := openLog(t, path, filelog.Config{}), openLog(t, path, filelog.Config{})
	p := tap(t, l, "later", "d")
	create(t, other, "d", 2)
	fill(t, other, "d", 1, 0, 5)
	tapUntil(t, p, map[rollcall.Partition]int{part("d", 1): 5})
	if names, err := l.Destinations(t.Context()); err != nil || len(names) != 1 {
		t.Fatalf("there are %v (%v)", names, err)
	}
	create(t, other, "later", 1)
	fill(t, other, "later", 0, 0, 3)
	tapUntil(t, p, map[rollcall.Partition]int{part("later", 0): 3})
}

// MakeSide is asked for by name, so NoCreate does not forbid it.
func TestMakeSide(t *testing.T) {
	l := openLog(t, newPath(t), filelog.Config{NoCreate: true})
	for range 2 {
		if err := l.Sender().MakeSide(t.Context(), rollcall.SideDestination); err != nil {
			t.Fatal(err)
		}
	}
	extents, err := l.Source(rollcall.SideDestination).Measure(t.Context())
	if err != nil || len(extents) != 1 {
		t.Fatalf("it has %v (%v), want one partition", extents, err)
	}
}

// TestTapSpeed reads the same log by a tap and by a reader that only counts the
// messages. The verdict is about the processor's time: where others use the machine
// too, the clock says little.
func TestTapSpeed(t *testing.T) {
	const n = 200_000
	path := newPath(t)
	l := openLog(t, path, filelog.Config{})
	create(t, l, "d", 4)
	for i := 0; i < n; i += 4000 {
		for p := range int32(4) {
			fill(t, l, "d", p, i/4, 1000)
		}
	}
	clock, used := [2]time.Duration{time.Hour, time.Hour}, [2]time.Duration{time.Hour, time.Hour}
	for range 7 {
		for i, read := range []func(){func() { readBare(t, l, n) }, func() { readTapped(t, l, n) }} {
			began, before := time.Now(), processor()
			read()
			clock[i], used[i] = min(clock[i], time.Since(began)), min(used[i], processor()-before)
		}
	}
	ratio := 100 * used[0].Seconds() / used[1].Seconds()
	t.Logf("%d messages: bare reader %v, tap %v: %.0f %%; processor %v and %v: %.0f %%", n, clock[0].Round(time.Millisecond), clock[1].Round(time.Millisecond),
		100*clock[0].Seconds()/clock[1].Seconds(), used[0].Round(time.Millisecond), used[1].Round(time.Millisecond), ratio)
	if ratio < 25 { // far below what it is, since others use the machine
		t.Errorf("a tap takes %v of the processor for what a bare reader takes %v", used[1], used[0])
	}
}

// processor is the processor's time that this process has used.
func processor() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // it cannot fail for ourselves
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func readBare(t *testing.T, l *filelog.Log, n int) {
	t.Helper()
	if got := l.Count(t, "d"); got != n {
		t.Fatalf("counted %d of %d", got, n)
	}
}

func readTapped(t *testing.T, l *filelog.Log, n int) {
	t.Helper()
	p, err := l.Source("d").Tap(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for got := 0; got < n; {
		batches, err := p.Fetch(t.Context(), rollcall.FetchRequest{Max: 2000, Min: 1, Wait: patience})
		if err != nil || len(batches) == 0 {
			t.Fatalf("waited %v for %d messages, %d came: %v", patience, n, got, err)
		}
		for _, b := range batches {
			got += len(b.Deliveries)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}
