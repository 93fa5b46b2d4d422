package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// TestMillionLives: a sender that begins a new life for every message, by mistake or on
// purpose: every message takes effect once, memory does not grow with the lives, and the
// store by a row each, until the window is over.
func TestMillionLives(t *testing.T) {
	const lives = 1_000_000
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path, sqlite.Config{})
	b := memory.New(memory.Config{Partitions: 1})
	sent := make([]rollcall.Message, 0, 1000)
	for n := range uint64(lives) {
		if sent = append(sent, lone(n)); len(sent) == cap(sent)-1 || n == lives-1 {
			sent = append(sent, lone(n/2)) // a copy, of long ago or of just now
			for _, r := range b.Sender().Publish(t.Context(), "orders", sent) {
				if r.Fate != rollcall.Stored {
					t.Fatal(r.Err)
				}
			}
			sent = sent[:0]
		}
	}
	began, times, heaps := time.Now(), make([]uint8, lives), []uint64(nil) // nothing is rolled back here
	c := rollcall.NewConsumer("g", b.Source("orders"), s, func(_ context.Context, _ *sql.Tx, m rollcall.Message) error {
		n := binary.BigEndian.Uint64(m.Body)
		if times[n]++; n%(lives/10) == 0 {
			heaps = append(heaps, inUse())
		}
		return nil
	}, rollcall.ConsumerConfig{Batch: 5000})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	must(t, c.RunUntilEmpty(ctx))
	for n, k := range times {
		if k != 1 {
			t.Fatalf("message %d took effect %d times", n, k)
		}
	}
	var rolls, bytes int64
	must(t, s.DB().QueryRow("SELECT count(*), sum(length(scope) + length(data)) FROM rollcall_rolls").Scan(&rolls, &bytes))
	if rolls != lives+1 || bytes/rolls > 48 {
		t.Errorf("%d rolls of %d bytes each", rolls, bytes/rolls)
	}
	if grown := int64(heaps[9] - heaps[1]); len(heaps) != 10 || grown > 48<<20 {
		t.Errorf("the heap grows with the lives: by %d MB, %v", grown>>20, heaps)
	}
	info, err := os.Stat(path)
	must(t, err)
	t.Logf("%d lives in %v: %d rolls, scopes and data %d bytes, file %d MB; heap with all messages, after each %d, in MB: %v",
		lives, time.Since(began).Round(time.Second), rolls, bytes, info.Size()>>20, lives/10, megabytes(heaps))
}

// lone is the first and last message of a life.
func lone(n uint64) rollcall.Message {
	m := rollcall.Message{ID: "x", Body: binary.BigEndian.AppendUint64(nil, n), Stamp: rollcall.Stamp{Origin: rollcall.OriginOf("orders"), Sequence: 1}}
	binary.BigEndian.PutUint64(m.Stamp.Life[:], n) // in order, for the test to be quick: random ones take the same room
	return m
}

// inUse is the heap.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func megabytes(bytes []uint64) (out []uint64) {
	for _, b := range bytes {
		out = append(out, b>>20)
	}
	return out
}
