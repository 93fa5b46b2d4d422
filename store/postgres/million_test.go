package postgres_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// counting is a broker that keeps only what is needed to judge: for each message
// which number it was sent with, and for each key the last one. A message that
// comes again with its number is absorbed, as consumers do.
type counting struct {
	rollcall.Sender // Lanes
	mu              sync.Mutex
	lives           map[rollcall.Life]uint8
	numbers         []uint64       // of each message: life and sequence; 0: not sent yet
	last            map[string]int // of each key
	sent, repeats   int
	wrong           []string
	heap            uint64 // the most that was in use
}

// Publish implements rollcall.Sender.
func (c *counting) Publish(_ context.Context, _ string, messages []rollcall.Message) []rollcall.PublishResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range messages {
		c.take(&messages[i])
	}
	if c.sent%10_000 < len(messages) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		c.heap = max(c.heap, m.HeapAlloc)
	}
	results := make([]rollcall.PublishResult, len(messages))
	for i := range results {
		results[i].Fate = rollcall.Stored
	}
	return results
}

func (c *counting) take(m *rollcall.Message) {
	n, err := strconv.Atoi(string(m.Body))
	if err != nil || n >= len(c.numbers) {
		c.wrong = append(c.wrong, "no message of ours: "+string(m.Body))
		return
	}
	if c.lives[m.Stamp.Life] == 0 {
		c.lives[m.Stamp.Life] = uint8(len(c.lives) + 1)
	}
	number := uint64(c.lives[m.Stamp.Life])<<56 | m.Stamp.Sequence
	switch {
	case c.numbers[n] == number:
		c.repeats++
		return
	case c.numbers[n] != 0:
		c.wrong = append(c.wrong, fmt.Sprint(n, " has two numbers"))
	case c.last[m.Key] >= n && n > 0:
		c.wrong = append(c.wrong, fmt.Sprint(n, " comes behind ", c.last[m.Key]))
	}
	c.numbers[n], c.last[m.Key] = number, n
	c.sent++
}

// TestMillionRows: an outbox of many rows is drained by two relays that fence
// each other: none is lost, none has two numbers, each key stays in order; memory
// and the table stay bounded, and a long queue costs no more a row than a short
// one. The full size, and its rate:
//
//	ROLLCALL_OUTBOX_ROWS=1000000 go test -run TestMillionRows -v ./store/postgres
func TestMillionRows(t *testing.T) {
	n := 20_000
	if text := os.Getenv("ROLLCALL_OUTBOX_ROWS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	server := servers.Start(t, servers.Postgres15, servers.Config{Settings: map[string]string{"autovacuum_naptime": "1s"}})
	s, err := postgres.Open(t.Context(), server.URL(), postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := newBench(t)
	b.store, b.schema = s, "rollcall"
	begun := time.Now()
	fillOutbox(t, s, n)
	filled, size := time.Since(begun), b.number("SELECT pg_total_relation_size('~outbox')")
	c := &counting{Sender: b.broker.Sender(), lives: make(map[rollcall.Life]uint8), numbers: make([]uint64, n), last: make(map[string]int)}
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun = time.Now()
	drain(t, s, c, n)
	drained, most := time.Since(begun), b.number("SELECT pg_total_relation_size('~outbox')")
	if len(c.wrong) > 0 || c.sent != n || b.number("SELECT count(*) FROM ~outbox") != 0 {
		t.Fatalf("%d of %d sent; %d wrong, as %q", c.sent, n, len(c.wrong), c.wrong[:min(3, len(c.wrong))])
	}
	heap := int64(c.heap) - int64(before.HeapAlloc)
	t.Logf("%d rows: written in %v (%.0f a second), drained in %v (%.0f a second), %d repeats absorbed, heap %+d KiB, table %d KiB full, %d KiB drained",
		n, filled.Round(time.Millisecond), float64(n)/filled.Seconds(), drained.Round(time.Millisecond), float64(n)/drained.Seconds(), c.repeats, heap>>10, size>>10, most>>10)
	if heap > 16<<20 {
		t.Errorf("draining took %d MiB of memory, want 16 at most", heap>>20)
	}
	if most > 3*size { // a stamp is a second version of a row
		t.Errorf("the table grew from %d to %d KiB", size>>10, most>>10)
	}
}

// fillOutbox writes the rows in transactions of 10,000.
func fillOutbox(t *testing.T, s *postgres.Store, n int) {
	t.Helper()
	for first := 0; first < n; first += 10_000 {
		err := pgx.BeginFunc(t.Context(), s.DB(), func(tx pgx.Tx) error {
			messages := make([]rollcall.Message, min(10_000, n-first))
			for i := range messages {
				messages[i] = rollcall.Message{Destination: "out", Key: fmt.Sprint("k", (first+i)%997), Body: fmt.Append(nil, first+i)}
			}
			return s.Outbox().Enqueue(t.Context(), tx, messages)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// drain runs two relays until the outbox is empty: the second takes over while
// the first is at work.
func drain(t *testing.T, s *postgres.Store, c *counting, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second+time.Duration(n)*100*time.Microsecond)
	defer cancel()
	var relays sync.WaitGroup
	for i := range 2 {
		relays.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			err := rollcall.NewRelay(s, c, rollcall.RelayConfig{Standby: 200 * time.Millisecond, Observer: new(pauses)}).Drain(ctx)
			if err != nil {
				t.Errorf("relay %d: %v", i, err)
			}
		})
	}
	relays.Wait()
}
