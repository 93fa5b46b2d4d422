package httpsend_test

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/httpsend"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// relayed puts three messages into an outbox, lets a relay send them, and
// returns what lies there afterwards.
func relayed(t *testing.T, target httpsend.Target) []rollcall.OutboxRow {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "store.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	tx, err := store.DB().Begin()
	if err != nil {
		t.Fatal(err)
	}
	err = store.Outbox().Enqueue(ctx, tx, []rollcall.Message{
		{Destination: "http:bank", ID: "1"}, {Destination: "http:bank", ID: "2"}, {Destination: "http:bank"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := rollcall.NewRelay(store, newSender(t, target), rollcall.RelayConfig{}).Drain(ctx); err != nil {
		t.Fatal(err)
	}
	kept, err := store.Outbox().(rollcall.Attempts).Kept(ctx, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// TestRelayHonours: what is in doubt goes out again with the same key until the
// receiver has it, one that is busy too; an id that was minted stays.
func TestRelayHonours(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter) {
		switch n {
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 4, 6:
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	if kept := relayed(t, httpsend.Target{URL: r.URL, Honours: true}); len(kept) != 0 {
		t.Fatalf("kept %+v", kept)
	}
	// Message 1 once, 2 four times, 3 twice: by then the first ones are settled.
	if len(r.keys) != 7 || r.keys[1] == r.keys[0] || r.keys[1] != r.keys[2] || r.keys[2] != r.keys[3] || r.keys[3] != r.keys[4] || r.keys[5] != r.keys[6] {
		t.Fatalf("keys %v", r.keys)
	}
}

// TestRelayParks: to a receiver that does not honour the key nothing in doubt
// goes out again; what it surely did not do does.
func TestRelayParks(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter) {
		switch n {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusTooManyRequests)
		case 4:
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	kept := relayed(t, httpsend.Target{URL: r.URL})
	if len(kept) != 2 || kept[0].Doubt == "" || kept[0].Message.ID != "1" || kept[1].Refusal != "bank answered 422 Unprocessable Entity" {
		t.Fatalf("kept %+v", kept)
	}
	if len(r.keys) != 4 || r.keys[1] != r.keys[2] || r.keys[0] == r.keys[1] {
		t.Fatalf("keys %v", r.keys)
	}
}
