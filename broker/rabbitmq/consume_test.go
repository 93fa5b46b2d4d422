//go:build linux

package rabbitmq_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
)

// TestQueueDeleted: under a consumer. It is told, and the queue is not made again.
func TestQueueDeleted(t *testing.T) {
	address := real(t)
	for _, q := range []rabbitmq.Queue{{}, {Type: rabbitmq.Classic}, {SingleActive: true}, {Type: rabbitmq.Stream}} {
		queue := newQueue(t, address, q)
		stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(3)...)
		owner := &holder{}
		sub := subscribe(t, source(t, open(t, address), queue, rabbitmq.SourceConfig{Type: q.Type, SingleActive: q.SingleActive, Leases: leases()}), owner)
		fetch(t, sub, 3)
		if _, err := bare(t, address).QueueDelete(queue, false, false, false); err != nil {
			t.Fatal(err)
		}
		var told error
		wait(t, "word that the queue is gone", func() bool {
			_, err := sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 1, Min: 1, Wait: 50 * time.Millisecond})
			if err != nil {
				told = err
			}
			return errors.Is(err, rollcall.ErrNoDestination)
		})
		if _, err := bare(t, address).QueueDeclarePassive(queue, true, false, false, false, nil); err == nil {
			t.Fatal("the queue was made again")
		}
		if (q.SingleActive || q.Type == rabbitmq.Stream) && owner.lostTimes() == 0 {
			t.Errorf("%+v: the owner was not told", q)
		}
		t.Logf("%s %v: %v", q.Type, q.SingleActive, told)
	}
}

// holder is an owner that remembers.
type holder struct {
	mu                      sync.Mutex
	token                   rollcall.Token
	start                   rollcall.Start
	assigned, lost, revoked int
}

func (h *holder) Assigned(_ context.Context, as []rollcall.Assignment) ([]rollcall.Start, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.assigned++
	h.token++
	start := h.start
	start.Token = h.token
	return []rollcall.Start{start}, nil
}

func (h *holder) Revoked(context.Context, []rollcall.Partition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.revoked++
}

func (h *holder) Lost([]rollcall.Partition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost++
}

func (h *holder) lostTimes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

func (h *holder) assignedTimes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.assigned
}

// TestReceipts: a receipt is good once, on its own channel. The broker would close the
// channel on another, and what others hold would come again.
func TestReceipts(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(10)...)
	sub := subscribe(t, source(t, open(t, address), queue, rabbitmq.SourceConfig{}), nil)
	ds := fetch(t, sub, 10)
	for i, err := range sub.Settle(t.Context(), settle(queue, rollcall.Ack, ds[3], ds[3], ds[1])) {
		if want := i == 1; errors.Is(err, rollcall.ErrStaleReceipt) != want {
			t.Fatalf("settlement %d: %v", i, err)
		}
	}
	if err := sub.Settle(t.Context(), settle(queue, rollcall.Ack, ds[1]))[0]; !errors.Is(err, rollcall.ErrStaleReceipt) {
		t.Fatalf("used twice: %v", err)
	}
	forged := ds[0]
	forged.Receipt.Number = 4711
	if err := sub.Settle(t.Context(), settle(queue, rollcall.Ack, forged))[0]; !errors.Is(err, rollcall.ErrStaleReceipt) {
		t.Fatalf("never given: %v", err)
	}
	if err := sub.Restart(t.Context(), rollcall.Partition{Destination: queue}, rollcall.Start{Token: 8}); err != nil {
		t.Fatal(err)
	}
	again := fetch(t, sub, 8)
	// Its tag is one of the new channel's: the wrong message would be acked.
	if err := sub.Settle(t.Context(), settle(queue, rollcall.Ack, ds[0]))[0]; !errors.Is(err, rollcall.ErrStaleReceipt) {
		t.Fatalf("late, after the redelivery: %v", err)
	}
	for _, err := range sub.Settle(t.Context(), settle(queue, rollcall.Ack, again...)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := sub.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	if left := drain(t, address, queue); len(left) > 0 {
		t.Fatalf("left in the queue: %v", left)
	}
}

