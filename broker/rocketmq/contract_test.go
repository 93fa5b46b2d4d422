//go:build linux

package rocketmq_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
)

// TestNoTopic: a topic that is missing is told with the command that makes it: the protocol
// makes none.
func TestNoTopic(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		cluster := open(t, s)
		for what, err := range map[string]error{
			"Lanes":   second(cluster.Sender().Lanes(t.Context(), "nowhere")),
			"Source":  second(cluster.Source(t.Context(), "nowhere", short)),
			"Publish": cluster.Sender().Publish(t.Context(), "nowhere", numberedFrom(0, 1))[0].Err,
		} {
			if !errors.Is(err, rollcall.ErrNoDestination) || !strings.Contains(err.Error(), "mqadmin updateTopic") {
				t.Errorf("%s: %v, want ErrNoDestination with the command", what, err)
			}
		}
		if fate := cluster.Sender().Publish(t.Context(), "nowhere", numberedFrom(0, 1))[0].Fate; fate != rollcall.Refused {
			t.Errorf("publishing there: %v, want refused", fate)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// TestNoGroup: a group that is missing is told by Fetch, with the command that makes it.
func TestNoGroup(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		sub, err := source(t, open(t, s), topic, short).Subscribe(t.Context(), rollcall.SubscribeRequest{Group: "nobody"}, nil)
		if err == nil {
			defer func() { _ = sub.Close(context.Background()) }()
			wait(t, "word of the group", func() bool {
				_, err = sub.Fetch(t.Context(), rollcall.FetchRequest{Max: 1, Min: 1, Wait: time.Second})
				return err != nil
			})
		}
		t.Log(err)
		if !strings.Contains(err.Error(), "updateSubGroup") {
			t.Errorf("%v, want the command", err)
		}
	})
}

// TestBrokerAdded: a broker that the topic was spread to after Subscribe is asked too.
func TestBrokerAdded(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, "local")
	topic := newTopic(t, s, "NORMAL", 1)
	cluster := open(t, s)
	send(t, cluster, topic, 1, 0)
	r := &reader{t, source(t, cluster, topic, short).WithoutBrokers(group(topic)), topic}
	defer func() { _ = r.Close(context.Background()) }()
	r.nothing(500*time.Millisecond, "though no broker is known")
	for range 2 { // once is enough
		r.Look()
	}
	r.must(rollcall.Ack, r.read(1)...)
	wait(t, "an empty topic", func() bool {
		r.next(10, 100*time.Millisecond)
		empty, err := r.Empty(t.Context())
		return err == nil && empty
	})
}

// TestNothingLeft: every goroutine ends with Close, of what works and of what never
// connected.
func TestNothingLeft(t *testing.T) {
	s := sharedServer(t, "local")
	topic := newTopic(t, s, "NORMAL", 2)
	t.Run("work", func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		cluster, err := rocketmq.Open(t.Context(), []string{s.proxy}, rocketmq.Config{Plaintext: true})
		if err != nil {
			t.Fatal(err)
		}
		send(t, cluster, topic, 10, 0)
		sub, err := source(t, cluster, topic, short).Subscribe(t.Context(), rollcall.SubscribeRequest{Group: group(topic)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Fetch(t.Context(), rollcall.FetchRequest{Max: 5, Min: 5, Wait: 5 * time.Second}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := sub.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			cluster.Close()
		}
		goleak.VerifyNone(t, before)
	})
	t.Run("no server", func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := rocketmq.Open(ctx, []string{"127.0.0.1:1"}, rocketmq.Config{Plaintext: true}); err == nil {
			t.Fatal("opened where nobody listens")
		}
		goleak.VerifyNone(t, before)
	})
}

// TestStubsOnly: of the client's module the stubs are linked, and nothing else of it, or
// of what it brings along.
func TestStubsOnly(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "github.com/rollcall-mq/rollcall/broker/rocketmq").Output()
	if err != nil {
		t.Fatal(err)
	}
	const client = "github.com/apache/rocketmq-clients/"
	found := false
	for p := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(p, client) && p != client+"golang/v5/protocol/v2" {
			t.Errorf("%s is linked", p)
		}
		for _, other := range []string{"go.opencensus.io", "go.uber.org/zap", "contrib.go.opencensus.io", "google.golang.org/api/"} {
			if strings.HasPrefix(p, other) {
				t.Errorf("%s is linked", p)
			}
		}
		found = found || p == client+"golang/v5/protocol/v2"
	}
	if !found {
		t.Error("the stubs are not linked: the test looks at the wrong place")
	}
}

// TestImportIsQuiet: importing the package starts nothing and writes nothing.
func TestImportIsQuiet(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), quietEnv+"=1", "HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("files in the home folder: %v %v", left, err)
	}
}

const quietEnv = "ROLLCALL_ROCKETMQ_QUIET"

// quietChild does nothing, and sees who else is there.
func quietChild() bool {
	if os.Getenv(quietEnv) == "" {
		return false
	}
	if err := goleak.Find(); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	return true
}
