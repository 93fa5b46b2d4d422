//go:build linux

package rocketmq_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// fates are what a sender was told, by body.
type fates struct {
	mu  sync.Mutex
	all map[rollcall.Fate][]string
	err error // the last that was not nil
}

func (f *fates) add(messages []rollcall.Message, results []rollcall.PublishResult) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[rollcall.Fate][]string)
	}
	for i, r := range results {
		f.all[r.Fate] = append(f.all[r.Fate], string(messages[i].Body))
		if r.Err != nil {
			f.err = r.Err
		}
	}
}

// judge: what was called stored is there, and what was called refused is not.
func (f *fates) judge(t *testing.T, there []string) {
	t.Helper()
	is := make(map[string]bool)
	for _, b := range there {
		is[b] = true
	}
	missing := slices.DeleteFunc(slices.Clone(f.all[rollcall.Stored]), func(b string) bool { return is[b] })
	present := slices.DeleteFunc(slices.Clone(f.all[rollcall.Refused]), func(b string) bool { return !is[b] })
	unknown := slices.DeleteFunc(slices.Clone(f.all[rollcall.Unknown]), func(b string) bool { return !is[b] })
	t.Logf("stored %d, refused %d, unknown %d of which %d lie in the topic; %d messages there (last error: %v)",
		len(f.all[rollcall.Stored]), len(f.all[rollcall.Refused]), len(f.all[rollcall.Unknown]), len(unknown), len(there), f.err)
	if len(missing)+len(present) > 0 {
		t.Fatalf("called stored and not there: %v; called refused and there: %v", missing, present)
	}
}

// numberedFrom are n messages without stamps, as Sender takes them.
func numberedFrom(from, n int) (out []rollcall.Message) {
	for i := range n {
		out = append(out, rollcall.Message{ID: rollcall.MessageID(body(from + i)), Body: []byte(body(from + i))})
	}
	return out
}

// TestBrokerKilledWhilePublishing: what was called stored is there after the broker comes
// back.
func TestBrokerKilledWhilePublishing(t *testing.T) {
	t.Parallel()
	s := start(t, "local", nil)
	topic := newTopic(t, s, "NORMAL", 4)
	cluster := openWith(t, s, rocketmq.Config{Timeout: 2 * time.Second})
	var told fates
	var inFlight atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n += 20 {
			select {
			case <-stop:
				return
			default:
			}
			messages := numberedFrom(n, 20)
			inFlight.Add(20)
			told.add(messages, cluster.Sender().Publish(context.Background(), topic, messages))
			inFlight.Add(-20)
		}
	}()
	for range 3 {
		time.Sleep(time.Duration(300+rand.IntN(500)) * time.Millisecond)
		wait(t, "a message in flight", func() bool { return inFlight.Load() > 0 })
		n, pid := inFlight.Load(), s.kill(t, "proxy")
		t.Logf("RocketMQ %s: broker (pid %d) killed with %d in flight", s.version, pid, n)
		s.restart(t)
	}
	time.Sleep(time.Second)
	close(stop)
	<-done
	told.judge(t, contents(t, s, topic))
}

// TestBrokerKilledWhileConsuming: every message takes effect once, in both modes, and so
// it does when only the proxy dies.
func TestBrokerKilledWhileConsuming(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mode, kills string }{{"local", "proxy"}, {"cluster", "broker"}, {"cluster", "proxy"}} {
		t.Run(c.mode+"-"+c.kills, func(t *testing.T) {
			t.Parallel()
			s := start(t, c.mode, nil)
			topic := newTopic(t, s, "NORMAL", 4)
			const all = 1500
			send(t, open(t, s), topic, all, 0)
			db := memory.NewDatabase(memory.Config{})
			config := short
			config.Invisible = 2 * time.Second
			var inWork, came atomic.Int64
			for range 2 {
				src := source(t, openWith(t, s, rocketmq.Config{Timeout: 2 * time.Second}), topic, config)
				consume(t, src, group(topic), db, rollcall.ConsumerConfig{Batch: 20}, func(rollcall.Message) error {
					inWork.Add(1)
					defer inWork.Add(-1)
					came.Add(1)
					time.Sleep(time.Millisecond)
					return nil
				})
			}
			for i := range 2 {
				wait(t, "work to be under way", func() bool { return inWork.Load() > 0 && len(effects(db)) >= 200*(i+1) })
				n, pid := inWork.Load(), s.kill(t, c.kills)
				t.Logf("RocketMQ %s: %s (pid %d) killed with %d in work, %d effects", s.version, c.kills, pid, n, len(effects(db)))
				s.restart(t)
			}
			expect(t, db, bodies(0, all))
			t.Logf("%d effects, handlers ran %d times", all, came.Load())
		})
	}
}

