// Package brokertest is the acceptance test of broker drivers: every driver
// passes it whole. What a capability says is demanded; what it does not say is
// tested through the substitute. The last cases check effects through the
// engine on store/memory and kill workers between any two steps.
package brokertest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Broker is one empty broker, for one case.
type Broker struct {
	// Sender connects as one more sending process would.
	Sender func(t testing.TB) rollcall.Sender
	// Source connects as one more receiving process would.
	Source func(t testing.TB, destination string) rollcall.Source
	// Recreate deletes a destination and makes it anew; nil where it cannot.
	Recreate func(t testing.TB, destination string)
	// Remove removes what lies below an offset, as retention does; nil where it cannot.
	Remove func(t testing.TB, destination string, partition int32, below int64)
	// Narrow connects as Source does, and takes at most 8 messages that are not settled;
	// nil where nothing is taken ahead of Fetch.
	Narrow func(t testing.TB, destination string) rollcall.Source
	// Coarse is how much before the time asked for a Tap may begin. Default: 0, exactly.
	Coarse time.Duration
	// Partitions is how many a new destination has.
	Partitions int
	// Destination and Group are names that no other case uses, where all cases share
	// one server. Default: "orders", "g".
	Destination, Group string
}

func (b Broker) withDefaults() Broker {
	if b.Destination == "" {
		b.Destination, b.Group = "orders", "g"
	}
	if b.Narrow == nil {
		b.Narrow = b.Source
	}
	return b
}

// Harness makes an empty broker.
type Harness func(t testing.TB) Broker

// patience is how long anything may take before the case fails. The tests of
// the kit itself, which expect failures, make it shorter.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("ROLLCALL_TEST_PATIENCE")); err == nil {
		return d
	}
	return 30 * time.Second
}()

// Case is one named test.
type Case struct {
	Name string
	Run  func(t *testing.T, h Harness)
}

// one is a case that needs one broker.
func one(f func(t *testing.T, b Broker)) func(*testing.T, Harness) {
	return func(t *testing.T, h Harness) { f(t, h(t).withDefaults()) }
}

// Run runs the whole kit.
func Run(t *testing.T, h Harness) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Run(t, h)
		})
	}
}

// Cases is the kit, by name.
func Cases() []Case {
	all := append(publishCases(), fetchCases()...)
	all = append(all, tapCases()...)
	all = append(all, ownershipCases()...)
	return append(all, engineCases()...)
}

func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// stamper numbers messages as one sender does, lane by partition.
type stamper struct {
	destination string
	life        rollcall.Life
	next        map[int32]uint64
}

func newStamper(b Broker) *stamper {
	return &stamper{destination: b.Destination, life: rollcall.NewLife(), next: make(map[int32]uint64)}
}

func (s *stamper) message(partition int32, key, body string) rollcall.Message {
	s.next[partition]++
	return rollcall.Message{
		ID: rollcall.MessageID("id-" + body), Destination: s.destination, Partition: partition, Key: key, Body: []byte(body), Time: time.Unix(1700000000, 123456789),
		Stamp: rollcall.Stamp{Life: s.life, Lane: uint32(partition), Sequence: s.next[partition], Origin: rollcall.OriginOf(s.destination)},
	}
}

// publish stores messages or fails the case.
func publish(t testing.TB, s rollcall.Sender, messages ...rollcall.Message) []rollcall.PublishResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	destination := messages[0].Destination
	if _, err := s.Lanes(ctx, destination); err != nil {
		t.Fatalf("Lanes: %v", err)
	}
	results := s.Publish(ctx, destination, messages)
	if len(results) != len(messages) {
		t.Fatalf("Publish gave %d results for %d messages", len(results), len(messages))
	}
	for i, r := range results {
		if r.Fate != rollcall.Stored {
			t.Fatalf("message %d: %v %v, want it stored", i, r.Fate, r.Err)
		}
	}
	return results
}

// located are positions of what was published to the first partition: the sender's, or
// where it is told none, those at which a reader finds the messages, in order.
func located(t testing.TB, b Broker, results []rollcall.PublishResult) []rollcall.PublishResult {
	t.Helper()
	if b.Sender(t).Capabilities().Positions || !b.Source(t, b.Destination).Capabilities().Positions {
		return results
	}
	out := make([]rollcall.PublishResult, 0, len(results))
	for _, batch := range tap(t, b, b.Destination, time.Time{}).read(len(results)) {
		for _, d := range batch.Deliveries {
			out = append(out, rollcall.PublishResult{Fate: rollcall.Stored, Position: d.Position})
		}
	}
	return out
}

