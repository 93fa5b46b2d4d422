//go:build linux

package rabbitmq_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// streamOf is a source of a stream, with leases of its own.
func streamOf(t testing.TB, address, queue string, config rabbitmq.SourceConfig) *rabbitmq.Source {
	t.Helper()
	config.Type = rabbitmq.Stream
	if config.Leases == nil {
		config.Leases = leases()
	}
	return source(t, open(t, address), queue, config)
}

// remade deletes a stream and makes it again.
func remade(t testing.TB, address, queue string) {
	t.Helper()
	if _, err := bare(t, address).QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	declare(t, open(t, address), rabbitmq.Queue{Name: queue, Type: rabbitmq.Stream})
}

// failure is what Fetch says in the end.
func failure(t testing.TB, sub rollcall.Subscription) (err error) {
	t.Helper()
	wait(t, "an error", func() bool {
		var batches []rollcall.Batch
		batches, err = sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 50 * time.Millisecond})
		if len(batches) > 0 {
			t.Fatalf("%d messages came", len(batches[0].Deliveries))
		}
		return err != nil
	})
	return err
}

// TestStreamMadeAgain: a stream of the same name, with other messages where the group's
// are. AMQP has no id of it; the message that was done last is compared.
func TestStreamMadeAgain(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream})
	s := open(t, address).Sender()
	stored(t, s, queue, newNumbering(queue).messages(10)...)
	sub := subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{}), &holder{})
	last := fetch(t, sub, 10)[9].Position
	if err := sub.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	next := last
	next.Offset++
	start := rollcall.Start{Position: next, Seen: last}

	ok := subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{}), &holder{start: start})
	stored(t, s, queue, newNumbering(queue).messages(1)...)
	if d := fetch(t, ok, 1)[0]; d.Position.Offset != 10 {
		t.Fatalf("it goes on at %d", d.Position.Offset)
	}
	if err := ok.Close(soon(t)); err != nil {
		t.Fatal(err)
	}

	remade(t, address, queue)
	stored(t, s, queue, newNumbering(queue).messages(5)...)
	short := failure(t, subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{}), &holder{start: start}))
	stored(t, s, queue, newNumbering(queue).messages(20)...)
	other := failure(t, subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{}), &holder{start: start}))
	for _, err := range []error{short, other} {
		if !errors.Is(err, rollcall.ErrDamaged) {
			t.Fatalf("%v, want ErrDamaged", err)
		}
		t.Log(err)
	}
	if !strings.Contains(short.Error(), "ends at 5") || !strings.Contains(other.Error(), "another message") {
		t.Fatalf("%v; %v", short, other)
	}
}

// TestStreamMadeAgainWhileReading: the same under a subscription that was cut off
// meanwhile.
func TestStreamMadeAgainWhileReading(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream})
	s := open(t, address).Sender()
	stored(t, s, queue, newNumbering(queue).messages(10)...)
	proxy := newCutter(t, address)
	sub := subscribe(t, streamOf(t, proxy.Addr, queue, rabbitmq.SourceConfig{}), &holder{})
	fetch(t, sub, 10)
	proxy.hold.Store(true)
	proxy.cut()
	remade(t, address, queue)
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(20)...)
	proxy.hold.Store(false)
	var err error
	wait(t, "word of it", func() bool {
		var batches []rollcall.Batch
		batches, err = sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 50 * time.Millisecond})
		if len(batches) > 0 {
			t.Fatalf("%q was taken for one of the old stream", batches[0].Deliveries[0].Body)
		}
		return errors.Is(err, rollcall.ErrDamaged)
	})
	t.Log(err)
}

// count writes the body of each message into a ledger.
func count() rollcall.Handler[*memory.Tx] {
	return func(ctx context.Context, tx *memory.Tx, m rollcall.Message) error {
		return tx.Append(ctx, "ledger", string(m.Body))
	}
}

// gained tells when partitions came.
type gained struct{ events chan struct{} }

func (g *gained) Observe(e rollcall.Event) {
	if o, is := e.(rollcall.Owned); is && o.Gained {
		g.events <- struct{}{}
	}
}

