package rollcall_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// nosy is a side destination that does what the test says.
type nosy struct {
	*memory.Sender
	do atomic.Pointer[string]
}

func (s *nosy) is(what string) { s.do.Store(&what) }

func (s *nosy) MakeSide(ctx context.Context, d string) error {
	if *s.do.Load() == "missing" {
		return errors.New("you may not make it")
	}
	return s.Sender.MakeSide(ctx, d)
}

func (s *nosy) Lanes(ctx context.Context, d string) (rollcall.Lanes, error) {
	if d == rollcall.SideDestination && *s.do.Load() == "missing" {
		return nil, rollcall.ErrNoDestination
	}
	return s.Sender.Lanes(ctx, d)
}

func (s *nosy) Publish(ctx context.Context, d string, messages []rollcall.Message) []rollcall.PublishResult {
	if d == rollcall.SideDestination {
		switch *s.do.Load() {
		case "unwritable":
			return slices.Repeat([]rollcall.PublishResult{{Fate: rollcall.Refused, Err: errors.New("you may not write")}}, len(messages))
		case "full":
			return slices.Repeat([]rollcall.PublishResult{{Err: errors.New("no room")}}, len(messages))
		case "slow":
			<-ctx.Done()
			return make([]rollcall.PublishResult, len(messages))
		case "mute":
			return nil
		}
	}
	return s.Sender.Publish(ctx, d, messages)
}

// TestBooksFail: whatever is wrong with the side destination, messages are stored as
// ever, it is told of once, and what was missed is said when it works again.
func TestBooksFail(t *testing.T) {
	for _, what := range []string{"missing", "unwritable", "full", "slow", "mute"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b, seen := memory.New(memory.Config{Partitions: 2}), new(events)
			sender := &nosy{Sender: b.Sender()}
			sender.is(what)
			p := rollcall.NewPublisher(sender, rollcall.PublisherConfig{Books: quickBooks, Observer: seen})
			began := time.Now()
			for range 10 {
				for _, r := range p.Publish(t.Context(), "orders", rollcall.Message{}, rollcall.Message{}) {
					if r.Fate != rollcall.Stored {
						t.Fatal(r.Err)
					}
				}
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Fatalf("20 messages took %v", took)
			}
			waitFor(t, "word that the books fail", func() bool { return len(seen.booksFailed()) > 0 })
			time.Sleep(50 * time.Millisecond)
			if told := seen.booksFailed(); len(told) != 1 || told[0].Destination != rollcall.SideDestination || told[0].Err == nil || told[0].Missed < 1 {
				t.Fatalf("told %+v", told)
			}
			if got := len(b.Messages(rollcall.SideDestination)); got > 0 {
				t.Fatalf("%d records, the test is wrong", got)
			}
			sender.is("fine")
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := unite(readBooks(t, b))
			truthful(t, s, b.Messages("orders"))
			if complete(t, s); len(s.stored) != 20 || !s.ended[p.Life()] {
				t.Fatalf("books say %d stored; %v", len(s.stored), s.ended)
			}
		})
	}
}

// TestBooksDoNotHoldUpClose: where they cannot be written, Close waits no longer than it
// is told to.
func TestBooksDoNotHoldUpClose(t *testing.T) {
	sender := &nosy{Sender: memory.New(memory.Config{}).Sender()}
	sender.is("slow")
	p := rollcall.NewPublisher(sender, rollcall.PublisherConfig{Books: quickBooks, Observer: new(events)})
	p.Publish(t.Context(), "orders", rollcall.Message{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := p.Close(ctx); err != nil {
		t.Fatalf("every message has its fate: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Fatalf("Close took %v", took)
	}
}

// late answers after a while.
type late struct{ *memory.Sender }

func (s late) Publish(ctx context.Context, d string, messages []rollcall.Message) []rollcall.PublishResult {
	if d != rollcall.SideDestination {
		time.Sleep(50 * time.Millisecond)
	}
	return s.Sender.Publish(ctx, d, messages)
}

// TestBooksEndLast: the last record is written when the last fate is known.
func TestBooksEndLast(t *testing.T) {
	b := memory.New(memory.Config{Partitions: 1})
	p := rollcall.NewPublisher(late{b.Sender()}, rollcall.PublisherConfig{Batch: 1, Books: rollcall.BooksConfig{Every: time.Hour, Idle: time.Hour}})
	for range 3 {
		if err := p.Send(t.Context(), "orders", rollcall.Message{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	books := readBooks(t, b)
	s := unite(books)
	if complete(t, s); books[len(books)-1].Kind != rollcall.BookEnd || len(s.stored) != 3 {
		t.Fatalf("books are %+v", books)
	}
}
