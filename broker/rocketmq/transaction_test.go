//go:build linux

package rocketmq_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
)

func decide(d rocketmq.Decision, err error) func(context.Context) (rocketmq.Decision, error) {
	return func(context.Context) (rocketmq.Decision, error) { return d, err }
}

// TestTransaction: what is committed comes, once, what is rolled back never does, and each
// has its fate.
func TestTransaction(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "TRANSACTION", 1)
		asked := 0
		cluster := openWith(t, s, rocketmq.Config{Checker: func(context.Context, *rollcall.Message) rocketmq.Decision { asked++; return rocketmq.Commit }})
		sender := cluster.Sender()
		r := subscribe(t, cluster, topic, group(topic), short)
		back := sender.PublishTransaction(t.Context(), topic, numberedFrom(10, 2), decide(rocketmq.Rollback, nil))
		for _, result := range back {
			if result.Fate != rollcall.Refused || !errors.Is(result.Err, rocketmq.ErrRolledBack) {
				t.Fatalf("rolled back: %v %v", result.Fate, result.Err)
			}
		}
		failed := sender.PublishTransaction(t.Context(), topic, numberedFrom(20, 1), decide(rocketmq.Rollback, errors.New("the work failed")))
		if failed[0].Fate != rollcall.Refused || !strings.Contains(failed[0].Err.Error(), "the work failed") {
			t.Fatalf("failed: %v %v", failed[0].Fate, failed[0].Err)
		}
		for _, result := range sender.PublishTransaction(t.Context(), topic, numberedFrom(0, 2), decide(rocketmq.Commit, nil)) {
			if result.Fate != rollcall.Stored {
				t.Fatalf("committed: %v %v", result.Fate, result.Err)
			}
		}
		got := r.read(2)
		r.must(rollcall.Ack, got...)
		for _, d := range got {
			if b := string(d.Body); b != body(0) && b != body(1) {
				t.Fatalf("%q came", b)
			}
		}
		r.nothing(8*time.Second, "though it was rolled back, or committed once")
		if asked > 0 {
			t.Errorf("the checker was asked %d times about what was decided", asked)
		}
	})
}

// TestOrphan: a message that nobody decided is asked for, first undecided, then committed.
func TestOrphan(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "TRANSACTION", 1)
		var mu sync.Mutex
		var asked []string
		checker := func(_ context.Context, m *rollcall.Message) rocketmq.Decision {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, string(m.ID)+" "+string(m.Body)+" "+m.Key)
			if len(asked) == 1 {
				return rocketmq.Undecided
			}
			return rocketmq.Commit
		}
		cluster := openWith(t, s, rocketmq.Config{Checker: checker})
		r := subscribe(t, cluster, topic, group(topic), short)
		// Years old: the server never asks about messages that were born so early.
		m := rollcall.Message{Time: time.Unix(1500000000, 0), ID: "order-7", Key: "k", Body: []byte("seven"), Stamp: rollcall.Stamp{Life: rollcall.NewLife(), Sequence: 1, OwnID: true}}
		result := cluster.Sender().PublishTransaction(t.Context(), topic, []rollcall.Message{m}, decide(rocketmq.Undecided, errors.New("the sender died here")))[0]
		if result.Fate != rollcall.Unknown {
			t.Fatalf("undecided: %v %v", result.Fate, result.Err)
		}
		d := r.read(1)[0]
		mu.Lock()
		defer mu.Unlock()
		if len(asked) < 2 || asked[0] != "order-7 seven k" || string(d.Body) != "seven" || d.Stamp != m.Stamp {
			t.Fatalf("asked %q, came %q", asked, d.Body)
		}
		t.Logf("RocketMQ %s: asked %d times", s.version, len(asked))
		r.must(rollcall.Ack, d)
	})
}

// TestEndTwice: the server has forgotten what was decided, and says so; it is never
// called done.
func TestEndTwice(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "TRANSACTION", 1)
		cluster := open(t, s)
		m, err := cluster.Outgoing(topic, &rollcall.Message{Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		m.SystemProperties.MessageType = v2.MessageType_TRANSACTION
		ctx, stub := cluster.Stub(t.Context())
		got, err := stub.SendMessage(ctx, &v2.SendMessageRequest{Messages: []*v2.Message{m}})
		if err != nil || got.GetStatus().GetCode() != v2.Code_OK {
			t.Fatal(err, got)
		}
		e := got.GetEntries()[0]
		if err := cluster.End(t.Context(), topic, e.MessageId, e.TransactionId, rocketmq.Commit); err != nil {
			t.Fatalf("first: %v", err)
		}
		again := cluster.End(t.Context(), topic, e.MessageId, e.TransactionId, rocketmq.Rollback)
		unknown := cluster.End(t.Context(), topic, e.MessageId, "0123", rocketmq.Commit)
		t.Logf("RocketMQ %s: twice: %v; unknown: %v", s.version, again, unknown)
		if again == nil || unknown == nil {
			t.Fatal("an end that changed nothing was called done")
		}
	})
}

// TestWrongType: a transactional topic takes nothing else, and that is told.
func TestWrongType(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "TRANSACTION", 1)
		result := open(t, s).Sender().Publish(t.Context(), topic, numberedFrom(0, 2))[0]
		if result.Fate != rollcall.Refused || !strings.Contains(result.Err.Error(), "another type") {
			t.Fatalf("%v %v, want refused with word of the type", result.Fate, result.Err)
		}
		t.Log(result.Err)
	})
}
