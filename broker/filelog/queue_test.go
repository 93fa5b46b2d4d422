package filelog

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func openHere(t *testing.T) *Log {
	t.Helper()
	l, err := Open(filepath.Join(t.TempDir(), "log.db"), Config{})
	if err == nil {
		err = l.Create(t.Context(), "d", 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// holdWriter keeps the committer from writing until released.
func holdWriter(l *Log) (release func()) {
	l.writer.Lock()
	return sync.OnceFunc(l.writer.Unlock)
}

func awaitQueue(t *testing.T, l *Log, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		l.queue.mu.Lock()
		have := len(l.queue.waiting)
		l.queue.mu.Unlock()
		if have == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited 10s for %d requests in the queue, there are %d", n, have)
		}
	}
}

func ends(t *testing.T, l *Log) int64 {
	t.Helper()
	all, err := l.Source("d").Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all[0].End
}

// occupy puts one publish into the committer's hands and keeps it there.
func occupy(t *testing.T, ctx context.Context, l *Log) <-chan rollcall.PublishResult {
	t.Helper()
	out := make(chan rollcall.PublishResult, 1)
	go func() { out <- l.Sender().Publish(ctx, "d", make([]rollcall.Message, 1))[0] }()
	for end := time.Now().Add(10 * time.Second); l.queue.taken.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited 10s for the committer to take a request")
		}
	}
	return out
}

func TestPublishersShareACommit(t *testing.T) {
	l := openHere(t)
	release := holdWriter(l)
	defer release()
	first := occupy(t, t.Context(), l)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if r := l.Sender().Publish(t.Context(), "d", make([]rollcall.Message, 1))[0]; r.Fate != rollcall.Stored {
				t.Error(r.Fate, r.Err)
			}
		})
	}
	awaitQueue(t, l, 50)
	release()
	all.Wait()
	<-first
	if groups := l.queue.taken.Load(); groups != 2 {
		t.Errorf("51 messages of 51 publishers took %d commits, want 2", groups)
	}
	if end := ends(t, l); end != 51 {
		t.Errorf("the log ends at %d, want 51", end)
	}
}

// A deadline in mid-commit is a doubt; one in the queue is none.
func TestPublishAtItsDeadline(t *testing.T) {
	l := openHere(t)
	release := holdWriter(l)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	first := occupy(t, ctx, l)
	second := make(chan rollcall.PublishResult, 1)
	go func() { second <- l.Sender().Publish(ctx, "d", make([]rollcall.Message, 1))[0] }()
	awaitQueue(t, l, 1)
	cancel()
	a, b := <-first, <-second
	if a.Fate != rollcall.Unknown || !errors.Is(a.Err, rollcall.ErrInDoubt) || !errors.Is(a.Err, context.Canceled) {
		t.Errorf("in the committer's hands: %v, %v", a.Fate, a.Err)
	}
	if b.Fate != rollcall.Unknown || errors.Is(b.Err, rollcall.ErrInDoubt) || !strings.Contains(b.Err.Error(), "surely not stored") {
		t.Errorf("in the queue: %v, %v", b.Fate, b.Err)
	}
	if c := l.Sender().Publish(ctx, "d", make([]rollcall.Message, 1))[0]; c.Fate != rollcall.Unknown || !errors.Is(c.Err, context.Canceled) {
		t.Errorf("after its deadline: %v, %v", c.Fate, c.Err)
	}
	release()
	if r := l.Sender().Publish(t.Context(), "d", make([]rollcall.Message, 1))[0]; r.Position.Offset != 1 {
		t.Errorf("the next is %+v, want offset 1: the first was stored after all, the second was not", r)
	}
}

// Requests beyond a group's size wait for the next, in order.
func TestQueueTakesInOrderUpToASize(t *testing.T) {
	var q queue
	q.init()
	for i := range 4 {
		q.put(&request{bytes: 10 * (i + 1)})
	}
	for _, want := range [][]int{{10, 20}, {30}, {40}} {
		var got []int
		for _, r := range q.take(30) {
			got = append(got, r.bytes)
		}
		if len(got) != len(want) || got[0] != want[0] {
			t.Errorf("took %v, want %v", got, want)
		}
	}
}

// Close answers what waits: it surely was not stored.
func TestCloseAnswersTheQueue(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "log.db"), Config{})
	if err == nil {
		err = l.Create(t.Context(), "d", 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	release := holdWriter(l)
	defer release()
	first := occupy(t, t.Context(), l)
	second := make(chan rollcall.PublishResult, 1)
	go func() { second <- l.Sender().Publish(t.Context(), "d", make([]rollcall.Message, 1))[0] }()
	awaitQueue(t, l, 1)
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	<-l.done
	release()
	if r := <-first; r.Fate != rollcall.Stored {
		t.Errorf("being written: %v, %v", r.Fate, r.Err)
	}
	// The committer may take the second before it sees the end.
	if q := (&queue{}); q.close() != nil || q.put(&request{}) {
		t.Error("a closed queue takes requests that nobody will answer")
	}
	if r := <-second; r.Fate != rollcall.Stored && !(r.Fate == rollcall.Unknown && errors.Is(r.Err, rollcall.ErrClosed)) {
		t.Errorf("in the queue: %v, %v", r.Fate, r.Err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