// counting counts what a source hands over.
type counting struct {
	rollcall.Source
	n     atomic.Int64
	again atomic.Int64 // of those, marked as handed over before
}

func (c *counting) Subscribe(ctx context.Context, r rollcall.SubscribeRequest, o rollcall.Owner) (rollcall.Subscription, error) {
	sub, err := c.Source.Subscribe(ctx, r, o)
	return &countingSubscription{sub, c}, err
}

type countingSubscription struct {
	rollcall.Subscription
	c *counting
}

func (s *countingSubscription) Fetch(ctx context.Context, r rollcall.FetchRequest) ([]rollcall.Batch, error) {
	batches, err := s.Subscription.Fetch(ctx, r)
	for _, b := range batches {
		s.c.n.Add(int64(len(b.Deliveries)))
		for _, d := range b.Deliveries {
			if d.Redelivered {
				s.c.again.Add(1)
			}
		}
	}
	return batches, err
}

// TestYoungBroker: a broker that is killed soon after its start has forgotten what was
// acknowledged, and brings it again as if for the first time. With a store it takes
// effect once. How soon is 10 s, until it first writes acknowledged places down: here it
// never can, so that a slow machine sees the same.
func TestYoungBroker(t *testing.T) {
	t.Parallel()
	s := start(t, "local", nil)
	if err := os.MkdirAll(filepath.Join(s.Broker.Dir, "data/config/consumerOffset.json.tmp"), 0o755); err != nil { // it cannot write the file of that name
		t.Fatal(err)
	}
	begun := time.Now()
	topic := newTopic(t, s, "NORMAL", 1)
	send(t, open(t, s), topic, 20, 0)
	db := memory.NewDatabase(memory.Config{})
	src := &counting{Source: source(t, openWith(t, s, rocketmq.Config{Timeout: 2 * time.Second}), topic, short)}
	block := make(chan struct{})
	var ran atomic.Int64
	consume(t, src, group(topic), db, rollcall.ConsumerConfig{Batch: 10}, func(rollcall.Message) error {
		if ran.Add(1) > 10 {
			<-block
		}
		return nil
	})
	wait(t, "ten effects, and the others in work", func() bool { return ran.Load() > 10 && src.n.Load() >= 20 && len(effects(db)) == 10 })
	time.Sleep(time.Until(begun.Add(6 * time.Second))) // the fault itself: its age
	before := src.n.Load()
	pid := s.kill(t, "proxy")
	t.Logf("RocketMQ %s: broker (pid %d) killed %.1f s after it served, %d handed over, %d acknowledged", s.version, pid, time.Since(begun).Seconds(), before, 10)
	s.restart(t)
	wait(t, "acknowledged messages to come again", func() bool { return src.n.Load() >= before+10 || ran.Load() > 100 })
	close(block)
	expect(t, db, bodies(0, 20))
	t.Logf("handed over %d times (%d of them marked as redelivered), effects %d", src.n.Load(), src.again.Load(), len(effects(db)))
}

