package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// sideRecords are the books that lie in a folder's log.
func sideRecords(t *testing.T, folder, side string) (out []rollcall.Book) {
	t.Helper()
	log, err := filelog.Open(filepath.Join(folder, "rollcall-data", "log.db"), filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	tap, err := log.Source(side).Tap(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	batches, err := tap.Fetch(t.Context(), rollcall.FetchRequest{Max: 10_000, Wait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		for i := range b.Deliveries {
			book, err := rollcall.ParseBook(&b.Deliveries[i].Message)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, book)
		}
	}
	return out
}

// storedIn counts what the last records of the lanes of a life say.
func storedIn(books []rollcall.Book, life rollcall.Life) (n uint64) {
	lanes := make(map[uint32]uint64)
	for _, b := range books {
		for _, l := range b.Lanes {
			if b.Life != life {
				continue
			}
			lanes[l.Lane] = 0
			for _, r := range l.Stored {
				lanes[l.Lane] += r.Last - r.First + 1
			}
		}
	}
	for _, stored := range lanes {
		n += stored
	}
	return n
}

// TestSendKeepsBooks: of the life of the file, by the process, with its name; not with
// --no-books, and not where the pipeline file says so.
func TestSendKeepsBooks(t *testing.T) {
	folder, _ := workshop(t, 100)
	data, err := os.ReadFile(filepath.Join(folder, "things.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	life := lifeOf(t, data, formatNDJSON).life
	ran(t, folder, "send", "--no-books", "things.ndjson")
	if got := sideRecords(t, folder, rollcall.SideDestination); len(got) > 0 {
		t.Fatalf("%d records in spite of --no-books", len(got))
	}
	ran(t, folder, "send", "things.ndjson")
	books := sideRecords(t, folder, rollcall.SideDestination)
	if storedIn(books, life) != 100 {
		t.Fatalf("books say %d stored of the file's life, want 100: %+v", storedIn(books, life), books)
	}
	last := books[len(books)-1]
	if last.Sender != "send things.ndjson" || last.Kind != rollcall.BookEnd || last.Life == last.Keeper || last.Destination != "things" {
		t.Fatalf("the last record is %+v", last)
	}
	for _, c := range []struct{ audit, side string }{{"audit: {side: ledger}\n", "ledger"}, {"audit: {books: false, side: other}\n", "other"}} {
		if err := os.WriteFile(filepath.Join(folder, "rollcall.yaml"), []byte(chaosFile+c.audit), 0o600); err != nil {
			t.Fatal(err)
		}
		ran(t, folder, "send", "things.ndjson")
		if got := storedIn(sideRecords(t, folder, c.side), life); (got == 100) != (c.side == "ledger") {
			t.Fatalf("with %q books say %d stored", c.audit, got)
		}
	}
}
