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
	const rounds, each = 10, 100_000
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path, sqlite.Config{})
	times := make([]uint8, rounds*each) // of each message; nothing is rolled back here
	began := time.Now()
	var heaps []uint64
	for round := range rounds {
		b := memory.New(memory.Config{Partitions: 1}) // a new one: it keeps what it was sent
		messages := make([]rollcall.Message, 0, 1000)
		for i := range each {
			n := uint64(round*each + i)
			messages = append(messages, lone(n))
			if len(messages) < cap(messages)-1 {
				continue
			}
			messages = append(messages, lone(n/2)) // a copy, of long ago or of just now
			for _, r := range b.Sender().Publish(t.Context(), "orders", messages) {
				if r.Fate != rollcall.Stored {
					t.Fatal(r.Err)
				}
			}
			messages = messages[:0]
		}
		for _, r := range b.Sender().Publish(t.Context(), "orders", messages) {
			if r.Fate != rollcall.Stored {
				t.Fatal(r.Err)
			}
		}
		c := rollcall.NewConsumer("g", b.Source("orders"), s, func(_ context.Context, _ *sql.Tx, m rollcall.Message) error {
			times[binary.BigEndian.Uint64(m.Body)]++
			return nil
		}, rollcall.ConsumerConfig{Batch: 5000})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		must(t, c.RunUntilEmpty(ctx))
		cancel()
		heaps = append(heaps, inUse())
	}
	var rolls, bytes int64
	must(t, s.DB().QueryRow("SELECT count(*), sum(length(scope) + length(data)) FROM rollcall_rolls").Scan(&rolls, &bytes))
	for n, k := range times {
		if k != 1 {
			t.Fatalf("message %d took effect %d times", n, k)
		}
	}
	if per := bytes / rolls; rolls > rounds*each+rounds || per > 48 {
		t.Errorf("%d rolls of %d bytes each", rolls, per)
	}
	if last, second := heaps[rounds-1], heaps[1]; last > second+16<<20 {
		t.Errorf("the heap grows with the lives: %v", heaps)
	}
	info, err := os.Stat(path)
	must(t, err)
	t.Logf("%d lives in %v: %d rolls, scopes and data %d bytes, file %d MB; heap after each %d of them, in MB: %v",
		rounds*each, time.Since(began).Round(time.Second), rolls, bytes, info.Size()>>20, each, megabytes(heaps))
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
