package rollcall_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func TestPublisherNumbersWithoutHoles(t *testing.T) {
	b := memory.New(memory.Config{Partitions: 3, MaxBytes: 1000})
	p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Batch: 4})
	var messages []rollcall.Message
	for i := range 50 {
		messages = append(messages, rollcall.Message{Key: fmt.Sprint(i % 7), Body: []byte("x")})
		if i%10 == 5 { // refused before it is numbered: no number is burnt
			messages = append(messages, rollcall.Message{Body: make([]byte, 2000)})
		}
	}
	refused := 0
	for _, r := range p.Publish(t.Context(), "orders", messages...) {
		if r.Fate == rollcall.Refused && errors.Is(r.Err, rollcall.ErrTooLarge) {
			refused++
		} else if r.Fate != rollcall.Stored {
			t.Fatalf("%v %v", r.Fate, r.Err)
		}
	}
	if refused != 5 {
		t.Fatalf("%d refused, want 5", refused)
	}
	next := make(map[uint32]uint64)
	ids := make(map[rollcall.MessageID]bool)
	for _, m := range b.Messages("orders") {
		next[m.Stamp.Lane]++
		if m.Stamp.Sequence != next[m.Stamp.Lane] || m.Stamp.Life != p.Life() || m.Stamp.Origin != rollcall.OriginOf("orders") ||
			m.Stamp.OwnID || m.ID == "" || ids[m.ID] || int32(m.Stamp.Lane) != m.Partition || m.Time.IsZero() {
			t.Fatalf("message %+v, want number %d of its lane", m, next[m.Stamp.Lane])
		}
		ids[m.ID] = true
	}
	if other := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{}); other.Life() == p.Life() {
		t.Fatal("two publishers have one life")
	}
}

func TestPublisherKeepsStampsAndIDs(t *testing.T) {
	b := memory.New(memory.Config{})
	p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{})
	stamp := rollcall.Stamp{Life: rollcall.NewLife(), Sequence: 42, Origin: 7}
	p.Publish(t.Context(), "orders", rollcall.Message{Stamp: stamp}, rollcall.Message{ID: "mine", Key: "k"})
	var own bool
	for _, m := range b.Messages("orders") {
		switch {
		case m.Stamp == stamp:
		case m.ID == "mine" && m.Stamp.OwnID:
			own = true
		default:
			t.Fatalf("message %+v", m)
		}
	}
	if !own {
		t.Fatal("the application's own id is not marked as such")
	}
}

// TestPublisherRetries: a lost answer leads to the same id and stamp again,
// and nothing overtakes it.
func TestPublisherRetries(t *testing.T) {
	b := memory.New(memory.Config{Partitions: 1})
	n := 0
	b.OnPublish(func(string, []rollcall.Message) memory.PublishFault {
		n++
		return []memory.PublishFault{memory.LoseReply, memory.LoseCall, memory.NoFault}[n%3]
	})
	p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Batch: 3, RetryFirst: time.Microsecond})
	var messages []rollcall.Message
	for range 20 {
		messages = append(messages, rollcall.Message{Key: "k"})
	}
	for _, r := range p.Publish(t.Context(), "orders", messages...) {
		if r.Fate != rollcall.Stored {
			t.Fatalf("%v %v", r.Fate, r.Err)
		}
	}
	byNumber := make(map[uint64]rollcall.MessageID)
	first := uint64(0)
	for _, m := range b.Messages("orders") {
		if id, again := byNumber[m.Stamp.Sequence]; again && id != m.ID {
			t.Fatalf("number %d has ids %s and %s", m.Stamp.Sequence, id, m.ID)
		} else if !again && m.Stamp.Sequence != first+1 {
			t.Fatalf("number %d came first after %d", m.Stamp.Sequence, first)
		} else if !again {
			first++
		}
		byNumber[m.Stamp.Sequence] = m.ID
	}
	if len(byNumber) != 20 {
		t.Fatalf("%d messages stored, want 20", len(byNumber))
	}
}

// blockedSender answers only when it is told to.
type blockedSender struct {
	rollcall.Sender
	open chan struct{}
}

func (s *blockedSender) Publish(ctx context.Context, d string, ms []rollcall.Message) []rollcall.PublishResult {
	select {
	case <-s.open:
		return s.Sender.Publish(ctx, d, ms)
	case <-ctx.Done():
		return make([]rollcall.PublishResult, len(ms))
	}
}

func TestPublisherBackPressure(t *testing.T) {
	b := memory.New(memory.Config{Partitions: 1})
	sender := &blockedSender{b.Sender(), make(chan struct{})}
	p := rollcall.NewPublisher(sender, rollcall.PublisherConfig{Buffer: 5, Batch: 2})
	var mu sync.Mutex
	stored := 0
	done := func(r rollcall.PublishResult) {
		mu.Lock()
		defer mu.Unlock()
		if r.Fate == rollcall.Stored {
			stored++
		}
	}
	for range 5 {
		if err := p.Send(t.Context(), "orders", rollcall.Message{}, done); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := p.Send(ctx, "orders", rollcall.Message{}, done); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Send into a full buffer: %v, want it to block", err)
	}
	close(sender.open)
	if err := p.Close(t.Context()); err != nil { // flushes
		t.Fatal(err)
	}
	if stored != 5 {
		t.Fatalf("%d stored after Close, want 5", stored)
	}
	if err := p.Send(t.Context(), "orders", rollcall.Message{}, done); !errors.Is(err, rollcall.ErrClosed) {
		t.Fatalf("Send after Close: %v, want ErrClosed", err)
	}
}

