package filelog_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// patience is how long a test waits for anything before it says what for.
const patience = 10 * time.Second

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "data", "log.db") }

func openLog(t testing.TB, path string, config filelog.Config) *filelog.Log {
	t.Helper()
	l, err := filelog.Open(path, config)
	if err != nil {
		t.Fatalf("Open(%s): %v", path, err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// fill publishes n messages to one partition, with bodies "0", "1" ….
func fill(t testing.TB, l *filelog.Log, destination string, partition int32, from, n int) {
	t.Helper()
	messages := make([]rollcall.Message, n)
	for i := range messages {
		messages[i] = rollcall.Message{ID: rollcall.MessageID(fmt.Sprint(from + i)), Partition: partition, Body: fmt.Append(nil, from+i)}
	}
	publish(t, l, destination, messages...)
}

// publish demands that everything is stored.
func publish(t testing.TB, l *filelog.Log, destination string, messages ...rollcall.Message) []rollcall.PublishResult {
	t.Helper()
	results := l.Sender().Publish(t.Context(), destination, messages)
	for i, r := range results {
		if r.Fate != rollcall.Stored || r.Err != nil {
			t.Fatalf("message %d of %d: %v, %v", i, len(messages), r.Fate, r.Err)
		}
	}
	return results
}

// owner is what an engine would be: it remembers what it was told.
type owner struct {
	mu       sync.Mutex
	owned    map[rollcall.Partition]rollcall.Assignment
	starts   map[rollcall.Partition]rollcall.Position
	token    rollcall.Token
	lost     []rollcall.Partition
	revoked  []rollcall.Partition
	assigned int
	fail     error                      // of Assigned
	drain    func([]rollcall.Partition) // runs in Revoked
}

func newOwner() *owner {
	return &owner{owned: map[rollcall.Partition]rollcall.Assignment{}, starts: map[rollcall.Partition]rollcall.Position{}}
}

func (o *owner) Assigned(_ context.Context, as []rollcall.Assignment) ([]rollcall.Start, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.assigned++
	if o.fail != nil {
		return nil, o.fail
	}
	out := make([]rollcall.Start, len(as))
	for i, a := range as {
		if _, twice := o.owned[a.Partition]; twice {
			panic(fmt.Sprintf("%v assigned twice", a.Partition))
		}
		o.token++
		o.owned[a.Partition] = a
		out[i] = rollcall.Start{Token: o.token, Position: o.starts[a.Partition]}
	}
	return out, nil
}

func (o *owner) Revoked(_ context.Context, ps []rollcall.Partition) {
	o.mu.Lock()
	drain := o.drain
	o.mu.Unlock()
	if drain != nil {
		drain(ps)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range ps {
		delete(o.owned, p)
		o.revoked = append(o.revoked, p)
	}
}

func (o *owner) Lost(ps []rollcall.Partition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range ps {
		delete(o.owned, p)
		o.lost = append(o.lost, p)
	}
}

func (o *owner) count() int { o.mu.Lock(); defer o.mu.Unlock(); return len(o.owned) }

func (o *owner) lostCount() int { o.mu.Lock(); defer o.mu.Unlock(); return len(o.lost) }

// member is one subscription with its owner.
type member struct {
	*owner
	rollcall.Subscription
}

func join(t testing.TB, l *filelog.Log, o *owner, destinations ...string) *member {
	t.Helper()
	sub, err := l.Source(destinations...).Subscribe(t.Context(), rollcall.SubscribeRequest{Group: "g", Worker: "w"}, o)
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := sub.Close(ctx); err != nil {
			t.Errorf("close subscription: %v", err)
		}
	})
	return &member{o, sub}
}

// owns waits until the member owns n partitions and can fetch from them.
func (m *member) owns(t testing.TB, n int) {
	t.Helper()
	await(t, fmt.Sprintf("a member to own %d partitions", n), func() bool { return m.count() == n })
}

// take fetches until it has n messages.
func (m *member) take(t testing.TB, n int) []rollcall.Delivery {
	t.Helper()
	var out []rollcall.Delivery
	for end := time.Now().Add(patience); len(out) < n; {
		batches, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: n - len(out), Min: 1, Wait: 100 * time.Millisecond})
		if err != nil {
			t.Fatalf("Fetch after %d of %d messages: %v", len(out), n, err)
		}
		for _, b := range batches {
			out = append(out, b.Deliveries...)
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v for %d messages, got %d", patience, n, len(out))
		}
	}
	return out
}

// fetchError fetches until it fails.
func (m *member) fetchError(t testing.TB) error {
	t.Helper()
	var err error
	await(t, "Fetch to fail", func() bool {
		_, err = m.Fetch(t.Context(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 20 * time.Millisecond})
		return err != nil
	})
	return err
}

// await polls until ok, or says what it waited for.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// mustBe demands an error and its next step or place.
func mustBe(t testing.TB, err, want error, texts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
	mustSay(t, err, texts...)
}

func mustSay(t testing.TB, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v does not say %q", err, text)
		}
	}
}

func create(t testing.TB, l *filelog.Log, destination string, partitions int) string {
	t.Helper()
	if err := l.Create(t.Context(), destination, partitions); err != nil {
		t.Fatal(err)
	}
	return destination
}

// bodies are the numbers that fill wrote.
func bodies(ds []rollcall.Delivery) []string {
	out := make([]string, len(ds))
	for i := range ds {
		out[i] = string(ds[i].Body)
	}
	return out
}

// upTo is what fill wrote from a number up to another.
func upTo(from, to int) []string {
	out := []string{}
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

// settle acks deliveries of one partition.
func (m *member) settle(t testing.TB, verb rollcall.Verb, ds ...rollcall.Delivery) []error {
	t.Helper()
	out := make([]rollcall.Settlement, len(ds))
	for i, d := range ds {
		out[i] = rollcall.Settlement{Partition: rollcall.Partition{Destination: d.Destination, Number: d.Partition}, Receipt: d.Receipt, Verb: verb}
	}
	return m.Settle(t.Context(), out)
}

func noErrors(t testing.TB, errs []error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func extent(t testing.TB, l *filelog.Log, destination string, partition int) rollcall.Extent {
	t.Helper()
	all, err := l.Source(destination).Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all[partition]
}
