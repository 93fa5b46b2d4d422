//go:build linux

package servers

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// SecureRabbitMQ is one node of RabbitMQ with an encrypted listener besides, and the keys
// and passwords to it. Its own Addr is the one without encryption, for the test's
// arrangements as guest.
type SecureRabbitMQ struct {
	*Server
	// TLS is the address that takes a password, by PLAIN, or a client's certificate, by
	// EXTERNAL. A client need not show one; one that it shows must be good.
	TLS string
	// CA is whom a client must trust: the listener's certificate is for localhost and
	// 127.0.0.1.
	CA *x509.CertPool
	// CAFile is the same as a PEM file.
	CAFile string
	// Users have these passwords: alice may do all, weak may not do anything.
	Users map[string]string

	t               testing.TB
	trusted, others *authority
}

// RabbitMQSecure gives the test a node of the kind, [RabbitMQ] or [RabbitMQ4], with an
// encrypted listener, and ends it after the test.
func RabbitMQSecure(t testing.TB, spec *Spec, config Config) *SecureRabbitMQ {
	t.Helper()
	encrypted, own := net.JoinHostPort("127.0.0.1", FreePort(t)), *spec
	own.Ready = func(c net.Conn) error { return errors.Join(readyRabbitMQ(c), listens(encrypted)) }
	s, err := create(&own, Config{})
	s.removeAfter(t)
	if err != nil {
		t.Fatalf("%s: %v", spec.Name, err)
	}
	r := &SecureRabbitMQ{
		Server: s, TLS: encrypted, CA: x509.NewCertPool(), CAFile: filepath.Join(s.Dir, "ca.pem"),
		Users: map[string]string{"alice": "secret of alice", "weak": "secret of weak"},
		t:     t, trusted: newAuthority(t, "test authority"), others: newAuthority(t, "strange authority"),
	}
	r.CA.AddCert(r.trusted.certificate)
	maps.Copy(s.Settings, map[string]string{
		"plugins":         "rabbitmq_management,rabbitmq_auth_mechanism_ssl",
		"listeners.ssl.1": r.TLS, "ssl_options.cacertfile": r.CAFile, "ssl_options.certfile": r.keyFile(), "ssl_options.keyfile": r.keyFile(),
		"ssl_options.verify": "verify_peer", "ssl_options.fail_if_no_peer_cert": "false", "ssl_cert_login_from": "common_name",
		"auth_mechanisms.1": "PLAIN", "auth_mechanisms.2": "EXTERNAL",
	})
	maps.Copy(s.Settings, config.Settings)
	if err := errors.Join(r.write(), s.begin()); err != nil {
		t.Fatal(err)
	}
	r.addUsers()
	return r
}

// listens: the encrypted listener is the last to be opened.
func listens(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

func (r *SecureRabbitMQ) keyFile() string { return filepath.Join(r.Dir, "server.pem") }

// write makes the files that the settings name.
func (r *SecureRabbitMQ) write() error {
	r.t.Helper()
	own := r.trusted.server(r.t, time.Now().Add(24*time.Hour), "localhost", "127.0.0.1")
	return errors.Join(os.WriteFile(r.CAFile, certificatePEM(r.trusted.certificate), 0o600),
		os.WriteFile(r.keyFile(), pemOf(r.t, own), 0o600))
}

// addUsers makes the users. The management plugin serves before the listeners do.
func (r *SecureRabbitMQ) addUsers() {
	r.t.Helper()
	for user, password := range r.Users {
		r.Manage(r.t, "PUT", "/api/users/"+user, fmt.Sprintf(`{"password": %q, "tags": ""}`, password))
	}
	r.Manage(r.t, "PUT", "/api/permissions/%2F/alice", `{"configure": ".*", "write": ".*", "read": ".*"}`)
	r.Manage(r.t, "PUT", "/api/permissions/%2F/weak", `{"configure": "", "write": "", "read": ""}`)
}

// Client is a certificate by which its holder is the user.
func (r *SecureRabbitMQ) Client(user string) tls.Certificate {
	r.t.Helper()
	return r.trusted.client(r.t, user, time.Now().Add(24*time.Hour))
}

// ExpiredClient is the user's certificate, but over.
func (r *SecureRabbitMQ) ExpiredClient(user string) tls.Certificate {
	r.t.Helper()
	return r.trusted.client(r.t, user, time.Now().Add(-time.Hour))
}

// StrangeClient is a certificate for the user by an authority that the server does not
// trust.
func (r *SecureRabbitMQ) StrangeClient(user string) tls.Certificate {
	r.t.Helper()
	return r.others.client(r.t, user, time.Now().Add(24*time.Hour))
}
