//go:build linux

package servers_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// secureDial connects to the encrypted listener, and shows the certificate whether or not
// the server says that it knows its authority.
func secureDial(r *servers.SecureRabbitMQ, roots *x509.CertPool, login amqp.Authentication, shown ...tls.Certificate) error {
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if len(shown) > 0 {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown[0], nil }
	}
	conn, err := amqp.DialConfig("amqps://"+r.TLS, amqp.Config{
		SASL: []amqp.Authentication{login}, Dial: amqp.DefaultDial(20 * time.Second),
		TLSClientConfig: config,
	})
	if err != nil {
		return err
	}
	return conn.Close()
}

// TestRabbitMQSecure: a password and a certificate let their user in, over TLS; a wrong
// password, a certificate of somebody unknown, by somebody unknown or one that is over
// do not, and a client that does not know the authority does not connect.
func TestRabbitMQSecure(t *testing.T) {
	for _, spec := range []*servers.Spec{servers.RabbitMQ, servers.RabbitMQ4} {
		t.Run(spec.Name, func(t *testing.T) {
			r := servers.RabbitMQSecure(t, spec, servers.Config{})
			password := func(user, password string) amqp.Authentication {
				return &amqp.PlainAuth{Username: user, Password: password}
			}
			external := &amqp.ExternalAuth{}
			must(t, secureDial(r, r.CA, password("alice", r.Users["alice"])))
			must(t, secureDial(r, r.CA, password("weak", r.Users["weak"])))
			must(t, secureDial(r, r.CA, external, r.Client("alice")))
			for name, err := range map[string]error{
				"wrong password": secureDial(r, r.CA, password("alice", "wrong")),
				"unknown user":   secureDial(r, r.CA, external, r.Client("nobody")),
				"no certificate": secureDial(r, r.CA, external),
			} {
				if !errors.Is(err, amqp.ErrCredentials) {
					t.Errorf("%s: %v, want %v", name, err, amqp.ErrCredentials)
				}
			}
			for name, err := range map[string]error{
				"strange":   secureDial(r, r.CA, external, r.StrangeClient("alice")),
				"expired":   secureDial(r, r.CA, external, r.ExpiredClient("alice")),
				"untrusted": secureDial(r, x509.NewCertPool(), password("alice", r.Users["alice"])),
			} {
				if err == nil {
					t.Errorf("%s: let in", name)
				}
				if errors.Is(err, amqp.ErrCredentials) {
					t.Errorf("%s: it came as far as the login", name)
				}
				t.Logf("%s: %v", name, err)
			}
		})
	}
}
