//go:build linux

package rabbitmq_test

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
)

// cutter passes TCP on, and resets every connection when so many more bytes went
// through, in either direction. Below zero: it does not.
type cutter struct {
	Addr   string
	budget atomic.Int64
	armed  atomic.Bool
	cuts   atomic.Int64
	hold   atomic.Bool // nobody gets through
	mu     sync.Mutex
	open   map[net.Conn]bool
}

func newCutter(t testing.TB, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Addr: l.Addr().String(), open: make(map[net.Conn]bool)}
	t.Cleanup(func() { _ = l.Close(); c.cut() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err == nil && c.hold.Load() {
				_ = up.Close()
				err = net.ErrClosed
			}
			if err != nil {
				_ = from.Close()
				continue
			}
			c.mu.Lock()
			c.open[from], c.open[up] = true, true
			c.mu.Unlock()
			go c.pass(up, from)
			go c.pass(from, up)
		}
	}()
	return c
}

// pass bytes on, in small pieces and random ones, so that a cut lies anywhere.
func (c *cutter) pass(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if n > 0 && c.armed.Load() {
			left := c.budget.Add(-int64(n))
			if left <= 0 {
				_, _ = to.Write(buf[:max(0, int64(n)+left)])
				c.cut()
				return
			}
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}

// arm lets so many more bytes through.
func (c *cutter) arm(bytes int64) {
	c.budget.Store(bytes)
	c.armed.Store(true)
}

// cut resets all connections.
func (c *cutter) cut() {
	if c.armed.Swap(false) {
		c.cuts.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	clear(c.open)
}

// TestCutWhilePublishing: the connection is reset after a random byte, at least a hundred
// times, with hundreds of messages in flight. What was Stored is there, what was Refused
// is not, and the sender works on.
func TestCutWhilePublishing(t *testing.T) {
	const runs = 120
	address := real(t)
	proxy := newCutter(t, address)
	queue := newQueue(t, address, rabbitmq.Queue{})
	s := open(t, proxy.Addr).Sender()
	n, fates := newNumbering(queue), newTally()
	stored(t, s, queue, n.messages(1)...)
	bitten, inFlight := 0, 0
	for range runs {
		before := proxy.cuts.Load()
		proxy.arm(1 + rand.Int64N(15_000))
		ms := n.messages(100)
		results := s.Publish(soon(t), queue, ms)
		fates.add(ms, results)
		for _, r := range results {
			if r.Fate == rollcall.Unknown {
				inFlight++
			}
		}
		if proxy.cuts.Load() > before {
			bitten++
		}
		proxy.armed.Store(false)
	}
	there := drain(t, address, queue)
	fates.check(t, there)
	found := 0
	for body := range fates[rollcall.Unknown] {
		found += min(1, there[body])
	}
	if bitten < 100 || inFlight == 0 {
		t.Fatalf("%d of %d runs were cut, with %d messages in flight: the case shows too little", bitten, runs, inFlight)
	}
	t.Logf("%d of %d runs cut; %d stored, %d refused, %d unknown of which %d are there", bitten, runs, len(fates[rollcall.Stored]), len(fates[rollcall.Refused]), len(fates[rollcall.Unknown]), found)
}

// TestCutWhileConsuming: the same for who receives and settles: everything comes, and
// what was settled in a session that lived on comes no more.
func TestCutWhileConsuming(t *testing.T) {
	const count = 2000
	address := real(t)
	proxy := newCutter(t, address)
	queue := newQueue(t, address, rabbitmq.Queue{})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(count)...)
	sub := subscribe(t, source(t, open(t, proxy.Addr), queue, rabbitmq.SourceConfig{Prefetch: 50}), nil)
	came := make(map[string]int)
	stale := 0
	for i := 0; len(came) < count; i++ {
		if !proxy.armed.Load() && proxy.cuts.Load() < 20 {
			proxy.arm(5000 + rand.Int64N(20_000))
		}
		ds := fetch(t, sub, 1)
		for _, d := range ds {
			came[string(d.Body)]++
		}
		for _, err := range sub.Settle(context.Background(), settle(queue, rollcall.Ack, ds...)) {
			if err != nil {
				stale++
			}
		}
	}
	if proxy.cuts.Load() < 10 {
		t.Fatalf("%d cuts", proxy.cuts.Load())
	}
	again := 0
	for _, k := range came {
		again += k - 1
	}
	t.Logf("%d messages, %d cuts, %d came again, %d settlements refused", count, proxy.cuts.Load(), again, stale)
}

// settled is how old a quorum queue must be before its server is killed: RabbitMQ 3.10.8
// writes its directory of queues down twice a second, and one that is killed before that
// never has a leader again (measured; docs/rabbitmq.md).
const settled = 1500 * time.Millisecond

// TestKilledWhilePublishing: the server dies by SIGKILL with messages in flight to
// queues of all types, and comes back.
func TestKilledWhilePublishing(t *testing.T) {
	t.Parallel()
	server := start(t, "", "")
	kinds := []rabbitmq.QueueType{rabbitmq.Quorum, rabbitmq.Classic, rabbitmq.Stream}
	loads := make([]*load, len(kinds))
	for i, kind := range kinds {
		loads[i] = &load{s: open(t, server.Addr).Sender(), n: newNumbering(newQueue(t, server.Addr, rabbitmq.Queue{Type: kind})), fates: newTally()}
	}
	time.Sleep(settled)
	var all sync.WaitGroup
	stop, halt := context.WithCancel(t.Context())
	for _, l := range loads {
		all.Go(func() { l.run(stop) })
	}
	for _, l := range loads {
		wait(t, "messages to be stored", func() bool { return l.count(rollcall.Stored) > 1000 })
	}
	pid := server.Pid()
	server.Kill()
	for _, l := range loads {
		wait(t, "messages in flight to be in doubt", func() bool { return l.count(rollcall.Unknown) >= 100 })
	}
	halt()
	all.Wait()
	server.Restart()
	ready := time.Now()
	backs := make([]time.Duration, len(loads))
	for i, l := range loads {
		last := l.n.messages(100)
		var results []rollcall.PublishResult
		wait(t, string(kinds[i])+" to go on", func() bool { // a stream is away for a moment, and says so
			results = l.s.Publish(soon(t), l.n.destination, last)
			return results[0].Fate != rollcall.Unknown
		})
		l.fates.add(last, results)
		if backs[i] = time.Since(ready); results[99].Fate != rollcall.Stored || backs[i] > 2*time.Second {
			t.Errorf("%s: %v %v, %v after the server was ready", kinds[i], results[99].Fate, results[99].Err, backs[i])
		}
	}
	for i, l := range loads {
		var there map[string]int
		if kinds[i] == rabbitmq.Stream {
			there = tapAll(t, server.Addr, l.n.destination)
		} else {
			there = drain(t, server.Addr, l.n.destination)
		}
		l.fates.check(t, there)
		t.Logf("%s: pid %d killed; %d stored, %d unknown, %d there; back after %v", kinds[i], pid, l.count(rollcall.Stored), l.count(rollcall.Unknown), len(there), backs[i])
	}
}

// load publishes to one queue and remembers what it was told.
type load struct {
	s     *rabbitmq.Sender
	n     *numbering
	mu    sync.Mutex
	fates tally
}

func (l *load) run(stop context.Context) {
	for stop.Err() == nil {
		ms := l.n.messages(100)
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		results := l.s.Publish(ctx, l.n.destination, ms)
		cancel()
		l.mu.Lock()
		l.fates.add(ms, results)
		l.mu.Unlock()
	}
}

func (l *load) count(f rollcall.Fate) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.fates[f])
}

