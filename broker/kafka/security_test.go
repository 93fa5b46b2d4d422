package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
)

// TestSecurity: every way to be let in works from end to end, and every mistake is told
// soon, by its name and with the next step, and without a secret.
func TestSecurity(t *testing.T) {
	k := newSecure(t)
	topic := k.guarded(t)
	t.Run("tls", func(t *testing.T) { wantTLS(t, k) })
	t.Run("mtls", func(t *testing.T) { wantMTLS(t, k, topic) })
	t.Run("sasl", func(t *testing.T) { wantSASL(t, k) })
	t.Run("oauthbearer", func(t *testing.T) { wantTokens(t, k) })
	t.Run("token runs out", func(t *testing.T) { wantFreshTokens(t, k) })
	t.Run("token is not taken any more", func(t *testing.T) { wantTold(t, k) })
}

// wantTLS: whom the client trusts.
func wantTLS(t *testing.T, k *secure) {
	alice := k.Client("alice")
	_, err := k.open(t, k.MTLS, kafka.Config{TLS: &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{alice}}})
	refused(t, err, k.MTLS, "certificate signed by unknown authority", "RootCAs")
	_, err = k.open(t, k.OtherHost, kafka.Config{TLS: k.over(alice)})
	refused(t, err, k.OtherHost, "127.0.0.1", "another host", "ServerName")
	_, err = k.open(t, k.Expired, kafka.Config{TLS: k.over(alice)})
	refused(t, err, k.Expired, "expired", "renew the broker's")
	_, err = k.open(t, k.Addr, kafka.Config{TLS: k.over(alice)})
	wantWords(t, err, k.Addr, "TLS", "nothing was sent or read", "the port does not")
	_, err = k.open(t, k.MTLS, kafka.Config{})
	refused(t, err, k.MTLS, "wants TLS")
	_, err = k.open(t, k.SASL, kafka.Config{TLS: k.over()})
	wantWords(t, err, k.SASL, "want TLS or SASL", "nothing was sent or read")
	t.Logf("refused: %v", err)
	old := k.over(alice)
	old.MinVersion = tls.VersionTLS10
	_, err = k.open(t, k.MTLS, kafka.Config{TLS: old})
	wantWords(t, err, "TLS.MinVersion", "TLS 1.2")
}

// wantMTLS: the client's certificate is who it is.
func wantMTLS(t *testing.T, k *secure, topic string) {
	for _, addr := range []string{k.MTLS, strings.Replace(k.MTLS, "127.0.0.1", "localhost", 1)} {
		cluster, err := k.open(t, addr, kafka.Config{TLS: k.over(k.Client("alice"))})
		if err != nil {
			t.Fatal(err)
		}
		if addr == k.MTLS {
			k.works(t, cluster, topic)
		}
	}
	_, err := k.open(t, k.MTLS, kafka.Config{TLS: k.over(k.ExpiredClient("alice"))})
	refused(t, err, k.MTLS, "TLS.Certificates", "run out")
	_, err = k.open(t, k.MTLS, kafka.Config{TLS: k.over(k.StrangeClient("alice"))})
	refused(t, err, k.MTLS, "TLS.Certificates", "authority")
	_, err = k.open(t, k.MTLS, kafka.Config{TLS: k.over()})
	refused(t, err, k.MTLS, "TLS.Certificates")
}

// wantSASL: user and password.
func wantSASL(t *testing.T, k *secure) {
	const wrong = "a wrong password"
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		as := func(user, password string) kafka.Config {
			return kafka.Config{TLS: k.over(), SASL: kafka.SASL{Mechanism: mechanism, User: user, Password: password}}
		}
		cluster, err := k.open(t, k.SASL, as("alice", k.Users["alice"]))
		if err != nil {
			t.Fatal(err)
		}
		own := k.guarded(t)
		k.works(t, cluster, own)
		_, err = k.open(t, k.SASL, as("alice", wrong))
		refused(t, err, k.SASL, mechanism, "alice", "SASL.Password")
		_, err = k.open(t, k.SASL, as("nobody", wrong))
		refused(t, err, k.SASL, mechanism, "nobody", "SASL.Password")
		_, err = k.open(t, k.SASL, as("alice", ""))
		wantWords(t, err, "SASL.Password")
		fmt.Fprintf(k.said, "%v %+v %#v\n", as("alice", wrong), as("alice", wrong), as("alice", wrong).SASL)
	}
	plain := kafka.SASL{Mechanism: "PLAIN", User: "alice", Password: k.Users["alice"]}
	_, err := k.open(t, k.SASL, kafka.Config{SASL: plain})
	wantWords(t, err, "PLAIN", "TLS")
	if !errors.Is(err, rollcall.ErrConfig) {
		t.Errorf("PLAIN without TLS: %v, want ErrConfig before anything is sent", err)
	}
	_, err = k.open(t, k.MTLS, kafka.Config{TLS: k.over(k.Client("alice")), SASL: plain})
	refused(t, err, k.MTLS, "SASL.Mechanism")
	k.secrets(t, wrong)
}

