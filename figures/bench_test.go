package figures

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/embedded"
)

const (
	rows        = 100_000
	repetitions = 3
)

// way is one way from messages to rows. run returns the time that counts.
type way struct {
	name   string
	target float64 // share of F
	ownID  bool
	run    func(b testing.TB, messages []rollcall.Message) time.Duration
}

func ways() []way {
	return []way{
		{"table effect, insert", 0.70, false, logged(func(b testing.TB, db *embedded.DB) { table(b, db, effect.Insert, false) })},
		{"table effect, set", 0.70, false, logged(func(b testing.TB, db *embedded.DB) { table(b, db, effect.Set, false) })},
		{"table effect with Inbox", 0.50, true, logged(func(b testing.TB, db *embedded.DB) { table(b, db, effect.Insert, true) })},
		{"serial handlers", 0.45, false, logged(func(b testing.TB, db *embedded.DB) { consume(b, db, serial(db, never), rows) })},
		{"publish, then consume", 0.30, false, oneAfterTheOther},
		{"publish and consume", 0.30, false, sideBySide},
	}
}

func table(b testing.TB, db *embedded.DB, mode effect.Mode, inbox bool) {
	config := rollcall.ConsumerConfig{}
	if inbox {
		config.Dedup = rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByKey}, Key: []string{"id"}}
	}
	consume(b, db, batched(b, db, mode, config), rows)
}

// logged fills the log first; only what follows counts.
func logged(f func(testing.TB, *embedded.DB)) func(testing.TB, []rollcall.Message) time.Duration {
	return func(b testing.TB, messages []rollcall.Message) time.Duration {
		db := pair(b)
		send(b, db, messages)
		runtime.GC()
		return timed(func() { f(b, db) })
	}
}

func oneAfterTheOther(b testing.TB, messages []rollcall.Message) time.Duration {
	db := pair(b)
	return timed(func() {
		send(b, db, messages)
		table(b, db, effect.Insert, false)
	})
}

// sideBySide: the consumer runs while the sender sends, and until all is there.
func sideBySide(b testing.TB, messages []rollcall.Message) time.Duration {
	db := pair(b)
	applied, all := 0, make(chan struct{})
	watch := make(counting, 64)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	took := timed(func() {
		go func() { ended <- batched(b, db, effect.Insert, rollcall.ConsumerConfig{Observer: watch}).Run(ctx) }()
		go func() {
			defer close(all)
			for n := range watch {
				if applied += n; applied >= len(messages) {
					return
				}
			}
		}()
		send(b, db, messages)
		<-all
		stop()
		must(b, <-ended)
	})
	check(b, db, rows)
	return took
}

// counting is an observer of what was applied.
type counting chan int

func (c counting) Observe(event rollcall.Event) {
	if e, ok := event.(rollcall.Committed); ok {
		c <- int(e.Counts.Applied)
	}
}

// BenchmarkEmbedded prints each way's share of F, F measured just before it:
// medians of the repetitions.
func BenchmarkEmbedded(b *testing.B) {
	orders := newOrders(rows)
	width := bestWidth(b, orders)
	for _, w := range ways() {
		b.Run(w.name, func(b *testing.B) {
			messages := newMessages(b, orders, w.ownID)
			for b.Loop() {
				report(b, w.name, w.target, measure(b, orders, width, messages, w.run))
			}
		})
	}
	b.Run("0.1 % failing handlers", func(b *testing.B) {
		messages := newMessages(b, orders, false)
		for b.Loop() {
			report(b, "0.1 % failing handlers, of the failure-free rate", 0.50, failing(b, messages))
		}
	})
}

// result is the medians of one way.
type result struct{ share, rate, f float64 }

func measure(b testing.TB, orders []order, width int, messages []rollcall.Message, run func(testing.TB, []rollcall.Message) time.Duration) result {
	var shares, rates, fs []float64
	for range repetitions {
		runtime.GC()
		f := ceiling(b, orders, width)
		runtime.GC()
		d := run(b, messages)
		shares = append(shares, f.Seconds()/d.Seconds())
		rates = append(rates, rate(len(orders), d))
		fs = append(fs, rate(len(orders), f))
	}
	b.Logf("shares %.2f, rows/s %.0f, F %.0f", shares, rates, fs)
	return result{median(shares), median(rates), median(fs)}
}

// failing compares with the failure-free rate, measured just before.
func failing(b testing.TB, messages []rollcall.Message) result {
	var shares, rates, free []float64
	for range repetitions {
		without := logged(func(b testing.TB, db *embedded.DB) { consume(b, db, serial(db, never), rows) })(b, messages)
		with := logged(func(b testing.TB, db *embedded.DB) { consume(b, db, serial(db, oneIn1000), rows-rows/1000) })(b, messages)
		shares = append(shares, without.Seconds()/with.Seconds())
		rates = append(rates, rate(rows, with))
		free = append(free, rate(rows, without))
	}
	b.Logf("shares %.2f, rows/s %.0f, without failures %.0f", shares, rates, free)
	return result{median(shares), median(rates), median(free)}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
