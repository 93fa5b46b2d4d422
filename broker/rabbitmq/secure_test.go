//go:build linux

package rabbitmq_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
)

// TestRefused: who is not taken hears why, at once, what to do, and no password.
func TestRefused(t *testing.T) {
	t.Parallel()
	server := start(t, "", "")
	const secret = "s3cr3t-Passw0rd"
	server.ctl("add_user", "poor", secret)
	server.ctl("add_vhost", "theirs")
	server.ctl("set_permissions", "poor", "^$", "^$", "^$")
	queue := newQueue(t, server.Addr, rabbitmq.Queue{})
	attempt := func(c rabbitmq.Config) error {
		c.Warn = func(string) {}
		cluster, err := rabbitmq.Open(soon(t), []string{server.Addr}, c)
		if err != nil {
			return err
		}
		defer cluster.Close()
		if _, err := cluster.Sender().Lanes(soon(t), queue); err != nil {
			return err
		}
		r := cluster.Sender().Publish(soon(t), queue, newNumbering(queue).messages(1))[0]
		return r.Err
	}
	for name, c := range map[string]rabbitmq.Config{
		"password":     {User: "poor", Password: secret + "x"},
		"user":         {User: "nobody", Password: secret},
		"virtual host": {User: "poor", Password: secret, VirtualHost: "none"},
		"not ours":     {User: "poor", Password: secret, VirtualHost: "theirs"},
		"rights":       {User: "poor", Password: secret},
	} {
		began := time.Now()
		err := attempt(c)
		if !errors.Is(err, rabbitmq.ErrRefused) || !errors.Is(err, rollcall.ErrConfig) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want ErrRefused without the password", name, err)
			continue
		}
		if !strings.Contains(err.Error(), "; ") || time.Since(began) > 15*time.Second {
			t.Errorf("%s: after %v, without a next step: %v", name, time.Since(began), err)
		}
		t.Logf("%s: %v", name, err)
	}
	server.ctl("set_permissions", "poor", "^$", "^amq.default$", ".*") // publish and read, not configure
	if err := attempt(rabbitmq.Config{User: "poor", Password: secret}); err != nil {
		t.Fatalf("with just the rights to send: %v", err)
	}
	var warned []string
	cluster, err := rabbitmq.Open(soon(t), []string{server.Addr}, rabbitmq.Config{User: "poor", Password: secret, Warn: func(w string) { warned = append(warned, w) }})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if _, err := cluster.Source(soon(t), queue, rabbitmq.SourceConfig{}); err != nil || len(warned) != 1 {
		t.Fatalf("a source without the right to configure: %v, warned %v", err, warned)
	}
	if err := cluster.Sender().MakeSide(soon(t), "side"); !errors.Is(err, rabbitmq.ErrRefused) || !strings.Contains(err.Error(), "rabbitmqadmin") {
		t.Fatalf("MakeSide: %v", err)
	}
}

// pair is a certificate and its key, as files of a server want them and as Go does.
func pair(t *testing.T, dir, name string, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (tls.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		parent, by = template, key
	}
	template.SerialNumber, template.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-48*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leaf, _ := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, key
}

// TestTLS: the broker is verified, an old protocol is refused, a client's certificate is
// who we are.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	until := time.Now().Add(time.Hour)
	ca, caKey := pair(t, dir, "ca", &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	pair(t, dir, "server", &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca.Leaf, caKey)
	client, _ := pair(t, dir, "client", &x509.Certificate{Subject: pkix.Name{CommonName: "robot"}, NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca.Leaf, caKey)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure := listener.Addr().String()
	_ = listener.Close()
	conf := []string{"listeners.ssl.1 = " + secure, "ssl_options.cacertfile = " + dir + "/ca.pem", "ssl_options.certfile = " + dir + "/server.pem", "ssl_options.keyfile = " + dir + "/server.key",
		"ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = false", "auth_mechanisms.1 = PLAIN", "auth_mechanisms.2 = EXTERNAL", "ssl_cert_login_from = common_name"}
	server := startWith(t, strings.Join(conf, "\n"), "rabbitmq_auth_mechanism_ssl")
	server.ctl("add_user", "robot", "unused")
	server.ctl("set_permissions", "robot", ".*", ".*", ".*")
	roots := x509.NewCertPool()
	roots.AddCert(ca.Leaf)
	attempt := func(addr string, c rabbitmq.Config) error {
		c.Warn = func(string) {}
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		cluster, err := rabbitmq.Open(ctx, []string{addr}, c)
		if err == nil {
			err = cluster.Declare(ctx, rabbitmq.Queue{Name: newName()})
			cluster.Close()
		}
		return err
	}
	for name, c := range map[string]rabbitmq.Config{
		"PLAIN":    {TLS: &tls.Config{RootCAs: roots}},
		"EXTERNAL": {TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}}, External: true},
	} {
		if err := attempt(secure, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, x := range map[string]struct {
		addr   string
		config rabbitmq.Config
		says   string
	}{
		"unknown authority":      {secure, rabbitmq.Config{TLS: &tls.Config{}}, "TLS.RootCAs"},
		"another host":           {secure, rabbitmq.Config{TLS: &tls.Config{RootCAs: roots, ServerName: "elsewhere"}}, "TLS.ServerName"},
		"TLS on the plain port":  {server.Addr, rabbitmq.Config{TLS: &tls.Config{RootCAs: roots}}, "TLS"},
		"old TLS":                {secure, rabbitmq.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS10}}, "TLS 1.2"},
		"EXTERNAL without a key": {secure, rabbitmq.Config{TLS: &tls.Config{RootCAs: roots}, External: true}, "; "},
	} {
		err := attempt(x.addr, x.config)
		if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v, want ErrConfig and %q", name, err, x.says)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if err := attempt(secure, rabbitmq.Config{}); err == nil {
		t.Error("no TLS on the TLS port: connected")
	}
}
