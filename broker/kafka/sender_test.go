package kafka_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// sending is what a sender process is told. Its stamps are durable beforehand, as an
// outbox's are: they follow from what it is told.
type sending struct {
	Brokers  []string
	Topic    string
	Life     rollcall.Life
	Messages int
}

const sendingEnv = "ROLLCALL_KAFKA_SENDING"

// sendChild runs a sender process and reports that it was one.
func sendChild() bool {
	text := os.Getenv(sendingEnv)
	if text == "" {
		return false
	}
	var s sending
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = s.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func (s sending) run(ctx context.Context) error {
	cluster, err := openWhenUp(s.Brokers)
	if err != nil {
		return err
	}
	defer cluster.Close()
	sender := cluster.Sender()
	lanes, err := sender.Lanes(ctx, s.Topic)
	if err != nil {
		return err
	}
	next := make(map[int32]uint64)
	p := rollcall.NewPublisher(sender, rollcall.PublisherConfig{Timeout: patience})
	var part []rollcall.Message
	for i := range s.Messages {
		m := rollcall.Message{ID: rollcall.MessageID(body(i)), Key: fmt.Sprint("k", i%50), Body: []byte(body(i)), Time: time.Unix(1700000000, 0)}
		lane := lanes.Pick(&m)
		next[lane]++
		m.Stamp = rollcall.Stamp{Life: s.Life, Lane: uint32(lane), Sequence: next[lane], Origin: rollcall.OriginOf(s.Topic)}
		if part = append(part, m); len(part) < 200 && i < s.Messages-1 {
			continue
		}
		for _, r := range p.Publish(ctx, s.Topic, part...) {
			if r.Fate != rollcall.Stored {
				return r.Err
			}
		}
		part = nil
	}
	return p.Close(ctx)
}

// TestSenderKilled: the sender is killed in the middle, five times, and begins anew.
// What it had sent it sends again; each message takes effect once.
func TestSenderKilled(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 3, nil)
	s := sending{brokers, topic, rollcall.NewLife(), 20_000}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	stored := func() (n int64) {
		extents, err := source(t, open(t, brokers), topic).Measure(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range extents {
			n += x.End
		}
		return n
	}
	start := func() (*exec.Cmd, chan error) {
		var out bytes.Buffer
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), sendingEnv+"="+string(text)), &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			if err := cmd.Wait(); err != nil {
				done <- fmt.Errorf("%w: %s", err, out.String())
				return
			}
			done <- nil
		}()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd, done
	}
	for range 5 {
		before := stored()
		cmd, done := start()
		wait(t, "the sender to be in the middle", func() bool { return stored() > before+500 })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil {
			t.Fatal("the sender had ended: the kill bit nothing")
		}
		t.Logf("sender (pid %d) killed when %d of its %d messages were stored", cmd.Process.Pid, stored()-before, s.Messages)
	}
	if _, done := start(); <-done != nil {
		t.Fatal("the last sender failed")
	}
	if n := stored(); n <= int64(s.Messages) {
		t.Fatalf("%d stored of %d: nothing was sent twice, the test shows nothing", n, s.Messages)
	}
	byStamp := rollcall.ConsumerConfig{Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByStamp}}}
	got, err := ledger(t, source(t, open(t, brokers), topic), aGroup, memory.NewDatabase(memory.Config{}), byStamp)
	if err != nil || !slices.Equal(got, bodies(0, s.Messages)) {
		t.Fatalf("%d effects of %d messages, %v", len(got), s.Messages, err)
	}
}
