package brokertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func publishCases() []Case {
	return []Case{
		{"publish-content", one(publishContent)},
		{"publish-too-large", one(publishTooLarge)},
		{"publish-repeat-is-stored", one(publishRepeat)},
		{"publish-at-deadline", one(publishAtDeadline)},
		{"publish-together", one(publishTogether)},
		{"lanes", one(lanes)},
	}
}

// publishContent: every byte of every field arrives.
func publishContent(t *testing.T, b Broker) {
	s := newStamper(b)
	want := []rollcall.Message{
		s.message(0, "", ""),
		s.message(0, "key", "plain"),
		s.message(0, "nul\x00and\xff", "\x00\xff\xfe not UTF-8"),
		s.message(0, "ключ", string(bytes.Repeat([]byte("x"), 300_000))),
	}
	want[1].Headers = []rollcall.Header{{Name: "a", Value: []byte("1")}, {Name: "a", Value: []byte("2")}, {Name: "b", Value: []byte{0, 255}}}
	want[2].ID = "id \x00\xff"
	want[3].Stamp.OwnID = true
	sender := b.Sender(t)
	results := publish(t, sender, want...)
	m := join(t, b, "w", nil)
	var got []rollcall.Delivery
	for _, batch := range m.read(len(want)) {
		got = append(got, batch.Deliveries...)
	}
	if !b.Source(t, b.Destination).Capabilities().Ordered {
		slices.SortFunc(got, func(a, b rollcall.Delivery) int { return cmp.Compare(a.Stamp.Sequence, b.Stamp.Sequence) })
	}
	for i, w := range want {
		g := got[i]
		if g.ID != w.ID || g.Key != w.Key || !bytes.Equal(g.Body, w.Body) || g.Stamp != w.Stamp || !g.Time.Equal(w.Time.Truncate(time.Millisecond)) && !g.Time.Equal(w.Time) {
			t.Errorf("message %d: got id %q key %q %d bytes stamp %v time %v", i, g.ID, g.Key, len(g.Body), g.Stamp, g.Time)
		}
		if !slices.EqualFunc(g.Headers, w.Headers, func(a, b rollcall.Header) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }) {
			t.Errorf("message %d: headers %v, want %v", i, g.Headers, w.Headers)
		}
		if g.Destination != b.Destination || g.Message.Partition != 0 {
			t.Errorf("message %d: read at %s/%d", i, g.Destination, g.Message.Partition)
		}
		if sender.Capabilities().Positions && !samePlace(g.Position, results[i].Position) {
			t.Errorf("message %d: delivered at %+v, published at %+v", i, g.Position, results[i].Position)
		}
	}
}

// samePlace: a sender may not be told the leader epoch.
func samePlace(a, b rollcall.Position) bool {
	return a.Incarnation == b.Incarnation && a.Offset == b.Offset
}

// publishTooLarge: refused, alone; its neighbours are stored.
func publishTooLarge(t *testing.T, b Broker) {
	sender := b.Sender(t)
	most := sender.Capabilities().MaxBytes
	if most == 0 {
		t.Fatal("Capabilities.MaxBytes must say the limit")
	}
	s := newStamper(b)
	if _, err := sender.Lanes(context.Background(), b.Destination); err != nil {
		t.Fatal(err)
	}
	big := s.message(0, "", "big")
	big.Body = make([]byte, most+1)
	results := sender.Publish(context.Background(), b.Destination, []rollcall.Message{s.message(0, "", "before"), big, s.message(0, "", "after")})
	fates := []rollcall.Fate{results[0].Fate, results[1].Fate, results[2].Fate}
	if !slices.Equal(fates, []rollcall.Fate{rollcall.Stored, rollcall.Refused, rollcall.Stored}) || !errors.Is(results[1].Err, rollcall.ErrTooLarge) {
		t.Fatalf("fates %v (%v), want stored, refused (too large), stored", fates, results[1].Err)
	}
	m := join(t, b, "w", nil)
	if got := asStored(t, b, bodies(m.read(2))); !slices.Equal(got, asStored(t, b, []string{"before", "after"})) {
		t.Fatalf("stored %v", got)
	}
}

// publishRepeat: the broker absorbs nothing, or the audit could not tell.
func publishRepeat(t *testing.T, b Broker) {
	s := newStamper(b)
	m := s.message(0, "k", "twice")
	sender := b.Sender(t)
	publish(t, sender, m, m)
	publish(t, sender, m)
	reader := join(t, b, "w", nil)
	if got := bodies(reader.read(3)); !slices.Equal(got, []string{"twice", "twice", "twice"}) {
		t.Fatalf("stored %v, want three copies", got)
	}
}

// publishAtDeadline: at the deadline of ctx what has no answer is Unknown; it
// is never called stored.
func publishAtDeadline(t *testing.T, b Broker) {
	sender := b.Sender(t)
	s := newStamper(b)
	publish(t, sender, s.message(0, "", "first"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	results := sender.Publish(ctx, b.Destination, []rollcall.Message{s.message(0, "", "late")})
	if len(results) != 1 || results[0].Fate == rollcall.Stored || results[0].Err == nil {
		t.Fatalf("results %+v, want one that is not stored, with its error", results)
	}
}

// publishTogether: senders side by side; each one's messages keep their order, where the
// broker has one, and positions are unique.
func publishTogether(t *testing.T, b Broker) {
	const senders, each = 4, 50
	var mu sync.Mutex
	positions := make(map[rollcall.Position]bool)
	var all sync.WaitGroup
	for n := range senders {
		sender := b.Sender(t)
		if _, err := sender.Lanes(context.Background(), b.Destination); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			s := newStamper(b)
			for i := range each {
				m := s.message(0, numbered(n), numbered(i))
				m.Time = time.Now()
				results := sender.Publish(context.Background(), b.Destination, []rollcall.Message{m})
				if results[0].Fate != rollcall.Stored {
					t.Errorf("sender %d message %d: %v", n, i, results[0].Err)
					return
				}
				mu.Lock()
				if p := results[0].Position; !p.IsZero() && positions[p] {
					t.Errorf("position %+v was given twice", p)
				} else {
					positions[p] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	ordered := b.Source(t, b.Destination).Capabilities().Ordered
	last := make(map[string]string)
	for _, batch := range join(t, b, "w", nil).read(senders * each) {
		for _, d := range batch.Deliveries {
			if ordered && string(d.Body) <= last[d.Key] {
				t.Fatalf("sender %s: %s after %s", d.Key, d.Body, last[d.Key])
			}
			last[d.Key] = string(d.Body)
		}
	}
}

// lanes: one Key, one lane; without a Key they are spread; names are distinct.
func lanes(t *testing.T, b Broker) {
	sender := b.Sender(t)
	l, err := sender.Lanes(context.Background(), b.Destination)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Sender(t).Lanes(context.Background(), b.Destination)
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[int32]bool)
	names := make(map[string]int32)
	for i := range 200 {
		keyed := rollcall.Message{Key: numbered(i)}
		lane := l.Pick(&keyed)
		if lane != l.Pick(&keyed) || lane != again.Pick(&keyed) {
			t.Fatalf("key %s has two lanes", keyed.Key)
		}
		bare := l.Pick(&rollcall.Message{})
		used[bare] = true
		for _, n := range []int32{lane, bare} {
			if other, ok := names[l.Name(n)]; ok && other != n {
				t.Fatalf("lanes %d and %d have one name", n, other)
			}
			names[l.Name(n)] = n
		}
	}
	if b.Partitions > 1 && len(used) != b.Partitions {
		t.Errorf("messages without a key go to %d of %d partitions", len(used), b.Partitions)
	}
}