// TestSettleMixed: acks of many reach back no further than what is settled, whatever the
// order, with messages that are given back and rejected between them.
func TestSettleMixed(t *testing.T) {
	address := real(t)
	dead := newQueue(t, address, rabbitmq.Queue{})
	queue := newQueue(t, address, rabbitmq.Queue{DeadLetter: dead})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(20)...)
	sub := subscribe(t, source(t, open(t, address), queue, rabbitmq.SourceConfig{}), nil)
	ds := fetch(t, sub, 20)
	var all []rollcall.Settlement
	all = append(all, settle(queue, rollcall.Ack, ds[5], ds[0], ds[1], ds[9])...)
	all = append(all, settle(queue, rollcall.Retry, ds[2])...)
	all = append(all, settle(queue, rollcall.Reject, ds[3])...)
	all = append(all, settle(queue, rollcall.Ack, ds[10:]...)...)
	for i, err := range sub.Settle(t.Context(), all) { // 4, 6, 7, 8 are held
		if err != nil {
			t.Fatalf("settlement %d: %v", i, err)
		}
	}
	back := fetch(t, sub, 1)
	if string(back[0].Body) != string(ds[2].Body) || !back[0].Redelivered {
		t.Fatalf("%s came again, want what was given back", back[0].Body)
	}
	if err := sub.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	var left []string
	wait(t, "what was held to be back in the queue", func() bool { // the broker does so in its own time
		for body := range drain(t, address, queue) {
			left = append(left, body)
		}
		return len(left) >= 5
	})
	slices.Sort(left)
	want := []string{number(2), number(4), number(6), number(7), number(8)}
	if !slices.Equal(left, want) {
		t.Fatalf("left in the queue: %v, want %v", left, want)
	}
	wait(t, "the rejected one among the dead", func() bool { return drain(t, address, dead)[number(3)] == 1 })
}

// TestDeliveryLimit: the broker takes a message out after too many deliveries. With dead
// letters at least once it is not lost.
func TestDeliveryLimit(t *testing.T) {
	address := real(t)
	dead := newQueue(t, address, rabbitmq.Queue{})
	queue := newQueue(t, address, rabbitmq.Queue{DeliveryLimit: 2, DeadLetter: dead})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(50)...)
	sub := subscribe(t, source(t, open(t, address), queue, rabbitmq.SourceConfig{}), nil)
	came := 0
	for came < 150 {
		ds := fetch(t, sub, 1)
		came += len(ds)
		sub.Settle(t.Context(), settle(queue, rollcall.Retry, ds...))
	}
	found := make(map[string]int)
	wait(t, "50 dead letters", func() bool {
		for body, n := range drain(t, address, dead) {
			found[body] += n
		}
		return len(found) >= 50
	})
	t.Logf("limit 2: %d deliveries of 50 messages, %d among the dead", came, len(found))
}

// TestUnlimited: without a limit, a message that is given back comes again, however
// often: RabbitMQ 4 has a limit of its own unless one says none.
func TestUnlimited(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(1)...)
	sub := subscribe(t, source(t, open(t, address), queue, rabbitmq.SourceConfig{}), nil)
	for range 30 {
		sub.Settle(t.Context(), settle(queue, rollcall.Retry, fetch(t, sub, 1)...))
	}
	fetch(t, sub, 1)
}

// TestSingleActiveSwitch: the queue goes to the other worker while the first holds
// messages. They come again there; the first one's late receipts are refused, and do no
// harm. The passive one joined last.
func TestSingleActiveSwitch(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{SingleActive: true})
	stored(t, open(t, address).Sender(), queue, newNumbering(queue).messages(10)...)
	proxy := newCutter(t, address)
	config := rabbitmq.SourceConfig{SingleActive: true}
	one, two := &holder{}, &holder{}
	first := subscribe(t, source(t, open(t, proxy.Addr), queue, config), one)
	held := fetch(t, first, 10)
	second := subscribe(t, source(t, open(t, address), queue, config), two)
	if batches, err := second.Fetch(t.Context(), rollcall.FetchRequest{Max: 10, Min: 1, Wait: 300 * time.Millisecond}); err != nil || len(batches) > 0 {
		t.Fatalf("the passive one got %v (%v)", batches, err)
	}
	proxy.cut()
	again := fetch(t, second, 10)
	if one.lostTimes() != 1 || two.assignedTimes() != 1 {
		t.Fatalf("the first lost it %d times, the second got it %d times", one.lostTimes(), two.assignedTimes())
	}
	for _, err := range first.Settle(t.Context(), settle(queue, rollcall.Ack, held...)) {
		if !errors.Is(err, rollcall.ErrStaleReceipt) {
			t.Fatalf("a late receipt: %v", err)
		}
	}
	for _, err := range second.Settle(t.Context(), settle(queue, rollcall.Ack, again...)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := one.assignedTimes(); n != 1 {
		t.Fatalf("the first got it %d times, though the second has it", n)
	}
}

