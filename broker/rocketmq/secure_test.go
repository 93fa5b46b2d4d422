//go:build linux

package rocketmq_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
)

// withACL are the settings of a server that wants signatures and rights.
var withACL = map[string]string{
	"admin.user": "chief", "admin.key": "chiefs-secret",
	"authenticationEnabled": "true", "authenticationProvider": "org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider",
	"authenticationMetadataProvider": "org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider",
	"initAuthenticationUser":         `{"username":"chief","password":"chiefs-secret"}`, "innerClientAuthenticationCredentials": `{"accessKey":"chief","secretKey":"chiefs-secret"}`,
	"authorizationEnabled": "true", "authorizationProvider": "org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider",
	"authorizationMetadataProvider": "org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider",

	"proxy.authenticationEnabled": "true", "proxy.authenticationProvider": `"org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider"`,
	"proxy.authenticationMetadataProvider":       `"org.apache.rocketmq.proxy.auth.ProxyAuthenticationMetadataProvider"`,
	"proxy.innerClientAuthenticationCredentials": `"{\"accessKey\":\"chief\",\"secretKey\":\"chiefs-secret\"}"`,
	"proxy.authorizationEnabled":                 "true", "proxy.authorizationProvider": `"org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider"`,
	"proxy.authorizationMetadataProvider": `"org.apache.rocketmq.proxy.auth.ProxyAuthorizationMetadataProvider"`,
}

// TestACL: the right key works; a wrong one, a user without rights and nobody are
// ErrRefused, at once, and no error shows a secret.
func TestACL(t *testing.T) {
	t.Parallel()
	s := start(t, "local", withACL)
	s.CreateTopic(t, "orders", "NORMAL", 1)
	s.CreateGroup(t, "g", false, 16)
	s.Remote(t, 3001, map[string]string{"username": "weak"}, map[string]any{"username": "weak", "password": "weaks-secret", "userType": "Normal"})
	chief := rocketmq.Config{AccessKey: "chief", SecretKey: "chiefs-secret"}
	cluster := openWith(t, s, chief)
	wait(t, "the route", func() bool { _, err := cluster.Sender().Lanes(t.Context(), "orders"); return err == nil })
	send(t, cluster, "orders", 3, 0)
	r := subscribe(t, cluster, "orders", "g", short)
	r.must(rollcall.Ack, r.read(3)...)
	for name, config := range map[string]rocketmq.Config{
		"wrong key":    {AccessKey: "chief", SecretKey: "another-secret"},
		"unknown user": {AccessKey: "nobody", SecretKey: "chiefs-secret"},
		"no rights":    {AccessKey: "weak", SecretKey: "weaks-secret"},
		"no key":       {},
	} {
		config.Plaintext = true
		begun := time.Now()
		c, err := rocketmq.Open(t.Context(), []string{s.proxy}, config)
		if err == nil {
			result := c.Sender().Publish(t.Context(), "orders", numberedFrom(100, 1))[0]
			c.Close()
			if err = result.Err; result.Fate == rollcall.Stored {
				t.Errorf("%s: stored", name)
				continue
			}
		}
		t.Logf("RocketMQ %s: %s: %v", s.version, name, err)
		if !errors.Is(err, rocketmq.ErrRefused) || !errors.Is(err, rollcall.ErrConfig) || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v after %v, want ErrRefused", name, err, time.Since(begun))
		}
		for _, secret := range []string{"chiefs-secret", "another-secret", "weaks-secret"} {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error shows a secret", name)
			}
		}
	}
	// The clock of a signature may be off: the server does not look.
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		late := chief
		late.Now = func() time.Time { return time.Now().Add(off) }
		send(t, openWith(t, s, late), "orders", 1, 10)
	}
}

// TestTLS: encrypted and verified without being asked; a certificate that nobody vouches
// for, and one of another host, is ErrRefused.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := start(t, "local", map[string]string{"-Dtls.server.mode": "permissive"}) // with and without
	topic := newTopic(t, s, "NORMAL", 1)
	pem, err := os.ReadFile(filepath.Join(s.Proxy.Dir, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	cluster := openWith(t, s, rocketmq.Config{TLS: &tls.Config{RootCAs: roots}})
	send(t, cluster, topic, 2, 0)
	r := subscribe(t, cluster, topic, group(topic), short)
	r.must(rollcall.Ack, r.read(2)...)
	for name, config := range map[string]*tls.Config{
		"not vouched for": nil,
		"another host":    {RootCAs: roots, ServerName: "elsewhere.example"},
	} {
		begun := time.Now()
		c, err := rocketmq.Open(t.Context(), []string{s.proxy}, rocketmq.Config{TLS: config})
		if err == nil {
			c.Close()
		}
		t.Logf("%s: %v", name, err)
		if !errors.Is(err, rocketmq.ErrRefused) || !errors.Is(err, rollcall.ErrConfig) || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v after %v, want ErrRefused", name, err, time.Since(begun))
		}
	}
}

// TestConfig: what cannot work is told before anything is tried.
func TestConfig(t *testing.T) {
	t.Parallel()
	at := []string{"127.0.0.1:1"}
	for name, try := range map[string]func() error{
		"no endpoint": func() error { return opened(t, nil, rocketmq.Config{}) },
		"no port":     func() error { return opened(t, []string{"host"}, rocketmq.Config{}) },
		"half a key":  func() error { return opened(t, at, rocketmq.Config{AccessKey: "user"}) },
		"a slash":     func() error { return opened(t, at, rocketmq.Config{AccessKey: "us/er", SecretKey: "x"}) },
		"TLS and not": func() error { return opened(t, at, rocketmq.Config{Plaintext: true, TLS: &tls.Config{}}) },
		"an old TLS": func() error {
			return opened(t, at, rocketmq.Config{TLS: &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}})
		},
	} {
		if err := try(); !errors.Is(err, rollcall.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
}

func opened(t *testing.T, endpoints []string, config rocketmq.Config) error {
	c, err := rocketmq.Open(t.Context(), endpoints, config)
	if err == nil {
		c.Close()
	}
	return err
}
