package rollcall_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	memstore "github.com/rollcall-mq/rollcall/store/memory"
)

// workOff runs a consumer of "orders" until it is empty, and returns how often each body
// took effect.
func workOff(t *testing.T, b *memory.Broker, db *memstore.Database, config rollcall.ConsumerConfig) map[string]int {
	t.Helper()
	c := rollcall.NewConsumer("g", b.Source("orders"), memstore.Open(db), func(ctx context.Context, tx *memstore.Tx, m rollcall.Message) error {
		return tx.Append(ctx, "ledger", string(m.Body))
	}, config)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.RunUntilEmpty(ctx); err != nil {
		t.Fatal(err)
	}
	times := make(map[string]int)
	for _, line := range db.All("ledger") {
		times[line.(string)]++
	}
	return times
}

// publishAll stores messages as they are.
func publishAll(t *testing.T, b *memory.Broker, messages []rollcall.Message) {
	t.Helper()
	for part := range slices.Chunk(messages, 1000) {
		for _, r := range b.Sender().Publish(t.Context(), "orders", part) {
			if r.Fate != rollcall.Stored {
				t.Fatal(r.Err)
			}
		}
	}
}

// once demands that each of n bodies took effect once, and nothing else did.
func once(t *testing.T, times map[string]int, n int) {
	t.Helper()
	for body, k := range times {
		if k != 1 {
			t.Errorf("%s took effect %d times", body, k)
		}
	}
	if len(times) != n {
		t.Errorf("%d messages took effect, want %d", len(times), n)
	}
}

// numbered is a message whose body is its number.
func numbered(life rollcall.Life, n uint64) rollcall.Message {
	text := fmt.Sprintf("%x/%d", life[:2], n)
	return rollcall.Message{ID: rollcall.MessageID(text), Body: []byte(text), Time: time.Now(),
		Stamp: rollcall.Stamp{Life: life, Origin: rollcall.OriginOf("orders"), Lane: 1, Sequence: n}}
}

// TestAbsurdNumbers: numbers that nobody counts up to take no memory, and what follows
// of the same and other lives takes effect once, though all of it is sent twice.
func TestAbsurdNumbers(t *testing.T) {
	b, db := memory.New(memory.Config{Partitions: 2}), memstore.NewDatabase(memstore.Config{})
	mad := rollcall.NewLife()
	absurd := []uint64{1 << 62, math.MaxUint64, 1 << 63, 1<<62 + 2, math.MaxInt64, 1 << 32}
	var messages []rollcall.Message
	for _, n := range absurd {
		messages = append(messages, numbered(mad, n))
	}
	for _, life := range []rollcall.Life{mad, rollcall.NewLife(), rollcall.NewLife()} {
		for n := uint64(1); n <= 1000; n++ {
			messages = append(messages, numbered(life, n))
		}
	}
	again := slices.Clone(messages)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
	publishAll(t, b, append(messages, again...))
	before := heap()
	once(t, workOff(t, b, db, rollcall.ConsumerConfig{}), len(messages))
	rows, err := memstore.Open(db).Rolls(t.Context(), "g", []rollcall.Scope{rollcall.SenderScope(messages[0].Stamp)})
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	if grown := heap() - before; len(rows[0].Data) > 100 || grown > 8<<20 {
		t.Errorf("the roll of the life has %d bytes, the heap grew by %d", len(rows[0].Data), grown)
	}
	roll, err := rollcall.OpenRoll(rows[0])
	if err != nil || roll.Floor() != 1000 || roll.High() != math.MaxUint64 || !roll.Holds(1<<62, 1<<62) || roll.Holds(1<<62, 1<<62+1) {
		t.Errorf("the roll ends at %d and %d, %v", roll.Floor(), roll.High(), err)
	}
	t.Logf("%d absurd numbers and 1,000 others: a roll of %d bytes", len(absurd), len(rows[0].Data))
}

// heap is what is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
