package filelog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

func batch(n, partitions int) []rollcall.Message {
	life := rollcall.NewLife()
	messages := make([]rollcall.Message, n)
	for i := range messages {
		messages[i] = rollcall.Message{ID: rollcall.MessageID(fmt.Sprintf("order-%08d", i)), Partition: int32(i % partitions),
			Key: fmt.Sprint(i % 1000), Body: []byte(`{"order":12345678,"state":"paid","amount":1999}`), Time: time.Unix(1, 0),
			Stamp: rollcall.Stamp{Life: life, Lane: 1, Sequence: uint64(i + 1), Origin: 1}}
	}
	return messages
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) {
			l := openLog(b, newPath(b), filelog.Config{})
			create(b, l, "d", 8)
			messages := batch(n, 8)
			for b.Loop() {
				publish(b, l, "d", messages...)
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
	b.Run("32 publishers of one", func(b *testing.B) {
		l := openLog(b, newPath(b), filelog.Config{})
		create(b, l, "d", 8)
		messages := batch(1, 8)
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				publish(b, l, "d", messages...)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}

// BenchmarkFetch reads and settles what lies there, in batches of 500.
func BenchmarkFetch(b *testing.B) {
	for _, each := range []int{1, 1000} {
		b.Run(fmt.Sprint("published by ", each), func(b *testing.B) {
			l := openLog(b, newPath(b), filelog.Config{})
			create(b, l, "d", 8)
			messages := batch(each, 8)
			total := 20000
			if each > 1 {
				total = 400000
			}
			for i := range total / each {
				messages[0].Partition = int32(i % 8)
				publish(b, l, "d", messages...)
			}
			m := join(b, l, newOwner(), "d")
			m.owns(b, 8)
			m.take(b, total)
			fetched := 0
			for b.Loop() {
				for p, a := range m.owned {
					start := rollcall.Start{Position: rollcall.Position{Incarnation: a.Incarnation}}
					if err := m.Restart(b.Context(), p, start); err != nil {
						b.Fatal(err)
					}
				}
				for end := fetched + total; fetched < end; {
					batches, err := m.Fetch(b.Context(), rollcall.FetchRequest{Max: 500, Min: 1, Wait: time.Second})
					if err != nil {
						b.Fatal(err)
					}
					for _, batch := range batches {
						fetched += len(batch.Deliveries)
						settled := make([]rollcall.Settlement, len(batch.Deliveries))
						for i := range settled {
							settled[i] = rollcall.Settlement{Partition: batch.Partition, Receipt: batch.Deliveries[i].Receipt}
						}
						for _, err := range m.Settle(b.Context(), settled) {
							if err != nil {
								b.Fatal(err)
							}
						}
					}
				}
			}
			b.ReportMetric(float64(fetched)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