// TestNotWhatItIs: a queue of another shape is refused, and named.
func TestNotWhatItIs(t *testing.T) {
	address := real(t)
	c := open(t, address)
	quorum, single, stream := newQueue(t, address, rabbitmq.Queue{}), newQueue(t, address, rabbitmq.Queue{SingleActive: true}), newQueue(t, address, rabbitmq.Queue{Type: rabbitmq.Stream})
	for _, x := range []struct {
		queue  string
		config rabbitmq.SourceConfig
		says   string
	}{
		{quorum, rabbitmq.SourceConfig{Type: rabbitmq.Stream, Leases: leases()}, "wanted stream, found quorum"},
		{stream, rabbitmq.SourceConfig{}, "wanted quorum, found stream"},
		{quorum, rabbitmq.SourceConfig{SingleActive: true}, "wanted true, found false"},
		{single, rabbitmq.SourceConfig{}, "wanted false, found true"},
		{quorum, rabbitmq.SourceConfig{Type: rabbitmq.Classic}, "wanted classic, found quorum"},
	} {
		_, err := c.Source(soon(t), x.queue, x.config)
		if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%+v: %v, want ErrConfig: %s", x.config, err, x.says)
		}
	}
	if _, err := c.Source(soon(t), newName(), rabbitmq.SourceConfig{}); !errors.Is(err, rollcall.ErrNoDestination) {
		t.Errorf("no such queue: %v", err)
	}
	err := c.Declare(soon(t), rabbitmq.Queue{Name: quorum, MaxLength: 5})
	if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), "x-max-length") {
		t.Errorf("declared otherwise: %v", err)
	} else {
		t.Log(err)
	}
	declare(t, c, rabbitmq.Queue{Name: quorum}) // as it is
}

// TestEmpty: nothing waits, nothing is in hand.
func TestEmpty(t *testing.T) {
	address := real(t)
	queue := newQueue(t, address, rabbitmq.Queue{})
	s := open(t, address).Sender()
	sub := subscribe(t, source(t, open(t, address), queue, rabbitmq.SourceConfig{Prefetch: 3}), nil)
	empty := func() bool {
		is, err := sub.(rollcall.Emptier).Empty(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	wait(t, "an empty queue", empty)
	n := newNumbering(queue)
	for range 20 {
		stored(t, s, queue, n.messages(5)...)
		if empty() {
			t.Fatal("empty, though five messages are there")
		}
		for left := 5; left > 0; {
			ds := fetch(t, sub, 1)
			if empty() {
				t.Fatal("empty, though a message is in hand")
			}
			sub.Settle(t.Context(), settle(queue, rollcall.Ack, ds...))
			left -= len(ds)
		}
		wait(t, "an empty queue", empty)
	}
}

// TestConsumerTimeout: the broker closes the channel of who holds a message for too long.
// It comes again, and the old receipt is refused.
func TestConsumerTimeout(t *testing.T) {
	t.Parallel()
	server := start(t, "consumer_timeout = 2000", "[{rabbit,[{channel_tick_interval,500}]}].")
	queue := newQueue(t, server.Addr, rabbitmq.Queue{})
	stored(t, open(t, server.Addr).Sender(), queue, newNumbering(queue).messages(1)...)
	sub := subscribe(t, source(t, open(t, server.Addr), queue, rabbitmq.SourceConfig{}), nil)
	old := fetch(t, sub, 1)
	var told error
	wait(t, "word of the timeout", func() bool {
		_, err := sub.Fetch(context.Background(), rollcall.FetchRequest{Max: 1, Min: 2, Wait: 20 * time.Millisecond})
		if err != nil {
			told = err
		}
		return err != nil
	})
	if !strings.Contains(told.Error(), "consumer_timeout") {
		t.Fatalf("it says %v", told)
	}
	again := fetch(t, sub, 1)
	if err := sub.Settle(t.Context(), settle(queue, rollcall.Ack, old...))[0]; !errors.Is(err, rollcall.ErrStaleReceipt) {
		t.Fatalf("the old receipt: %v", err)
	}
	if err := sub.Settle(t.Context(), settle(queue, rollcall.Ack, again...))[0]; err != nil {
		t.Fatal(err)
	}
	t.Log(told)
}

// TestServerKilledWhileConsuming: by SIGKILL; it comes back, and all goes on.
func TestServerKilledWhileConsuming(t *testing.T) {
	t.Parallel()
	server := start(t, "", "")
	queue := newQueue(t, server.Addr, rabbitmq.Queue{})
	stored(t, open(t, server.Addr).Sender(), queue, newNumbering(queue).messages(1000)...)
	time.Sleep(settled)
	sub := subscribe(t, source(t, open(t, server.Addr), queue, rabbitmq.SourceConfig{Prefetch: 100}), nil)
	came := make(map[string]int)
	for kill := 0; len(came) < 1000; {
		ds := fetch(t, sub, 50)
		if kill < 2 && len(came) > 300*(kill+1) {
			pid := server.Pid()
			server.Kill()
			server.Restart()
			kill++
			t.Logf("pid %d killed with %d messages in hand", pid, len(ds))
			for _, err := range sub.Settle(t.Context(), settle(queue, rollcall.Ack, ds...)) {
				if err == nil {
					continue // written, perhaps into the void
				}
			}
			continue
		}
		for _, d := range ds {
			came[string(d.Body)]++
		}
		sub.Settle(t.Context(), settle(queue, rollcall.Ack, ds...))
	}
}