// TestStreamMadeAgainWhileIdle: a worker that has read nothing since it began knows the
// stream by what the group did before.
func TestStreamMadeAgainWhileIdle(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(10)...)
	db := memory.NewDatabase(memory.Config{})
	src := streamOf(t, address, queue, rabbitmq.SourceConfig{})
	if err := rollcall.NewConsumer("idle", src, memory.Open(db), count(), rollcall.ConsumerConfig{}).RunUntilEmpty(soon(t)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	owned := &gained{events: make(chan struct{}, 10)}
	go func() {
		c := rollcall.NewConsumer("idle", src, memory.Open(db), count(), rollcall.ConsumerConfig{Observer: owned})
		done <- c.Run(soon(t))
	}()
	select {
	case <-owned.events:
	case <-time.After(patience):
		t.Fatalf("waited %v for the worker to own the stream", patience)
	}
	remade(t, address, queue)
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(30)...)
	select {
	case err := <-done:
		if !errors.Is(err, rollcall.ErrDamaged) && !errors.Is(err, rollcall.ErrNoDestination) {
			t.Fatalf("the worker ended: %v", err)
		}
		t.Log(err)
	case <-time.After(patience):
		t.Fatalf("waited %v for the worker to end by name; the ledger has %d", patience, len(db.All("ledger")))
	}
	if n := len(db.All("ledger")); n != 10 {
		t.Errorf("%d effects, want those 10 of the stream before", n)
	}
}

// short is a stream that keeps little, filled until retention has removed something.
func short(t testing.TB, address string) (queue string, first, end int64) {
	t.Helper()
	queue = newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream, MaxBytes: 200_000, SegmentBytes: 50_000})
	s, n := open(t, address).Sender(), newNumbering(queue)
	src := streamOf(t, address, queue, rabbitmq.SourceConfig{})
	wait(t, "retention", func() bool {
		ms := n.messages(20)
		for i := range ms {
			ms[i].Body = append([]byte(string(ms[i].Body)+" "), bytes.Repeat([]byte("x"), 5000)...)
		}
		stored(t, s, queue, ms...)
		all, err := src.Measure(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		first, end = all[0].First, all[0].End
		return first > 10
	})
	var since time.Time
	wait(t, "retention to be done", func() bool { // it goes on behind what is written
		all, err := src.Measure(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if first != all[0].First || since.IsZero() {
			first, since = all[0].First, time.Now()
		}
		return time.Since(since) > time.Second
	})
	return queue, first, end
}

// TestRetentionOvertakes: what a group had not done was removed. Fetch fails and names
// the offsets; with AcceptLost it goes on, and they are counted as lost.
func TestRetentionOvertakes(t *testing.T) {
	address := real(t)
	queue, first, _ := short(t, address)
	src := streamOf(t, address, queue, rabbitmq.SourceConfig{})
	all, err := src.Measure(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	at := rollcall.Start{Position: rollcall.Position{Incarnation: all[0].Incarnation, Offset: 5}}
	err = failure(t, subscribe(t, src, &holder{start: at}))
	if !errors.Is(err, rollcall.ErrDamaged) || !strings.Contains(err.Error(), "offsets 5 to "+itoa(first-1)) {
		t.Fatalf("%v, want ErrDamaged and the offsets 5 to %d", err, first-1)
	}
	t.Log(err)
	sub := subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{AcceptLost: true}), &holder{start: at})
	var batches []rollcall.Batch
	wait(t, "what is left", func() bool {
		batches, _ = sub.Fetch(soon(t), rollcall.FetchRequest{Max: 10, Min: 1, Wait: time.Second})
		return len(batches) > 0
	})
	want := rollcall.OffsetRange{First: 5, Last: first - 1, Lost: true}
	if c := batches[0].Covered; len(c) != 1 || c[0] != want || batches[0].Deliveries[0].Position.Offset != first {
		t.Fatalf("covered %+v, first %d; want %+v", c, batches[0].Deliveries[0].Position.Offset, want)
	}
	holes, err := src.Explain(soon(t), rollcall.Partition{Destination: queue}, 0, first+1)
	if err != nil || len(holes) != 1 || holes[0].First != 0 || holes[0].Last != first-1 || holes[0].Cause != rollcall.HoleRemoved {
		t.Fatalf("explained as %+v (%v)", holes, err)
	}
}

// TestRetentionBeforeAGroup: who has done nothing begins at what is there, and what was
// before counts as covered, not as lost.
func TestRetentionBeforeAGroup(t *testing.T) {
	address := real(t)
	queue, first, _ := short(t, address)
	sub := subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{}), &holder{})
	d := fetch(t, sub, 1)[0]
	if d.Position.Offset < first {
		t.Fatalf("begins at %d, the first is %d", d.Position.Offset, first)
	}
}

