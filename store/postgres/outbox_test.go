package postgres_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
)

// TestStampedOnce: a row that has a stamp keeps it: it may have been sent with
// it. The same stamp again is no error.
func TestStampedOnce(t *testing.T) {
	b := newBench(t)
	enqueue(t, b, "one")
	outbox := b.store.Outbox()
	acquired, err := b.store.Acquire(t.Context(), "g", []rollcall.Holder{{Worker: "relay"}})
	if err != nil {
		t.Fatal(err)
	}
	hold := rollcall.Hold{Group: "g", Holder: rollcall.Holder{Worker: "relay"}, Token: acquired[0].Token}
	stamp := func() []rollcall.OutboxRow {
		rows, err := outbox.Pending(t.Context(), 10)
		if err != nil || len(rows) != 1 {
			t.Fatal(rows, err)
		}
		rows[0].Message.Stamp = rollcall.Stamp{Life: rollcall.NewLife(), Sequence: 1, Origin: rollcall.OriginOf("out")}
		return rows
	}
	first, second := stamp(), stamp()
	for range 2 {
		if err := outbox.Stamp(t.Context(), hold, first); err != nil {
			t.Fatal(err)
		}
	}
	if err := outbox.Stamp(t.Context(), hold, second); err == nil || !strings.Contains(err.Error(), "another stamp") {
		t.Fatalf("a second stamp: %v, want it refused", err)
	}
	rows, err := outbox.Pending(t.Context(), 10)
	if err != nil || rows[0].Message.Stamp != first[0].Message.Stamp {
		t.Fatalf("%+v, %v: the stamp was changed", rows, err)
	}
}

func enqueue(t *testing.T, b *bench, body string) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), b.store.DB(), func(tx pgx.Tx) error {
		return b.store.Outbox().Enqueue(t.Context(), tx, []rollcall.Message{{Destination: "out", Body: []byte(body)}})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSlowTransaction: a row whose transaction began earlier and commits later
// has a lower id than one that was sent already. It is not skipped.
func TestSlowTransaction(t *testing.T) {
	b := newBench(t)
	slow, err := b.store.DB().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Outbox().Enqueue(t.Context(), slow, []rollcall.Message{{Destination: "out", Body: []byte("slow")}}); err != nil {
		t.Fatal(err)
	}
	enqueue(t, b, "fast")
	drain := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := rollcall.NewRelay(b.store, b.broker.Sender(), rollcall.RelayConfig{}).Drain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	drain()
	if n := len(b.broker.Messages("out")); n != 1 {
		t.Fatalf("%d messages are sent, want the fast one", n)
	}
	if err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	drain()
	if n := len(b.broker.Messages("out")); n != 2 {
		t.Fatalf("%d messages are sent, want both", n)
	}
}

// TestDamagedOutboxRow: a row that cannot be read stops nobody: it is told, kept
// and shown, and those before and behind it are sent.
func TestDamagedOutboxRow(t *testing.T) {
	for name, c := range map[string]struct{ damage, says string }{
		"a flipped body": {"body = 'two!'", "sum"}, "no headers": {"headers = '\\x01ff'", "sum"}, "half a stamp": {"stamp = '\\x01'", "sum"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for _, body := range []string{"one", "two", "three"} {
				enqueue(t, b, body)
			}
			exec(t, b.store, "UPDATE "+b.schema+".outbox SET "+c.damage+" WHERE body = 'two'")
			told := make(chan rollcall.SetAside, 10)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := rollcall.NewRelay(b.store, b.broker.Sender(), rollcall.RelayConfig{Observer: asides(told)}).Drain(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var sent []string
			for _, m := range b.broker.Messages("out") {
				sent = append(sent, string(m.Body))
			}
			if !slices.Equal(sent, []string{"one", "three"}) {
				t.Errorf("sent %q, want one and three", sent)
			}
			kept, err := b.store.Outbox().(rollcall.Attempts).Kept(t.Context(), 0, 10)
			if err != nil || len(kept) != 1 || !strings.Contains(kept[0].Refusal, c.says) || !strings.Contains(kept[0].Refusal, "row 2 of rollcall's outbox is damaged") {
				t.Errorf("kept %+v, %v", kept, err)
			}
			if len(told) != 1 || (<-told).State != rollcall.AsideDead {
				t.Error("it was not told")
			}
		})
	}
}

// asides are told of what is set aside.
type asides chan rollcall.SetAside

// Observe implements rollcall.Observer.
func (c asides) Observe(e rollcall.Event) {
	if aside, is := e.(rollcall.SetAside); is {
		c <- aside
	}
}
