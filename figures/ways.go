package figures

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/embedded"
)

// Rows is how many rows are written for each figure, unless told otherwise.
const Rows = 40_000

// The bounds of Rows: one transaction, and what a laptop does in an hour.
const (
	Fewest = 500
	Most   = 5_000_000
)

const repetitions = 3

// way is one way from messages to rows. run returns the time that counts.
type way struct {
	name   string
	target float64 // share of F; 0: none, it is shown for comparison
	ownID  bool
	run    func(b Stage, messages []rollcall.Message) time.Duration
}

func ways() []way {
	return []way{
		{"table effect, insert", 0.70, false, logged(func(b Stage, db *embedded.DB, n int) { table(b, db, n, effect.Insert) })},
		{"table effect, set", 0.70, false, logged(func(b Stage, db *embedded.DB, n int) { table(b, db, n, effect.Set) })},
		{"by stamp", 0, false, logged(func(b Stage, db *embedded.DB, n int) { table(b, db, n, effect.Insert, rollcall.ByStamp) })},
		{"by position", 0, false, logged(func(b Stage, db *embedded.DB, n int) { table(b, db, n, effect.Insert, rollcall.ByPosition) })},
		{"table effect with Inbox", 0.50, true, logged(func(b Stage, db *embedded.DB, n int) { table(b, db, n, effect.Insert, rollcall.ByKey) })},
		{"auto, with ids", 0, true, logged(func(b Stage, db *embedded.DB, n int) { table(b, db, n, effect.Insert) })},
		{"serial handlers", 0.45, false, logged(func(b Stage, db *embedded.DB, n int) { consume(b, db, serial(db, never), n) })},
		{"publish, then consume", 0.30, false, oneAfterTheOther},
		{"publish and consume", 0.30, false, sideBySide},
	}
}

func table(b Stage, db *embedded.DB, n int, mode effect.Mode, by ...rollcall.Strategy) {
	config := rollcall.ConsumerConfig{Observer: silent{}, Dedup: rollcall.DedupConfig{By: by}}
	if slices.Contains(by, rollcall.ByKey) {
		config.Dedup.Key = []string{"id"}
	}
	consume(b, db, batched(b, db, mode, config), n)
}

// silent observes nothing.
type silent struct{}

func (silent) Observe(rollcall.Event) {}

// logged fills the log first; only what follows counts.
func logged(f func(Stage, *embedded.DB, int)) func(Stage, []rollcall.Message) time.Duration {
	return func(b Stage, messages []rollcall.Message) time.Duration {
		db := pair(b)
		send(b, db, messages)
		runtime.GC()
		return timed(func() { f(b, db, len(messages)) })
	}
}

func oneAfterTheOther(b Stage, messages []rollcall.Message) time.Duration {
	db := pair(b)
	return timed(func() {
		send(b, db, messages)
		table(b, db, len(messages), effect.Insert)
	})
}

// sideBySide: the consumer runs while the sender sends, and until all is there.
func sideBySide(b Stage, messages []rollcall.Message) time.Duration {
	db := pair(b)
	applied, all := 0, make(chan struct{})
	watch := make(counting, 64)
	ctx, stop := context.WithCancel(b.Context())
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
		select {
		case <-all:
		case <-ctx.Done():
		}
		stop()
		must(b, <-ended)
	})
	check(b, db, len(messages))
	return took
}

// counting is an observer of what was applied.
type counting chan int

func (c counting) Observe(event rollcall.Event) {
	if e, ok := event.(rollcall.Committed); ok {
		c <- int(e.Counts.Applied)
	}
}

// result is the medians of one way.
type result struct{ share, rate, f float64 }

func measure(b Stage, orders []order, width int, messages []rollcall.Message, run func(Stage, []rollcall.Message) time.Duration) result {
	var shares, rates, fs []float64
	for range repetitions {
		runtime.GC()
		f := rate(len(orders), ceiling(b, orders, width))
		runtime.GC()
		r := rate(len(messages), run(b, messages))
		shares, rates, fs = append(shares, r/f), append(rates, r), append(fs, f)
	}
	b.Logf("shares %.2f, rows/s %.0f, F %.0f", shares, rates, fs)
	return result{median(shares), median(rates), median(fs)}
}

// failing compares with the failure-free rate, measured just before.
func failing(b Stage, messages []rollcall.Message) result {
	var shares, rates, free []float64
	for range repetitions {
		without := logged(func(b Stage, db *embedded.DB, n int) { consume(b, db, serial(db, never), n) })(b, messages)
		with := logged(func(b Stage, db *embedded.DB, n int) { consume(b, db, serial(db, oneIn1000), n-refused(n)) })(b, messages)
		shares = append(shares, without.Seconds()/with.Seconds())
		rates = append(rates, rate(len(messages), with))
		free = append(free, rate(len(messages), without))
	}
	b.Logf("shares %.2f, rows/s %.0f, without failures %.0f", shares, rates, free)
	return result{median(shares), median(rates), median(free)}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