// TestPublisherCloseInDoubt: what has no fate when Close must end is Unknown.
func TestPublisherCloseInDoubt(t *testing.T) {
	sender := &blockedSender{memory.New(memory.Config{}).Sender(), make(chan struct{})}
	p := rollcall.NewPublisher(sender, rollcall.PublisherConfig{})
	fates := make(chan rollcall.PublishResult, 1)
	if err := p.Send(t.Context(), "orders", rollcall.Message{}, func(r rollcall.PublishResult) { fates <- r }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Close(ctx); !errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("Close: %v, want ErrInDoubt", err)
	}
	if r := <-fates; r.Fate != rollcall.Unknown {
		t.Fatalf("fate %v, want unknown", r.Fate)
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	sender := &blockedSender{memory.New(memory.Config{}).Sender(), make(chan struct{})}
	p := rollcall.NewPublisher(sender, rollcall.PublisherConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if r := p.Publish(ctx, "orders", rollcall.Message{})[0]; r.Fate != rollcall.Unknown || !errors.Is(r.Err, rollcall.ErrInDoubt) {
		t.Fatalf("%v %v, want unknown and in doubt", r.Fate, r.Err)
	}
	close(sender.open)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestStampRoundTrip(t *testing.T) {
	for _, s := range []rollcall.Stamp{
		{Sequence: 1},
		{Life: rollcall.NewLife(), Lane: 1<<32 - 1, Sequence: 1<<64 - 1, Origin: 1<<64 - 1, OwnID: true},
		{Life: rollcall.NewLife(), Lane: 300, Sequence: 1 << 40, Origin: 5},
	} {
		b := rollcall.AppendStamp(nil, s)
		if len(b) > rollcall.MaxStampSize {
			t.Errorf("%d bytes, at most %d", len(b), rollcall.MaxStampSize)
		}
		back, err := rollcall.ParseStamp(b)
		if err != nil || back != s {
			t.Errorf("%+v came back as %+v (%v)", s, back, err)
		}
		for n := range b {
			if _, err := rollcall.ParseStamp(b[:n]); !errors.Is(err, rollcall.ErrBadStamp) {
				t.Errorf("%d of %d bytes were taken for a stamp: %v", n, len(b), err)
			}
		}
		if _, err := rollcall.ParseStamp(append(b, 0)); !errors.Is(err, rollcall.ErrBadStamp) {
			t.Errorf("bytes after the stamp were ignored: %v", err)
		}
		b[0] = b[0]&0x80 | 2
		if _, err := rollcall.ParseStamp(b); !errors.Is(err, rollcall.ErrBadStamp) {
			t.Errorf("a stamp of version 2 was read: %v", err)
		}
	}
}

func FuzzParseStamp(f *testing.F) {
	f.Add(rollcall.AppendStamp(nil, rollcall.Stamp{Life: rollcall.NewLife(), Lane: 3, Sequence: 9, Origin: 1, OwnID: true}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := rollcall.ParseStamp(b)
		if err != nil {
			return
		}
		back, err := rollcall.ParseStamp(rollcall.AppendStamp(nil, s))
		if err != nil || back != s || s.IsZero() {
			t.Fatalf("%x: %+v came back as %+v (%v)", b, s, back, err)
		}
	})
}

// BenchmarkStamp is what numbering and encoding cost a message.
func BenchmarkStamp(b *testing.B) {
	s := rollcall.Stamp{Life: rollcall.NewLife(), Lane: 3, Origin: rollcall.OriginOf("orders")}
	buf := make([]byte, 0, rollcall.MaxStampSize)
	for b.Loop() {
		s.Sequence++
		buf = rollcall.AppendStamp(buf[:0], s)
	}
	b.ReportMetric(float64(len(buf)), "bytes/stamp")
}

func TestRollScopes(t *testing.T) {
	s := rollcall.SenderScope(rollcall.Stamp{Life: rollcall.NewLife(), Lane: 7, Origin: 9, Sequence: 1})
	p := rollcall.PartitionScope(rollcall.Partition{Destination: "d", Number: 7}, rollcall.Incarnation{1})
	for _, scope := range []rollcall.Scope{s, p} {
		back, err := rollcall.ParseScope(scope.Bytes())
		if err != nil || back != scope {
			t.Fatalf("%+v came back as %+v (%v)", scope, back, err)
		}
	}
	if (s.Compare(p) < 0) != (bytes.Compare(s.Bytes(), p.Bytes()) < 0) || s.Compare(s) != 0 {
		t.Fatal("Compare and Bytes order differently")
	}
	if _, err := rollcall.ParseScope(s.Bytes()[1:]); err == nil {
		t.Fatal("a short scope was read")
	}
	if _, err := rollcall.OpenRoll(rollcall.RollRow{Scope: s, Data: []byte{0xff, 1}}); err == nil {
		t.Fatal("a damaged roll was opened")
	}
}
