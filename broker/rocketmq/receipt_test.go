//go:build linux

package rocketmq_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
)

// letGo lets deliveries go after a second.
var letGo = rocketmq.SourceConfig{Invisible: time.Second, MaxHold: time.Nanosecond, Poll: time.Second, Receivers: 1}

// TestReceiptExpired: what was held too long is with others, and settling it is refused:
// by the driver, and by the server where the driver does not know.
func TestReceiptExpired(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		send(t, cluster, topic, 1, 0)
		r := subscribe(t, cluster, topic, group(topic), letGo)
		first := r.read(1)[0]
		again := r.read(1)[0]
		if err := r.settle(first, rollcall.Ack); !errors.Is(err, rollcall.ErrStaleReceipt) || !again.Redelivered {
			t.Fatalf("settled after it came again (redelivered: %v): %v, want ErrStaleReceipt", again.Redelivered, err)
		}
		r.Forge(again.Receipt, first.Receipt.Handle)
		err := r.settle(again, rollcall.Ack)
		if !errors.Is(err, rollcall.ErrStaleReceipt) || !strings.Contains(err.Error(), "40013") {
			t.Fatalf("settled by an old handle: %v, want the server's 40013 as ErrStaleReceipt", err)
		}
		t.Logf("RocketMQ %s: %v", s.version, err)
	})
}

// TestReceiptMalformed: a handle that the server cannot read is told, and the message
// comes again. Those beside it are settled, and only they.
func TestReceiptMalformed(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		send(t, cluster, topic, 3, 0)
		r := subscribe(t, cluster, topic, group(topic), short)
		got := r.read(3)
		r.Forge(got[1].Receipt, "no handle of anybody")
		var settlements []rollcall.Settlement
		for _, d := range got {
			settlements = append(settlements, rollcall.Settlement{Receipt: d.Receipt, Verb: rollcall.Ack})
		}
		errs := r.Settle(t.Context(), settlements)
		if errs[0] != nil || errs[2] != nil || errs[1] == nil || errors.Is(errs[1], rollcall.ErrStaleReceipt) {
			t.Fatalf("settled with %v, want the one in the middle refused, and not as stale", errs)
		}
		t.Logf("RocketMQ %s: %v", s.version, errs[1])
		again := r.read(1)
		if string(again[0].Body) != string(got[1].Body) {
			t.Fatalf("%q came again, want %q", again[0].Body, got[1].Body)
		}
		r.must(rollcall.Ack, again...)
		r.nothing(3*time.Second, "though all are settled")
	})
}

// TestReceiptUsedTwice: the second use is refused here: the server would take it, and make
// a copy.
func TestReceiptUsedTwice(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		send(t, cluster, topic, 2, 0)
		r := subscribe(t, cluster, topic, group(topic), short)
		got := r.read(2)
		r.must(rollcall.Ack, got[0])
		r.must(rollcall.Retry, got[1])
		for _, d := range got {
			for _, verb := range []rollcall.Verb{rollcall.Ack, rollcall.Retry, rollcall.RetryAfter, rollcall.Reject} {
				if err := r.settle(d, verb); !errors.Is(err, rollcall.ErrStaleReceipt) {
					t.Fatalf("used twice: %v, want ErrStaleReceipt", err)
				}
			}
		}
		again := r.read(1)
		if string(again[0].Body) != string(got[1].Body) || !again[0].Redelivered {
			t.Fatalf("%q came again, want %q, marked", again[0].Body, got[1].Body)
		}
		r.must(rollcall.Ack, again...)
		r.nothing(5*time.Second, "a copy")
	})
}

// TestProlonged: what is held longer than Invisible, handed over or not, does not come to
// others, and is settled by the receipts of the beginning. Ten messages that were
// received together: local mode gives handles for them that are of no use as they are.
func TestProlonged(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		send(t, cluster, topic, 10, 0)
		config := short
		config.Receivers, config.Ahead = 1, 10
		r := subscribe(t, cluster, topic, group(topic), config)
		got := r.read(7) // the others stay in the buffer
		other := subscribe(t, open(t, s), topic, group(topic), short)
		other.nothing(4*config.Invisible, "though another member holds it")
		got = append(got, r.read(3)...)
		r.must(rollcall.Ack, got...)
		other.nothing(2*config.Invisible, "though it is settled")
	})
}