// TestReplicaMissing: a replica that is demanded and not there makes the answer an error
// though the message is stored: that is Unknown.
func TestReplicaMissing(t *testing.T) {
	t.Parallel()
	s := start(t, "local", map[string]string{"brokerRole": "SYNC_MASTER", "inSyncReplicas": "2", "minInSyncReplicas": "2", "totalReplicas": "2", "slaveTimeout": "1000"})
	topic := newTopic(t, s, "NORMAL", 1)
	cluster := open(t, s)
	var told fates
	for i := range 3 {
		m := numberedFrom(i, 1)
		told.add(m, cluster.Sender().Publish(t.Context(), topic, m))
	}
	t.Logf("RocketMQ %s: %v", s.version, told.err)
	if len(told.all[rollcall.Unknown]) != 3 {
		t.Fatalf("fates %v, want unknown", told.all)
	}
	there := contents(t, s, topic)
	told.judge(t, there)
	if len(there) == 0 {
		t.Fatal("nothing is there: the case shows nothing")
	}
}

// TestClockSkew: a clock that is an hour off hinders nothing, and ages are the sender's.
func TestClockSkew(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		for _, off := range []time.Duration{-time.Hour, time.Hour} {
			topic := newTopic(t, s, "NORMAL", 1)
			clock := func() time.Time { return time.Now().Add(off) }
			cluster := openWith(t, s, rocketmq.Config{Now: clock})
			at := clock()
			result := cluster.Sender().Publish(t.Context(), topic, []rollcall.Message{{Body: []byte("skewed"), Time: at}})[0]
			if result.Fate != rollcall.Stored {
				t.Fatalf("%v: %v %v", off, result.Fate, result.Err)
			}
			r := subscribe(t, cluster, topic, group(topic), short)
			d := r.read(1)[0]
			if d.Time.UnixMilli() != at.UnixMilli() {
				t.Fatalf("%v: its time is %v, sent with %v", off, d.Time, at)
			}
			r.must(rollcall.Ack, d)
			r.nothing(4*time.Second, "though it was settled")
		}
	})
}

// TestCut: the connection is cut at a byte that nobody chose while messages are sent, many
// times; what was called stored is there, what was called refused is not.
func TestCut(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 4)
		var told fates
		const runs = 40
		cuts := 0
		for run := range runs {
			knife := &knife{left: 1500 + rand.IntN(20_000)}
			cluster, err := rocketmq.Open(t.Context(), []string{s.proxy}, rocketmq.Config{Plaintext: true, Dial: knife.dial, Timeout: 2 * time.Second, Warn: func(string) {}})
			if err != nil {
				continue // it was cut before
			}
			for i := range 6 {
				messages := numberedFrom(run*1000+i*30, 30)
				told.add(messages, cluster.Sender().Publish(t.Context(), topic, messages))
			}
			cluster.Close()
			if knife.cut.Load() {
				cuts++
			}
		}
		t.Logf("RocketMQ %s: %d of %d connections cut", s.version, cuts, runs)
		if cuts < 30 || len(told.all[rollcall.Unknown]) == 0 {
			t.Fatalf("%d connections cut, %d messages unknown: the case shows nothing", cuts, len(told.all[rollcall.Unknown]))
		}
		told.judge(t, contents(t, s, topic))
	})
}

// TestDeaf: at the deadline of ctx what has no answer is Unknown, and soon.
func TestDeaf(t *testing.T) {
	t.Parallel()
	s := start(t, "local", nil)
	topic := newTopic(t, s, "NORMAL", 1)
	cluster := open(t, s)
	send(t, cluster, topic, 1, 0)
	resume := s.pause(t, "proxy")
	defer resume()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begun := time.Now()
	result := cluster.Sender().Publish(ctx, topic, numberedFrom(0, 1))[0]
	if result.Fate != rollcall.Unknown || errors.Is(result.Err, rollcall.ErrTryAgain) || time.Since(begun) > 5*time.Second {
		t.Fatalf("%v %v after %v, want unknown", result.Fate, result.Err, time.Since(begun))
	}
	t.Log(fmt.Sprint(result.Err))
}
