package rollcall

import (
	"testing"
	"time"
)

// oneLane is a destination of one lane.
type oneLane struct{}

func (oneLane) Pick(*Message) int32 { return 0 }
func (oneLane) Name(int32) string   { return "0" }

// BenchmarkStamper: lane and number of a message whose id the application gave,
// and the bytes that travel. Target: 100 ns and 40 bytes a message.
func BenchmarkStamper(b *testing.B) {
	now := time.Now()
	for name, id := range map[string]MessageID{"own id": "order-000000012345", "minted id": ""} {
		b.Run(name, func(b *testing.B) {
			s := newStamper(NewLife(), "orders", oneLane{})
			var buf [MaxStampSize]byte
			size := 0
			b.ReportAllocs()
			var m Message
			for b.Loop() {
				m.ID, m.Stamp = id, Stamp{}
				s.stamp(&m, now)
				size = max(size, len(AppendStamp(buf[:0], m.Stamp)))
			}
			b.ReportMetric(float64(size), "stamp-bytes")
		})
	}
}