// TestExtend: new receipts, good beside the old ones; one that cannot be extended is
// returned as it was.
func TestExtend(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		send(t, cluster, topic, 2, 0)
		r := subscribe(t, cluster, topic, group(topic), rocketmq.SourceConfig{Invisible: 2 * time.Second, MaxHold: time.Nanosecond, Poll: time.Second})
		got := r.read(2)
		r.must(rollcall.Ack, got[1])
		now, errs := r.Extend(t.Context(), []rollcall.Receipt{got[0].Receipt, got[1].Receipt}, 30*time.Second)
		if errs[0] != nil || now[0].Handle == got[0].Receipt.Handle || !errors.Is(errs[1], rollcall.ErrStaleReceipt) || now[1] != got[1].Receipt {
			t.Fatalf("extended with %v", errs)
		}
		subscribe(t, open(t, s), topic, group(topic), short).nothing(6*time.Second, "though it was extended")
		got[0].Receipt = now[0]
		r.must(rollcall.Ack, got[0])
	})
}

// TestRejected: what is rejected lies in the group's dead letters, and does not come again.
func TestRejected(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		send(t, cluster, topic, 1, 0)
		r := subscribe(t, cluster, topic, group(topic), short)
		r.must(rollcall.Reject, r.read(1)...)
		wait(t, "the dead letter", func() bool {
			got, _, err := s.Ask(30, map[string]string{"topic": "%DLQ%" + group(topic), "queueId": "0"}, nil)
			return err == nil && got["offset"] == "1"
		})
		r.nothing(3*time.Second, "though it was rejected")
	})
}

// TestRetryAfter: not before its time, and then.
func TestRetryAfter(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		send(t, cluster, topic, 1, 0)
		r := subscribe(t, cluster, topic, group(topic), short)
		d := r.read(1)[0]
		begun := time.Now()
		err := r.Settle(t.Context(), []rollcall.Settlement{{Receipt: d.Receipt, Verb: rollcall.RetryAfter, After: 6 * time.Second}})[0]
		if err != nil {
			t.Fatal(err)
		}
		r.must(rollcall.Ack, r.read(1)...)
		if took := time.Since(begun); took < 6*time.Second {
			t.Fatalf("it came after %v", took)
		}
	})
}

// TestEmpty: not before all that there is was handed over and settled, and then.
func TestEmpty(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 2)
		cluster := open(t, s)
		r := subscribe(t, cluster, topic, group(topic), short)
		is := func() bool {
			empty, err := r.Empty(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return empty
		}
		wait(t, "an empty topic", func() bool { r.next(100, 100*time.Millisecond); return is() })
		send(t, cluster, topic, 20, 0)
		got := r.read(20)
		if is() {
			t.Fatal("empty, though messages are held")
		}
		r.must(rollcall.Ack, got...)
		if is() {
			t.Fatal("empty, though nobody has asked since")
		}
		wait(t, "an empty topic, asked by few", func() bool { r.next(1, 100*time.Millisecond); return is() })
	})
}

// TestGivenBack: what was given back is to come: nothing is empty until it came, though
// every request comes back empty meanwhile.
func TestGivenBack(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		send(t, cluster, topic, 1, 0)
		r := subscribe(t, cluster, topic, group(topic), short)
		r.must(rollcall.Retry, r.read(1)...)
		for {
			got := r.next(10, 100*time.Millisecond)
			if len(got) > 0 {
				r.must(rollcall.Ack, got...)
				return
			}
			if empty, err := r.Empty(t.Context()); err != nil || empty {
				t.Fatalf("empty: %v (%v), though a message is to come", empty, err)
			}
		}
	})
}
