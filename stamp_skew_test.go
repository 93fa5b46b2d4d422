package rollcall_test

import (
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	memstore "github.com/rollcall-mq/rollcall/store/memory"
)

// TestClockSkew: senders whose clocks are an hour apart, or far off, and copies whose
// times differ: numbers and ids decide, times do not.
func TestClockSkew(t *testing.T) {
	b, db := memory.New(memory.Config{Partitions: 2}), memstore.NewDatabase(memstore.Config{})
	const each = 200
	clocks := []time.Duration{0, time.Hour, -time.Hour, 50 * 365 * 24 * time.Hour, -50 * 365 * 24 * time.Hour}
	var first, again []rollcall.Message
	for i, off := range clocks {
		life := rollcall.Life{byte(i + 1)}
		for n := range uint64(each) {
			m := numbered(life, n+1)
			m.Time = m.Time.Add(off)
			m.Stamp.OwnID = n%2 == 1 // half have ids of their own, too, and are numbered anew when they are sent again
			first = append(first, m)
			m.Time = m.Time.Add(2*time.Hour - off/2)
			if m.Stamp.OwnID {
				m.Stamp.Sequence += each
			}
			again = append(again, m)
		}
	}
	publishAll(t, b, first)
	once(t, workOff(t, b, db, rollcall.ConsumerConfig{}), len(first))
	publishAll(t, b, again) // by then everything is done
	once(t, workOff(t, b, db, rollcall.ConsumerConfig{}), len(first))
}
