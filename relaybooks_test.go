package rollcall_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	memorystore "github.com/rollcall-mq/rollcall/store/memory"
)

// enqueue puts n messages into the outbox.
func enqueue(t testing.TB, db *memorystore.Database, n int) {
	t.Helper()
	store := memorystore.Open(db)
	tx, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var messages []rollcall.Message
	for i := range n {
		messages = append(messages, rollcall.Message{Destination: "orders", Key: fmt.Sprint(i % 5)})
	}
	if err := store.Outbox().Enqueue(t.Context(), tx.User(), messages); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRelayKeepsBooks: lost answers and relays that die between any two steps; what the
// next one finds stamped it sends under the life that numbered it.
func TestRelayKeepsBooks(t *testing.T) {
	b, db := memory.New(memory.Config{Partitions: 3}), memorystore.NewDatabase(memorystore.Config{})
	enqueue(t, db, 200)
	n := 0
	b.OnPublish(func(d string, _ []rollcall.Message) memory.PublishFault {
		if d == rollcall.SideDestination {
			return memory.NoFault
		}
		n++
		return []memory.PublishFault{memory.LoseReply, memory.NoFault, memory.LoseCall}[n%3]
	})
	for range 5 { // each life sends a little, and stops
		ctx, stop := stopsAfter(t.Context(), 3)
		sender := countingSender{b.Sender(), stop}
		relay := rollcall.NewRelay(memorystore.Open(db), sender, rollcall.RelayConfig{Batch: 11, Books: quickBooks, Observer: new(events)})
		_ = relay.Run(ctx)
	}
	relay := rollcall.NewRelay(memorystore.Open(db), b.Sender(), rollcall.RelayConfig{Batch: 11, Books: quickBooks, Observer: new(events)})
	if err := relay.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := unite(readBooks(t, b))
	truthful(t, s, b.Messages("orders"))
	complete(t, s)
	if len(s.stored) != 200 || len(s.given) < 200 || len(s.ended) < 2 {
		t.Fatalf("books say %d stored of %d given, by %d lives", len(s.stored), len(s.given), len(s.ended))
	}
	for life, ended := range s.ended {
		if !ended {
			t.Fatalf("life %v has not ended, and its relay has", life)
		}
	}
	enqueue(t, db, 10) // the same relay again is another life
	if err := relay.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := unite(readBooks(t, b))
	truthful(t, again, b.Messages("orders"))
	if complete(t, again); len(again.stored) != 210 || len(again.ended) != len(s.ended)+1 {
		t.Fatalf("then books say %d stored, by %d lives, before %d", len(again.stored), len(again.ended), len(s.ended))
	}
}

// TestRelayBooksOfRefusals: what this life numbered and the broker refused is void, until
// it is let go again and stored.
func TestRelayBooksOfRefusals(t *testing.T) {
	b, db := memory.New(memory.Config{Partitions: 1}), memorystore.NewDatabase(memorystore.Config{})
	enqueue(t, db, 10)
	refusing := true
	sender := picky{b.Sender(), func(m *rollcall.Message) bool { return refusing && m.Stamp.Sequence%2 == 0 }}
	store := memorystore.Open(db)
	drain := func() {
		t.Helper()
		if err := rollcall.NewRelay(store, sender, rollcall.RelayConfig{Books: quickBooks, Observer: new(events)}).Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	drain()
	s := unite(readBooks(t, b))
	truthful(t, s, b.Messages("orders"))
	if complete(t, s); len(s.stored) != 5 || len(s.void) != 5 || len(s.maybe) != 0 {
		t.Fatalf("%d stored, %d void, %d maybe; want 5, 5, 0", len(s.stored), len(s.void), len(s.maybe))
	}
	attempts := store.Outbox().(rollcall.Attempts)
	kept, err := attempts.Kept(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int64, len(kept))
	for i, row := range kept {
		ids[i] = row.ID
	}
	if _, err := attempts.Redrive(t.Context(), ids[:4]); err != nil {
		t.Fatal(err)
	}
	drain() // by another life, which cannot know that nobody else has sent them
	s = unite(readBooks(t, b))
	if len(s.stored) != 5 || len(s.maybe) != 4 {
		t.Fatalf("refused again: %d stored, %d maybe; want 5, 4", len(s.stored), len(s.maybe))
	}
	refusing = false
	if _, err := attempts.Redrive(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	drain()
	if s = unite(readBooks(t, b)); len(s.stored) != 10 {
		t.Fatalf("at last %d stored, want 10", len(s.stored))
	}
}

// TestRelayBooksOfDoubt: what was sent without an answer and refused the second time is
// not void.
func TestRelayBooksOfDoubt(t *testing.T) {
	b, db := memory.New(memory.Config{Partitions: 1}), memorystore.NewDatabase(memorystore.Config{})
	enqueue(t, db, 10)
	calls := 0
	b.OnPublish(func(d string, _ []rollcall.Message) memory.PublishFault {
		if d == rollcall.SideDestination {
			return memory.NoFault
		}
		calls++
		return memory.LoseReply
	})
	sender := picky{b.Sender(), func(*rollcall.Message) bool { return calls > 0 }}
	if err := rollcall.NewRelay(memorystore.Open(db), sender, rollcall.RelayConfig{Books: quickBooks, Observer: new(events)}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := unite(readBooks(t, b))
	truthful(t, s, b.Messages("orders"))
	if complete(t, s); len(s.maybe) != 10 || len(b.Messages("orders")) != 10 {
		t.Fatalf("%d maybe, %d void, %d are there", len(s.maybe), len(s.void), len(b.Messages("orders")))
	}
}

// TestRelayBooksOfLostStamps: numbers of which nobody knows whether they are in rows are
// no hole in the books.
func TestRelayBooksOfLostStamps(t *testing.T) {
	b, db := memory.New(memory.Config{Partitions: 2}), memorystore.NewDatabase(memorystore.Config{})
	enqueue(t, db, 30)
	store := &losingStamps{Store: memorystore.Open(db)}
	if err := rollcall.NewRelay(store, b.Sender(), rollcall.RelayConfig{Batch: 10, Books: quickBooks, Observer: new(events)}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := unite(readBooks(t, b))
	truthful(t, s, b.Messages("orders"))
	if complete(t, s); len(s.stored) != 30 || len(s.given) <= 30 || !slices.Contains(lost(s), true) {
		t.Fatalf("%d stored of %d given, %d maybe", len(s.stored), len(s.given), len(s.maybe))
	}
}

// lost tells of each number that may be stored whether it is not.
func lost(s said) (out []bool) {
	for n := range s.maybe {
		out = append(out, !s.stored[n])
	}
	return out
}

var errNoAnswer = errors.New("no answer")

// losingStamps writes the first stamps, or not, and gives no answer.
type losingStamps struct {
	*memorystore.Store
	calls int
}

func (s *losingStamps) Outbox() rollcall.Outbox[*memorystore.Tx] {
	return losingOutbox{s.Store.Outbox(), s}
}

type losingOutbox struct {
	rollcall.Outbox[*memorystore.Tx]
	store *losingStamps
}

func (o losingOutbox) Stamp(ctx context.Context, hold rollcall.Hold, rows []rollcall.OutboxRow) error {
	o.store.calls++
	switch o.store.calls {
	case 1: // it has not happened, and nobody knows
		return fmt.Errorf("%w: %w", rollcall.ErrInDoubt, errNoAnswer)
	case 2: // it has
		return errors.Join(fmt.Errorf("%w: %w", rollcall.ErrInDoubt, errNoAnswer), o.Outbox.Stamp(ctx, hold, rows))
	}
	return o.Outbox.Stamp(ctx, hold, rows)
}

// stopsAfter ends a context at the n-th call.
func stopsAfter(ctx context.Context, n int) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, func() {
		if n--; n == 0 {
			cancel()
		}
	}
}

// countingSender calls with every batch of messages, before it is sent.
type countingSender struct {
	*memory.Sender
	each func()
}

func (s countingSender) Publish(ctx context.Context, d string, messages []rollcall.Message) []rollcall.PublishResult {
	if d != rollcall.SideDestination {
		s.each()
	}
	return s.Sender.Publish(ctx, d, messages)
}
