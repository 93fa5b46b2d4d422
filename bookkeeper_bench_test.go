package rollcall_test

import (
	"context"
	"testing"

	"github.com/rollcall-mq/rollcall"
)

// quick stores everything at once, and nowhere.
type quick struct{ partitions int32 }

func (quick) Capabilities() rollcall.Capabilities {
	return rollcall.Capabilities{Broker: "quick", Positions: true}
}
func (quick) MakeSide(context.Context, string) error { return nil }
func (quick) Close(context.Context) error            { return nil }
func (q quick) Lanes(context.Context, string) (rollcall.Lanes, error) {
	return &turns{count: q.partitions}, nil
}
func (quick) Publish(_ context.Context, _ string, messages []rollcall.Message) []rollcall.PublishResult {
	results := make([]rollcall.PublishResult, len(messages))
	for i := range results {
		results[i] = rollcall.PublishResult{Fate: rollcall.Stored, Position: rollcall.Position{Offset: int64(i), Incarnation: rollcall.Incarnation{1}}}
	}
	return results
}

// turns are lanes that take their turn.
type turns struct{ count, next int32 }

func (l *turns) Pick(*rollcall.Message) int32 { l.next = (l.next + 1) % l.count; return l.next }
func (l *turns) Name(int32) string            { return "" }

// BenchmarkBooks is the time of one message through a Publisher, with and without books.
func BenchmarkBooks(b *testing.B) {
	for name, books := range map[string]rollcall.BooksConfig{"off": {Off: true}, "on": {}} {
		for lanes, partitions := range map[string]int32{"8_lanes": 8, "5000_lanes": 5000} {
			b.Run(lanes+"/"+name, func(b *testing.B) {
				p := rollcall.NewPublisher(quick{partitions}, rollcall.PublisherConfig{Books: books})
				body := []byte("body")
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Send(b.Context(), "orders", rollcall.Message{ID: "id", Body: body}, nil); err != nil {
						b.Fatal(err)
					}
				}
				if err := p.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