// awayClaims are claims whose store can be away.
type awayClaims struct {
	rollcall.Claims
	away atomic.Bool
}

func (c *awayClaims) Renew(ctx context.Context, group string, key rollcall.DedupKey, token rollcall.Token, lease time.Duration) error {
	if c.away.Load() {
		return errors.New("the store is away")
	}
	return c.Claims.Renew(ctx, group, key, token, lease)
}

// TestLease: one worker has the stream as long as it renews; when it cannot, it says
// Lost and delivers nothing before the other one begins.
func TestLease(t *testing.T) {
	const lease = 900 * time.Millisecond
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream})
	s := open(t, address).Sender()
	n := newNumbering(queue)
	stored(t, s, queue, n.messages(10)...)
	shared := leases()
	store := &awayClaims{Claims: shared}
	one, two := &holder{}, &holder{}
	first := subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{Leases: store, Lease: lease}), one)
	held := fetch(t, first, 5)
	second := subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{Leases: shared, Lease: lease}), two)
	for began := time.Now(); time.Since(began) < 3*lease; time.Sleep(10 * time.Millisecond) {
		if two.assignedTimes() > 0 || one.lostTimes() > 0 {
			t.Fatal("the stream moved, though its owner renews")
		}
	}
	store.away.Store(true)
	fetch(t, second, 10)
	if one.lostTimes() != 1 {
		t.Fatalf("the first was told %d times that it lost the stream", one.lostTimes())
	}
	if err := first.Settle(t.Context(), settle(queue, rollcall.Ack, held...))[0]; !errors.Is(err, rollcall.ErrNotOwner) {
		t.Fatalf("it settles still: %v", err)
	}
	stored(t, s, queue, n.messages(5)...)
	if batches, _ := first.Fetch(t.Context(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 200 * time.Millisecond}); len(batches) > 0 {
		t.Fatalf("it delivers still: %v", batches)
	}
	store.away.Store(false)
	for began := time.Now(); time.Since(began) < 3*lease; time.Sleep(10 * time.Millisecond) {
		if two.lostTimes() > 0 || one.assignedTimes() > 1 {
			t.Fatal("they take turns")
		}
	}
}

// TestLeaseGivenBack: who closes gives the stream to the next at once.
func TestLeaseGivenBack(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(3)...)
	shared := leases()
	config := rabbitmq.SourceConfig{Leases: shared, Lease: 10 * time.Minute}
	one, two := &holder{}, &holder{}
	first := subscribe(t, streamOf(t, address, queue, config), one)
	fetch(t, first, 3)
	second := subscribe(t, streamOf(t, address, queue, config), two)
	if err := first.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	fetch(t, second, 3)
	if one.revoked != 1 || one.lostTimes() != 0 {
		t.Fatalf("revoked %d times, lost %d times", one.revoked, one.lostTimes())
	}
}

// TestStreamRetry: a message that is given back comes again, with those behind it.
func TestStreamRetry(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(10)...)
	sub := subscribe(t, streamOf(t, address, queue, rabbitmq.SourceConfig{Prefetch: 3}), &holder{})
	ds := fetch(t, sub, 10)
	sub.Settle(t.Context(), settle(queue, rollcall.Retry, ds[7], ds[4]))
	if again := fetch(t, sub, 6); again[0].Position.Offset != 4 {
		t.Fatalf("came again from %d", again[0].Position.Offset)
	}
}

// TestStreamCut: cut off again and again, a reader misses nothing and repeats nothing.
func TestStreamCut(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream})
	proxy := newCutter(t, address)
	s := open(t, address).Sender()
	n := newNumbering(queue)
	var all sync.WaitGroup
	all.Go(func() {
		for range 100 {
			stored(t, s, queue, n.messages(50)...)
		}
	})
	defer all.Wait()
	sub := subscribe(t, streamOf(t, proxy.Addr, queue, rabbitmq.SourceConfig{Prefetch: 200}), &holder{})
	for next := int64(0); next < 5000; {
		if proxy.cuts.Load() < 10 && !proxy.armed.Load() {
			proxy.arm(50_000)
		}
		for _, d := range fetch(t, sub, 1) {
			if d.Position.Offset != next {
				t.Fatalf("offset %d came, want %d", d.Position.Offset, next)
			}
			next++
		}
	}
	if proxy.cuts.Load() < 5 {
		t.Fatalf("%d cuts", proxy.cuts.Load())
	}
	t.Logf("5000 messages in order over %d cuts", proxy.cuts.Load())
}
