//go:build linux

package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/redis"
)

// TestUser: the rights that the package's comment names are enough, and with
// fewer it says what is missing.
func TestUser(t *testing.T) {
	const rights = "on >secret ~rollcall:* +@read +@write +@scripting +time +info +ping"
	server := private(t, map[string]string{
		"user app": rights + " +config|get", "user quiet": rights, "user blind": "on >secret ~rollcall:* +ping",
		"user elsewhere": "on >secret ~other:* +@all",
	})
	at := func(user string) redis.Config { return redis.Config{Addr: server.Addr, User: user, Password: "secret"} }
	for user, want := range map[string]redis.Durability{"app": redis.DurabilityEvery, "quiet": redis.DurabilityUnknown} {
		s := open(t, at(user))
		token := wantFresh(t, s, key(1))
		must(t, s.Renew(t.Context(), group, key(1), token, time.Minute))
		must(t, s.Complete(t.Context(), group, key(1), token, nil, time.Hour))
		wantState(t, s, key(1), rollcall.ClaimDone)
		must(t, s.Release(t.Context(), group, key(2), wantFresh(t, s, key(2))))
		if s.Durability() != want {
			t.Errorf("%s: durability %q, want %q", user, s.Durability(), want)
		}
		must(t, admin(t, server.Addr).FlushAll(t.Context()).Err())
	}
	_, err := redis.Open(t.Context(), at("blind"))
	wantError(t, err, "NOPERM", "INFO", "give it the rights")
	_, err = open(t, at("elsewhere")).Claim(t.Context(), group, key(1), time.Minute)
	wantError(t, err, "NOPERM", "nothing was claimed", "give it the rights")
}

// TestDurability: graded by what the server is set to.
func TestDurability(t *testing.T) {
	server := private(t, nil)
	for _, c := range []struct {
		only, sync string
		want       redis.Durability
	}{{"yes", "always", redis.DurabilityEvery}, {"yes", "everysec", redis.DurabilitySecond}, {"yes", "no", redis.DurabilityNone}, {"no", "always", redis.DurabilityNone}} {
		must(t, admin(t, server.Addr).ConfigSet(t.Context(), "appendonly", c.only).Err())
		must(t, admin(t, server.Addr).ConfigSet(t.Context(), "appendfsync", c.sync).Err())
		if s := open(t, redis.Config{Addr: server.Addr}); s.Durability() != c.want || s.Version() == "" {
			t.Errorf("appendonly %s, appendfsync %s: %q, want %q; version %q", c.only, c.sync, s.Durability(), c.want, s.Version())
		}
	}
}

// TestTLS: with the server's authority it works, without it says so, and plain
// TCP to a TLS port is no connection.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	port := servers.FreePort(t)
	private(t, map[string]string{
		"tls-port": port, "tls-cert-file": filepath.Join(dir, "cert.pem"), "tls-key-file": filepath.Join(dir, "key.pem"),
		"tls-auth-clients": "no",
	})
	addr := net.JoinHostPort("127.0.0.1", port)
	wantFresh(t, open(t, redis.Config{Addr: addr, TLS: &tls.Config{RootCAs: pool}}), key(1))
	_, err := redis.Open(t.Context(), redis.Config{Addr: addr, TLS: &tls.Config{}})
	wantError(t, err, "Config.TLS", "RootCAs", addr)
	_, err = redis.Open(t.Context(), redis.Config{Addr: addr, Timeout: time.Second})
	wantError(t, err, addr)
}

// certificate writes one of 127.0.0.1 that is its own authority.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	parsed, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}
