//go:build linux

package rocketmq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// inOrder are short times for an orderly group.
var inOrder = rocketmq.SourceConfig{FIFO: true, Invisible: 3 * time.Second, Poll: time.Second}

func keyed(key string, n int) (out []rollcall.Message) {
	life := rollcall.NewLife()
	for i := range n {
		out = append(out, rollcall.Message{Key: key, Body: fmt.Append(nil, key, i), Stamp: rollcall.Stamp{Life: life, Sequence: uint64(i) + 1}})
	}
	return out
}

// TestFIFOHead: while the first message is not settled, nothing behind it comes to anybody;
// given back it comes again, first. It is not called redelivered: the server's count
// stands still.
func TestFIFOHead(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "FIFO", 1)
		cluster := open(t, s)
		for _, r := range cluster.Sender().Publish(t.Context(), topic, keyed("A", 3)) {
			if r.Fate != rollcall.Stored {
				t.Fatal(r.Err)
			}
		}
		r := subscribe(t, cluster, topic, group(topic), inOrder)
		other := subscribe(t, open(t, s), topic, group(topic), inOrder)
		head := r.read(1)
		for try := range 2 {
			if string(head[0].Body) != "A0" {
				t.Fatalf("first came %q", head[0].Body)
			}
			other.nothing(4*time.Second, "though the head is held")
			r.must(rollcall.Retry, head...)
			head = r.read(1)
			t.Logf("RocketMQ %s: given back %d times, redelivered: %v", s.version, try+1, head[0].Redelivered)
		}
		var got []string
		for len(got) < 3 {
			got = append(got, string(head[0].Body))
			r.must(rollcall.Ack, head...)
			if len(got) < 3 {
				head = r.read(1)
			}
		}
		if !slices.Equal(got, []string{"A0", "A1", "A2"}) {
			t.Fatalf("got %v", got)
		}
		other.nothing(2*time.Second, "though all is settled")
	})
}

// TestFIFOEffects: handlers that fail at first, workers side by side, several keys: the
// effects of each key are in order, and each once.
func TestFIFOEffects(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "FIFO", 4)
		cluster := open(t, s)
		const each = 20
		for _, key := range []string{"A", "B", "C", "D", "E"} {
			for _, r := range cluster.Sender().Publish(t.Context(), topic, keyed(key, each)) {
				if r.Fate != rollcall.Stored {
					t.Fatal(r.Err)
				}
			}
		}
		db := memory.NewDatabase(memory.Config{})
		var failures atomic.Int64
		for range 2 {
			consume(t, source(t, open(t, s), topic, inOrder), group(topic), db, rollcall.ConsumerConfig{Batch: 5, Retry: rollcall.RetryConfig{First: 10 * time.Millisecond}}, func(m rollcall.Message) error {
				if strings.HasSuffix(string(m.Body), "3") && failures.Add(1)%2 == 1 {
					return errors.New("fails at first")
				}
				return nil
			})
		}
		wait(t, "all effects", func() bool { return len(db.All("ledger")) >= 5*each })
		next := make(map[byte]int)
		for _, line := range db.All("ledger") {
			b := line.(string)
			if want := fmt.Sprint(b[:1], next[b[0]]); b != want {
				t.Fatalf("effect %q, want %q: %v", b, want, db.All("ledger"))
			}
			next[b[0]]++
		}
	})
}

// TestFIFOMismatch: a group that is not what it is taken for is told before anything is
// received, with what to do.
func TestFIFOMismatch(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		fifo, normal := newTopic(t, s, "FIFO", 1), newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		src := source(t, cluster, fifo, short)
		_, err := src.Subscribe(t.Context(), rollcall.SubscribeRequest{Group: group(fifo)}, nil)
		if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), "set it to true") {
			t.Fatalf("an orderly group, taken for one that is not: %v", err)
		}
		src = source(t, cluster, fifo, inOrder)
		_, err = src.Subscribe(t.Context(), rollcall.SubscribeRequest{Group: group(normal)}, nil)
		if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), "updateSubGroup") {
			t.Fatalf("a group that is not orderly, taken for one: %v", err)
		}
		if _, err = cluster.Source(context.Background(), normal, inOrder); !errors.Is(err, rollcall.ErrConfig) {
			t.Fatalf("a topic that is not FIFO, taken for one: %v", err)
		}
	})
}
