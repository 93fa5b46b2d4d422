package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	broker "github.com/rollcall-mq/rollcall/broker/memory"
	store "github.com/rollcall-mq/rollcall/store/memory"
)

// quietRuns is how many runs without any loss are audited while they go on;
// ROLLCALL_FULL: the long form.
func quietRuns() int {
	if os.Getenv("ROLLCALL_FULL") != "" {
		return 1000
	}
	return 300
}

// TestNoFalseAlarm: senders come and go, some without a word; workers join and leave;
// answers are lost, messages refused, markers lie between them; there are quiet times.
// Nothing is lost, and no audit, by tap or by rolls, at any moment, with no grace at
// all, says that something is.
func TestNoFalseAlarm(t *testing.T) {
	var alarms, judgements, late atomic.Int64
	runs := quietRuns()
	var all sync.WaitGroup
	slots := make(chan struct{}, 8) // a run mostly waits
	for run := range runs {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			q := newQuietRun(t, run)
			q.run()
			alarms.Add(q.alarms)
			judgements.Add(q.judgements)
			late.Add(int64(q.late))
		})
	}
	all.Wait()
	t.Logf("%d runs, %d judgements, %d false alarms", runs, judgements.Load(), alarms.Load())
	if alarms.Load() > 0 || judgements.Load() < int64(5*runs) {
		t.Errorf("%d false alarms in %d judgements of %d runs", alarms.Load(), judgements.Load(), runs)
	}
}

// quietRun is one run.
type quietRun struct {
	t      *testing.T
	number int
	random *rand.Rand
	mu     sync.Mutex // of random
	broker *broker.Broker
	db     *store.Database
	group  string

	alarms, judgements int64
	late               uint64
}

func newQuietRun(t *testing.T, number int) *quietRun {
	q := &quietRun{t: t, number: number, random: rand.New(rand.NewPCG(uint64(number), 11)), group: "billing"}
	q.broker = broker.New(broker.Config{Partitions: 1 + number%3})
	q.db = store.NewDatabase(store.Config{})
	q.broker.OnPublish(func(destination string, _ []rollcall.Message) broker.PublishFault {
		if destination != "orders" || q.below(10) > 0 {
			return broker.NoFault
		}
		return []broker.PublishFault{broker.LoseReply, broker.LoseCall}[q.below(2)]
	})
	return q
}

func (q *quietRun) below(n int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.random.IntN(n)
}

// run sends, works off, and audits, all at once.
func (q *quietRun) run() {
	ctx, cancel := context.WithTimeout(q.t.Context(), time.Minute)
	defer cancel()
	var working, sending sync.WaitGroup
	live, stop := context.WithCancel(ctx)
	for range 2 {
		working.Go(func() { q.works(live) })
	}
	for n := range 2 + q.number%2 {
		sending.Go(func() { q.sends(ctx, n) })
	}
	sent := make(chan struct{})
	go func() { sending.Wait(); close(sent) }()
	tap, rolls := q.watch(true), q.watch(false)
	defer tap.Close()
	defer rolls.Close()
	for over := false; !over; {
		select {
		case <-sent:
			over = true
		case <-time.After(time.Duration(5+q.below(20)) * time.Millisecond):
		}
		q.judge(tap, false)
		q.judge(rolls, false)
	}
	for !rolls.Sealed(q.judge(rolls, true)) || !tap.Sealed(q.judge(tap, true)) {
		if ctx.Err() != nil {
			q.t.Errorf("run %d: waited a minute until everything was worked off", q.number)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	working.Wait()
}

// sends is a row of lives: they end, or fall silent; between them it is quiet.
func (q *quietRun) sends(ctx context.Context, n int) {
	for life := range 2 {
		p := rollcall.NewPublisher(q.broker.Sender(), rollcall.PublisherConfig{Batch: 7, RetryFirst: time.Millisecond, RetryMost: 2 * time.Millisecond, Observer: quiet,
			Books: rollcall.BooksConfig{Sender: fmt.Sprintf("sender-%d-%d", n, life), Every: 3 * time.Millisecond, Idle: 20 * time.Millisecond}})
		for range 3 + q.below(4) {
			batch := make([]rollcall.Message, 1+q.below(30))
			for i := range batch {
				batch[i] = rollcall.Message{Key: strconv.Itoa(q.below(5)), Body: []byte("x")}
			}
			p.Publish(ctx, "orders", batch...)
			switch q.below(4) {
			case 0:
				time.Sleep(time.Duration(q.below(15)) * time.Millisecond)
			case 1:
				q.broker.Marker("orders", 0)
			}
		}
		if q.below(2) == 0 {
			_ = p.Close(ctx)
		} else { // it dies: nothing more of it is written
			gone, die := context.WithCancel(ctx)
			die()
			_ = p.Close(gone)
		}
	}
}

// works is a row of workers: each joins and leaves.
func (q *quietRun) works(ctx context.Context) {
	nothing := func(context.Context, *store.Tx, rollcall.Message) error { return nil }
	for ctx.Err() == nil {
		shift, end := context.WithTimeout(ctx, time.Duration(10+q.below(40))*time.Millisecond)
		c := rollcall.NewConsumer(q.group, q.broker.Source("orders"), store.Open(q.db), nothing, rollcall.ConsumerConfig{Batch: 1 + q.below(40), Observer: quiet, Linger: time.Millisecond})
		// A shift may be over before the worker has joined: then that is its error.
		if err := c.Run(shift); err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			q.t.Errorf("run %d: a worker ended with %v", q.number, err)
		}
		end()
	}
}

func (q *quietRun) watch(tap bool) *audit.Watch {
	in := audit.Inputs{Log: q.broker.Source("orders"), Side: q.broker.Source(rollcall.SideDestination), Tap: tap}
	config := audit.Config{Grace: time.Nanosecond}
	if !tap {
		in.Store, config.Group = store.Open(q.db), q.group
	}
	w, err := audit.NewWatch(q.t.Context(), "orders", in, config)
	if err != nil {
		q.t.Fatal(err)
	}
	return w
}

// judge counts what is called missing. While a sender's first record is on its way a
// hole may be suspected: its sender keeps no books yet, as far as anybody knows.
func (q *quietRun) judge(w *audit.Watch, atEnd bool) *audit.Report {
	r, err := w.Step(q.t.Context(), time.Now())
	if err != nil {
		q.t.Errorf("run %d: %v", q.number, err)
		return &audit.Report{}
	}
	q.judgements++
	for i := range r.Findings {
		f := &r.Findings[i]
		wrong := f.Verdict == audit.Lost || f.Verdict == audit.Open || f.Verdict == audit.Suspected
		if wrong && (atEnd || f.Cause != audit.CauseNoBooks) {
			q.alarms++
			q.t.Errorf("run %d: %s: %s of lane %d, life %s, since %v: %s", q.number, f.By, f.Verdict, f.Key.Lane, f.Key.Life, f.Since, f.Cause)
		}
	}
	for _, s := range r.Totals {
		q.late = max(q.late, s.Late)
	}
	return r
}
