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

// grant lets a user do operations on topics, groups and transactional ids.
func (k *secure) grant(t *testing.T, acls ...*kadm.ACLBuilder) {
	t.Helper()
	for _, acl := range acls {
		results, err := k.admin.CreateACLs(t.Context(), acl.AllowHosts().ResourcePatternType(kadm.ACLPatternLiteral))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
}

// revoke takes what grant gave.
func (k *secure) revoke(t *testing.T, acl *kadm.ACLBuilder) {
	t.Helper()
	results, err := k.admin.DeleteACLs(t.Context(), acl.AllowHosts().ResourcePatternType(kadm.ACLPatternLiteral))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil || len(r.Deleted) == 0 {
			t.Fatalf("%d rules were deleted, %v", len(r.Deleted), r.Err)
		}
	}
}

// guarded makes a topic that alice may write and read in the group g.
func (k *secure) guarded(t *testing.T) string {
	t.Helper()
	topic := newTopic(t, k.admin, 2, nil)
	k.grant(t, onTopic(topic, kadm.OpWrite, kadm.OpRead, kadm.OpDescribe), onGroup("g", kadm.OpRead))
	return topic
}

func onTopic(topic string, operations ...kadm.ACLOperation) *kadm.ACLBuilder {
	return kadm.NewACLs().Topics(topic).Allow("User:alice").Operations(operations...)
}

func onGroup(group string, operations ...kadm.ACLOperation) *kadm.ACLBuilder {
	return kadm.NewACLs().Groups(group).Allow("User:alice").Operations(operations...)
}

// works: what the publisher sends takes effect once in a consumer.
func (k *secure) works(t *testing.T, cluster *kafka.Cluster, topic string) {
	t.Helper()
	send(t, cluster, topic, 20, 0)
	got, err := ledger(t, source(t, cluster, topic), "g", memory.NewDatabase(memory.Config{}), rollcall.ConsumerConfig{Observer: k.said.observer()})
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