// wantTokens: OAUTHBEARER.
func wantTokens(t *testing.T, k *secure) {
	var given []string
	open := func(token string, err error) (*kafka.Cluster, error) {
		given = append(given, token)
		return k.open(t, k.SASL, kafka.Config{TLS: k.over(), SASL: kafka.SASL{Mechanism: "OAUTHBEARER", Token: func(context.Context) (string, error) { return token, err }}})
	}
	cluster, err := open(k.Token("alice", time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	k.works(t, cluster, k.guarded(t))
	for what, token := range map[string]string{"over": k.Token("alice", -10*time.Minute), "strange": k.StrangeToken("alice"), "rubbish": "rubbish.of.token"} {
		_, err = open(token, nil)
		t.Log(what)
		refused(t, err, k.SASL, "OAUTHBEARER", "token", "run out")
	}
	broken := errors.New("the identity server is away")
	_, err = open("token", broken)
	wantWords(t, err, "SASL.Token", "identity server is away", "nothing was sent or read")
	if !errors.Is(err, broken) || errors.Is(err, rollcall.ErrConfig) {
		t.Errorf("the token's own error: %v, want it as it is", err)
	}
	k.secrets(t, given[:4]...)
}

// wantFreshTokens: every connection has a token of its own, so one that has run out is
// nobody's trouble: the broker ends the session, and the next one begins with a new one.
func wantFreshTokens(t *testing.T, k *secure) {
	var asked atomic.Int64
	var last atomic.Value
	cluster, err := k.open(t, k.SASL, kafka.Config{TLS: k.over(), SASL: kafka.SASL{Mechanism: "OAUTHBEARER", Token: func(context.Context) (string, error) {
		asked.Add(1)
		token := k.Token("alice", 3*time.Second)
		last.Store(token)
		return token, nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	topic := k.guarded(t)
	r := subscribe(t, source(t, cluster, topic), aGroup)
	send(t, cluster, topic, 5, 0)
	r.read(5)
	first, connected := last.Load(), asked.Load()
	// One token after another runs out while messages go both ways.
	for i := range 8 {
		time.Sleep(time.Second)
		send(t, cluster, topic, 5, 5+5*i)
		r.read(5)
	}
	if again := asked.Load() - connected; again < 4 {
		t.Fatalf("%d tokens were asked for in the 8 s after the first ones, each good for 3 s", again)
	}
	k.secrets(t, last.Load().(string), first.(string))
	t.Logf("%d tokens at first, %d in the 8 s after", connected, asked.Load()-connected)
}

// wantTold: who is not let in any more while the work goes on is told why, by Fetch and by
// Publish, and goes on when he is let in again: a broker or an identity server that is in
// trouble must not end a run.
func wantTold(t *testing.T, k *secure) {
	var strange atomic.Bool
	cluster, err := k.open(t, k.SASL, kafka.Config{TLS: k.over(), SASL: kafka.SASL{Mechanism: "OAUTHBEARER", Token: func(context.Context) (string, error) {
		if strange.Load() {
			return k.StrangeToken("alice"), nil
		}
		return k.Token("alice", 3*time.Second), nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	topic := k.guarded(t)
	r := subscribe(t, source(t, cluster, topic), aGroup)
	p := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{Timeout: 3 * time.Second})
	publish := func(i int) rollcall.PublishResult {
		return p.Publish(t.Context(), topic, rollcall.Message{Body: []byte(body(i))})[0]
	}
	if result := publish(0); result.Fate != rollcall.Stored {
		t.Fatal(result.Err)
	}
	r.read(1)
	strange.Store(true)
	time.Sleep(4 * time.Second) // every session is over
	result := publish(1)
	t.Logf("publish: %v %v", result.Fate, result.Err)
	err = nil
	for deadline := time.Now().Add(patience); err == nil; {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for Fetch to say why nothing comes", patience)
		}
		_, err = r.next()
	}
	t.Logf("fetch: %v", err)
	wantWords(t, err, topic, "did not take the token", "SASL.Token")
	wantWords(t, result.Err, topic, "did not take the token", "SASL.Token")
	strange.Store(false)
	if result := publish(2); result.Fate != rollcall.Stored {
		t.Errorf("after it was let in again: %v", result.Err)
	}
	came := false
	for deadline := time.Now().Add(patience); !came; {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for the message", patience)
		}
		batches, _ := r.next() // what was wrong before is told once more, perhaps
		for _, b := range batches {
			for _, d := range b.Deliveries {
				came = came || string(d.Body) == body(2)
			}
		}
	}
}
