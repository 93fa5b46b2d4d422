//go:build linux

package servers_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// ask says whether a client with the options gets an answer from the address.
func ask(t testing.TB, addr string, options ...kgo.Opt) error {
	t.Helper()
	client := kafkaClient(t, []string{addr}, append(options, kgo.RequestRetries(0))...)
	defer client.Close()
	return client.Ping(limited(t, 10*time.Second))
}

// wantRefused is for an error with the words; any will do when there are none.
func wantRefused(t *testing.T, what string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: %v, want an error with %q", what, err, words)
	}
}

// TestKafkaSecure: each listener takes what is good, and nothing else.
func TestKafkaSecure(t *testing.T) {
	k := servers.KafkaSecure(t, servers.Config{})
	must(t, ask(t, k.Addr))
	over := func(certificates ...tls.Certificate) kgo.Opt {
		return kgo.DialTLSConfig(&tls.Config{RootCAs: k.CA, Certificates: certificates})
	}
	t.Run("tls", func(t *testing.T) {
		must(t, ask(t, k.MTLS, over(k.Client("alice"))))
		must(t, ask(t, strings.Replace(k.MTLS, "127.0.0.1", "localhost", 1), over(k.Client("alice"))))
		wantRefused(t, "no certificate", ask(t, k.MTLS, over()), "")
		wantRefused(t, "expired certificate", ask(t, k.MTLS, over(k.ExpiredClient("alice"))), "")
		wantRefused(t, "strange certificate", ask(t, k.MTLS, over(k.StrangeClient("alice"))), "")
		wantRefused(t, "no authority", ask(t, k.MTLS, kgo.DialTLSConfig(&tls.Config{})), "unknown authority")
		wantRefused(t, "other host", ask(t, k.OtherHost, over()), "127.0.0.1")
		wantRefused(t, "expired server", ask(t, k.Expired, over()), "expired")
		anyHost := &tls.Config{RootCAs: k.CA, ServerName: "elsewhere.example"}
		must(t, ask(t, k.OtherHost, kgo.DialTLSConfig(anyHost)))
	})
	t.Run("sasl", func(t *testing.T) {
		for user, password := range k.Users {
			for name, m := range map[string]func(password string) sasl.Mechanism{
				"PLAIN":         func(p string) sasl.Mechanism { return plain.Auth{User: user, Pass: p}.AsMechanism() },
				"SCRAM-SHA-256": func(p string) sasl.Mechanism { return scram.Auth{User: user, Pass: p}.AsSha256Mechanism() },
				"SCRAM-SHA-512": func(p string) sasl.Mechanism { return scram.Auth{User: user, Pass: p}.AsSha512Mechanism() },
			} {
				if err := ask(t, k.SASL, over(), kgo.SASL(m(password))); err != nil {
					t.Errorf("%s of %s: %v", name, user, err)
				}
				wantRefused(t, name, ask(t, k.SASL, over(), kgo.SASL(m("wrong"))), "SASL_AUTHENTICATION_FAILED")
			}
		}
		wantRefused(t, "nobody", ask(t, k.SASL, over()), "")
		by := func(token string) kgo.Opt { return kgo.SASL(oauth.Auth{Token: token}.AsMechanism()) }
		must(t, ask(t, k.SASL, over(), by(k.Token("alice", time.Hour))))
		wantRefused(t, "expired token", ask(t, k.SASL, over(), by(k.Token("alice", -10*time.Minute))), "")
		wantRefused(t, "strange token", ask(t, k.SASL, over(), by(k.StrangeToken("alice"))), "")
	})
	t.Run("acl", func(t *testing.T) { wantACL(t, k, over) })
	must(t, k.Kill())
	must(t, k.Restart())
	must(t, ask(t, k.SASL, over(), kgo.SASL(scram.Auth{User: "alice", Pass: k.Users["alice"]}.AsSha256Mechanism())))
}

// wantACL: a user may write what an ACL gives him, by whichever way he shows
// who he is; an administrator may without.
func wantACL(t *testing.T, k *servers.SecureKafka, over func(...tls.Certificate) kgo.Opt) {
	kafkaTopic(t, []string{k.Addr}, "guarded")
	write := func(addr string, options ...kgo.Opt) error {
		client := kafkaClient(t, []string{addr}, append([]kgo.Opt{over(), kgo.DisableIdempotentWrite()}, options...)...)
		defer client.Close()
		return client.ProduceSync(limited(t, 10*time.Second), &kgo.Record{Topic: "guarded", Value: []byte("v")}).FirstErr()
	}
	ways := map[string]func() error{
		"certificate": func() error { return write(k.MTLS, over(k.Client("alice"))) },
		"password": func() error {
			return write(k.SASL, kgo.SASL(plain.Auth{User: "alice", Pass: k.Users["alice"]}.AsMechanism()))
		},
		"token": func() error {
			return write(k.SASL, kgo.SASL(oauth.Auth{Token: k.Token("alice", time.Hour)}.AsMechanism()))
		},
	}
	for way, write := range ways {
		if err := write(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("alice by %s without an ACL: %v", way, err)
		}
	}
	must(t, write(k.SASL, kgo.SASL(plain.Auth{User: "admin", Pass: k.Users["admin"]}.AsMechanism())))
	admin := kadm.NewClient(kafkaClient(t, []string{k.Addr}))
	results, err := admin.CreateACLs(limited(t, time.Minute), kadm.NewACLs().Topics("guarded").Allow("User:alice").AllowHosts().
		ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpWrite, kadm.OpDescribe))
	must(t, err)
	for _, r := range results {
		must(t, r.Err)
	}
	for way, write := range ways {
		if err := write(); err != nil {
			t.Errorf("alice by %s with an ACL: %v", way, err)
		}
	}
}
