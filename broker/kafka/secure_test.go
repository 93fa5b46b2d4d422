package kafka_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// secure is a broker that lets nobody in who does not show who he is, and what was said
// of it: in errors, warnings and logs.
type secure struct {
	*servers.SecureKafka
	admin administrator
	said  *said
}

func newSecure(t *testing.T) *secure {
	t.Helper()
	k := servers.KafkaSecure(t, servers.Config{Settings: map[string]string{
		"listener.name.sasl.connections.max.reauth.ms": "5000", // the broker ends sessions that do not show again who they are
	}})
	return &secure{k, admin(t, []string{k.Addr}), new(said)}
}

// said collects; it is safe for concurrent use.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *said) observer() rollcall.Observer {
	return rollcall.SlogObserver(slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})))
}

// over is TLS that trusts the broker's authority, and shows the certificates.
func (k *secure) over(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: k.CA, Certificates: certificates}
}

// open tries to connect: it must be decided soon.
func (k *secure) open(t *testing.T, addr string, config kafka.Config) (*kafka.Cluster, error) {
	t.Helper()
	config.Warn = func(w string) { fmt.Fprintln(k.said, "warning:", w) }
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	cluster, err := kafka.Open(ctx, []string{addr}, config)
	if took := time.Since(began); took > soon {
		t.Errorf("Open took %v, want less than %v: %v", took, soon, err)
	}
	if err != nil {
		fmt.Fprintln(k.said, "error:", err)
		return nil, err
	}
	t.Cleanup(cluster.Close)
	return cluster, nil
}

// soon is how long a refusal may take on a busy machine.
const soon = 10 * time.Second

// right is an operation that alice may do.
type right struct {
	on        kmsg.ACLResourceType
	name      string
	operation kadm.ACLOperation
}

func (r right) acl() *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:alice").AllowHosts().ResourcePatternType(kadm.ACLPatternLiteral).Operations(r.operation)
	switch r.on {
	case kmsg.ACLResourceTypeTopic:
		return b.Topics(r.name)
	case kmsg.ACLResourceTypeGroup:
		return b.Groups(r.name)
	}
	return b.TransactionalIDs(r.name)
}

func (r right) String() string { return fmt.Sprintf("%v on %v %s", r.operation, r.on, r.name) }

func onTopic(topic string, operation kadm.ACLOperation) right {
	return right{kmsg.ACLResourceTypeTopic, topic, operation}
}

func onGroup(group string) right { return right{kmsg.ACLResourceTypeGroup, group, kadm.OpRead} }

func onID(id string) right { return right{kmsg.ACLResourceTypeTransactionalId, id, kadm.OpWrite} }

// grant gives alice rights, and waits until the broker knows them.
func (k *secure) grant(t *testing.T, rights ...right) {
	t.Helper()
	for _, r := range rights {
		results, err := k.admin.CreateACLs(t.Context(), r.acl())
		if err != nil || len(results) != 1 || results[0].Err != nil {
			t.Fatalf("%v: %v, %v", r, results, err)
		}
		k.knows(t, r, 1)
	}
}

// revoke takes one.
func (k *secure) revoke(t *testing.T, r right) {
	t.Helper()
	results, err := k.admin.DeleteACLs(t.Context(), r.acl())
	if err != nil || len(results) != 1 || results[0].Err != nil || len(results[0].Deleted) != 1 {
		t.Fatalf("%v: %v, %v", r, results, err)
	}
	k.knows(t, r, 0)
}

// knows waits until the broker has heard of a change.
func (k *secure) knows(t *testing.T, r right, rules int) {
	t.Helper()
	wait(t, fmt.Sprintf("%d rules of %v", rules, r), func() bool {
		results, err := k.admin.DescribeACLs(t.Context(), r.acl())
		return err == nil && len(results) == 1 && results[0].Err == nil && len(results[0].Described) == rules
	})
}

// guarded makes a topic that alice may write, and read in the group g.
func (k *secure) guarded(t *testing.T) string {
	t.Helper()
	topic := newTopic(t, k.admin, 2, nil)
	k.grant(t, onTopic(topic, kadm.OpWrite), onTopic(topic, kadm.OpRead), onGroup(aGroup))
	return topic
}

// works: what the publisher sends takes effect once in a consumer.
func (k *secure) works(t *testing.T, cluster *kafka.Cluster, topic string) {
	t.Helper()
	send(t, cluster, topic, 20, 0)
	got, err := ledger(t, source(t, cluster, topic), aGroup, memory.NewDatabase(memory.Config{}), rollcall.ConsumerConfig{Observer: k.said.observer()})
	if err != nil || !slices.Equal(got, bodies(0, 20)) {
		t.Fatalf("%d of 20 took effect, %v", len(got), err)
	}
}

// secrets: nothing that was said contains one.
func (k *secure) secrets(t *testing.T, more ...string) {
	t.Helper()
	text := k.said.String()
	if !strings.Contains(text, "error:") || !strings.Contains(text, "warning:") {
		t.Errorf("nothing was said, so nothing is shown: %q", text)
	}
	for _, secret := range append(more, k.Users["alice"], k.Users["admin"]) {
		if len(secret) < 5 {
			t.Fatalf("%q would be found by chance", secret)
		}
		if strings.Contains(text, secret) {
			t.Errorf("the secret %q was said", secret)
		}
	}
}

// refused: the error says the words, is ErrConfig and says that nothing has happened.
func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	t.Logf("refused: %v", err)
	wantWords(t, err, append(words, "nothing was sent or read")...)
	if !errors.Is(err, rollcall.ErrConfig) {
		t.Errorf("%v: want ErrConfig, trying again does not help", err)
	}
}
