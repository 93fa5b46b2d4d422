//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// selfSigned is a certificate for 127.0.0.1 that signs itself, and its PEM.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestKafkaSecure: over TLS, with a password that is never printed; a wrong one, and a
// certificate that nobody vouches for, end with 3 before anything is sent.
func TestKafkaSecure(t *testing.T) {
	certificate, ca := selfSigned(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}),
		kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "app", password), kfake.SeedTopics(2, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	broker := cluster.ListenAddrs()[0]
	folder := t.TempDir()
	for name, text := range map[string]string{"ca.pem": ca, "good": password, "wrong": "not-" + password, "in.ndjson": `{"id": 1}` + "\n"} {
		writeFile(t, folder, name, text)
	}
	pipelineOf := func(trust, secret string) {
		writeFile(t, folder, "rollcall.yaml", fmt.Sprintf(`
name: secure
source: {kafka: {brokers: [%q], topic: orders, tls: {%s}, sasl: {mechanism: SCRAM-SHA-512, user: app, password: "${file:%s}"}}}
store: {sqlite: {path: shop.db}}
effect: {table: {name: entries, mode: insert, columns: {id: payload.id}}}
`, broker, trust, secret))
	}
	if err := withDB(folder+"/shop.db", func(db *sql.DB) error {
		_, err := db.Exec("CREATE TABLE entries (id INTEGER NOT NULL)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, trust, secret string
		code                int
		says                string
	}{
		{"trusted", "ca: ca.pem", "good", exitFine, "stored 1"},
		{"unverified", "skip_verify: true", "good", exitFine, "warning: kafka: tls.skip_verify"},
		{"unknown authority", "", "good", exitServer, "certificate"},
		{"another name", "ca: ca.pem, server_name: kafka.example", "good", exitServer, "certificate"},
		{"wrong password", "ca: ca.pem", "wrong", exitServer, "nothing was sent or read"}, // this broker hangs up without a word
	} {
		pipelineOf(c.trust, c.secret)
		for _, args := range [][]string{{"send", "in.ndjson"}, {"run", "--until-empty"}} {
			child := start(t, folder, args...)
			code := child.wait()
			if all := child.out.String() + child.log.String(); code != c.code || !strings.Contains(all, c.says) || strings.Contains(all, password) {
				t.Errorf("%s: rollcall %v: exit code %d, want %d and %q\n%s", c.name, args, code, c.code, c.says, all)
			}
		}
	}
}
