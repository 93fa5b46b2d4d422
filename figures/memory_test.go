package figures

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/embedded"
)

const (
	few, many = 250_000, 5_000_000
	taken     = 50_000    // of those that wait, while memory is watched
	growth    = 48 << 20  // allowed from few to many
	most      = 192 << 20 // allowed at all
)

// peak is the most memory seen.
type peak struct{ heap, resident int64 }

func (p peak) String() string {
	return fmt.Sprintf("heap in use %d MiB, resident %d MiB", p.heap>>20, p.resident>>20)
}

// watch returns the most memory that was in use while f ran.
func watch(t *testing.T, f func()) peak {
	t.Helper()
	debug.FreeOSMemory()
	var p peak
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			p.heap = max(p.heap, int64(m.HeapInuse))
			p.resident = max(p.resident, resident())
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return p
}

// resident is this process's resident set, 0 where the system does not say.
func resident() int64 {
	var size, pages int64
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// TestMemory: neither sender nor consumer takes more memory when more waits.
func TestMemory(t *testing.T) {
	if os.Getenv("ROLLCALL_LONG") == "" {
		t.Skip("ROLLCALL_LONG=1 runs it: it sends millions of messages")
	}
	db := pair(t)
	var sender, consumer [2]peak
	sent := 0
	for i, n := range []int{few, many} {
		sender[i] = watch(t, func() { sendUpTo(t, db, &sent, n) })
		consumer[i] = watch(t, func() { take(t, db, fmt.Sprint(group, i)) })
		t.Logf("%d messages lie there: sender %v; consumer %v", n, sender[i], consumer[i])
	}
	for name, p := range map[string][2]peak{"sender": sender, "consumer": consumer} {
		if p[1].heap > p[0].heap+growth || p[1].resident > p[0].resident+growth || p[1].resident > most {
			t.Errorf("%s: %v with %d messages, %v with %d", name, p[0], few, p[1], many)
		}
	}
}

func sendUpTo(t *testing.T, db *embedded.DB, sent *int, n int) {
	ctx := context.Background()
	p := db.Publisher(rollcall.PublisherConfig{})
	note := strings.Repeat("x", 40)
	for ; *sent < n; *sent++ {
		body := fmt.Appendf(nil, `{"id":"order-%012d","account":%d,"amount":%d,"status":"paid","note":"%s"}`, *sent, *sent%1000, *sent%9999+1, note)
		must(t, p.Send(ctx, topic, rollcall.Message{Key: fmt.Sprint("account-", *sent%1000), Body: body}, nil))
	}
	must(t, p.Close(ctx))
}

// take runs a group of its own over the first messages and stops.
func take(t *testing.T, db *embedded.DB, group string) {
	_, err := db.DB().Exec("DELETE FROM orders")
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var applied atomic.Int64
	seen := observed(func(e rollcall.Event) {
		if c, ok := e.(rollcall.Committed); ok && applied.Add(c.Counts.Applied) >= taken {
			stop()
		}
	})
	handle := tables(t, db, effect.Insert).HandleBatch
	c := rollcall.NewBatchConsumer[*sql.Tx](group, db.Source(topic), db.Store(), handle, rollcall.ConsumerConfig{Observer: seen})
	must(t, c.Run(ctx))
}

// observed is a function as an observer.
type observed func(rollcall.Event)

func (f observed) Observe(e rollcall.Event) { f(e) }