// member is an owner that takes what it is given and remembers it.
type member struct {
	t     testing.TB
	sub   rollcall.Subscription
	start func(a rollcall.Assignment) rollcall.Start

	mu       sync.Mutex
	owned    map[rollcall.Partition]rollcall.Incarnation
	tokens   map[rollcall.Partition]rollcall.Token
	revoked  []rollcall.Partition
	lost     []rollcall.Partition
	draining chan struct{} // Revoked blocks until it is closed, if set
}

// Assigned implements rollcall.Owner.
func (m *member) Assigned(_ context.Context, assignments []rollcall.Assignment) ([]rollcall.Start, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	starts := make([]rollcall.Start, len(assignments))
	for i, a := range assignments {
		m.tokens[a.Partition] += 10
		starts[i] = rollcall.Start{Token: m.tokens[a.Partition]}
		if m.start != nil {
			starts[i] = m.start(a)
		}
		m.tokens[a.Partition] = starts[i].Token
		m.owned[a.Partition] = a.Incarnation
	}
	return starts, nil
}

// Revoked implements rollcall.Owner.
func (m *member) Revoked(ctx context.Context, partitions []rollcall.Partition) {
	m.mu.Lock()
	draining := m.draining
	m.revoked = append(m.revoked, partitions...)
	m.mu.Unlock()
	if draining != nil {
		select {
		case <-draining:
		case <-ctx.Done():
		}
	}
	m.forget(partitions)
}

// Lost implements rollcall.Owner.
func (m *member) Lost(partitions []rollcall.Partition) {
	m.mu.Lock()
	m.lost = append(m.lost, partitions...)
	m.mu.Unlock()
	m.forget(partitions)
}

func (m *member) forget(partitions []rollcall.Partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range partitions {
		delete(m.owned, p)
	}
}

func (m *member) owns() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.owned)
}

// sharedToken is the token of members of shared partitions.
const sharedToken = 77

func join(t testing.TB, b Broker, name string, start func(rollcall.Assignment) rollcall.Start) *member {
	t.Helper()
	return joinBy(t, b, b.Source(t, b.Destination), name, start)
}

func joinBy(t testing.TB, b Broker, source rollcall.Source, name string, start func(rollcall.Assignment) rollcall.Start) *member {
	t.Helper()
	m := &member{t: t, start: start, owned: make(map[rollcall.Partition]rollcall.Incarnation), tokens: make(map[rollcall.Partition]rollcall.Token)}
	sub, err := source.Subscribe(context.Background(),
		rollcall.SubscribeRequest{Group: b.Group, Worker: name, Token: sharedToken}, m)
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	m.sub = sub
	t.Cleanup(func() { m.close() })
	return m
}

func (m *member) close() {
	m.mu.Lock()
	if m.draining != nil {
		select {
		case <-m.draining:
		default:
			close(m.draining)
		}
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.sub.Close(ctx); err != nil {
		m.t.Errorf("Close: %v", err)
	}
}

// read fetches until n messages came, or fails.
func (m *member) read(n int) []rollcall.Batch {
	m.t.Helper()
	var out []rollcall.Batch
	got := 0
	for deadline := time.Now().Add(patience); got < n; {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited %v for %d messages, %d came", patience, n, got)
		}
		batches, err := m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 100, Min: 1, Wait: 100 * time.Millisecond})
		if err != nil {
			m.t.Fatalf("Fetch: %v", err)
		}
		for _, b := range batches {
			got += len(b.Deliveries)
		}
		out = append(out, batches...)
	}
	return out
}

// nothing fetches for a while and fails when a message comes.
func (m *member) nothing(why string) {
	m.t.Helper()
	batches, err := m.sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 100, Min: 1, Wait: 200 * time.Millisecond})
	if err != nil {
		m.t.Fatalf("Fetch: %v", err)
	}
	for _, b := range batches {
		for _, d := range b.Deliveries {
			m.t.Fatalf("message %q came, %s", d.Body, why)
		}
	}
}

func bodies(batches []rollcall.Batch) (out []string) {
	for _, b := range batches {
		for _, d := range b.Deliveries {
			out = append(out, string(d.Body))
		}
	}
	return out
}

// asStored is what came, in the order of storing where the broker keeps it; else sorted:
// the cases number their messages so that it is the same.
func asStored(t testing.TB, b Broker, came []string) []string {
	t.Helper()
	if !b.Source(t, b.Destination).Capabilities().Ordered {
		slices.Sort(came)
	}
	return came
}

func settleAll(batches []rollcall.Batch, verb rollcall.Verb) (out []rollcall.Settlement) {
	for _, b := range batches {
		for _, d := range b.Deliveries {
			out = append(out, rollcall.Settlement{Partition: b.Partition, Receipt: d.Receipt, Verb: verb})
		}
	}
	return out
}

func numbered(n int) string { return fmt.Sprintf("m%04d", n) }