// tapAll is all that is in a stream.
func tapAll(t testing.TB, address, queue string) map[string]int {
	t.Helper()
	src := source(t, open(t, address), queue, rabbitmq.SourceConfig{Type: rabbitmq.Stream, Leases: leases()})
	var end int64
	wait(t, "the end of "+queue, func() bool {
		all, err := src.Measure(soon(t))
		if err == nil {
			end = all[0].End
		}
		return err == nil && end > 0
	})
	tap, err := src.Tap(soon(t), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tap.Close() }()
	out := make(map[string]int)
	for read := int64(0); read < end; {
		batches, err := tap.Fetch(soon(t), rollcall.FetchRequest{Max: 1000, Min: 1, Wait: patience})
		if err != nil || len(batches) == 0 {
			t.Fatalf("%d of %d messages read: %v", read, end, err)
		}
		for _, d := range batches[0].Deliveries {
			out[string(d.Body)]++
			read = d.Position.Offset + 1
		}
	}
	return out
}

// TestPausedServer: SIGSTOP in mid-publish: Unknown at the deadline, and stored or not
// when it goes on.
func TestPausedServer(t *testing.T) {
	t.Parallel()
	server := start(t, "", "")
	queue := newQueue(t, server.Addr, rabbitmq.Queue{})
	s := open(t, server.Addr).Sender()
	n, fates := newNumbering(queue), newTally()
	stored(t, s, queue, n.messages(100)...)
	server.Pause()
	began := time.Now()
	for range 5 {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		ms := n.messages(1000)
		fates.add(ms, s.Publish(ctx, queue, ms))
		cancel()
	}
	took := time.Since(began)
	server.Resume()
	ms := n.messages(100)
	fates.add(ms, s.Publish(soon(t), queue, ms))
	there := drain(t, server.Addr, queue)
	fates.check(t, there)
	if len(fates[rollcall.Unknown]) == 0 || took > 10*time.Second {
		t.Fatalf("%d unknown after %v", len(fates[rollcall.Unknown]), took)
	}
	t.Logf("pid %d stopped: 5 calls of 300ms took %v; %d stored, %d unknown, %d there", server.Pid(), took, len(fates[rollcall.Stored]), len(fates[rollcall.Unknown]), len(there))
}
