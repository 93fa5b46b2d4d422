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
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// SecureKafka is one Kafka node with a listener for every way to be secure, and
// the keys and passwords to them. Its own Addr takes everyone, as a super user:
// it is for the test's arrangements. On the others the user admin may do all,
// and every other user what an ACL says.
type SecureKafka struct {
	*Server
	// MTLS is the address that wants a client's certificate.
	MTLS string
	// SASL is the address that wants a password or a token, by PLAIN,
	// SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, over TLS.
	SASL string
	// OtherHost and Expired are addresses whose certificate is one for another
	// host, and one that is over. They ask for no client's certificate.
	OtherHost, Expired string
	// CA is whom a client must trust: the listeners' certificates are for
	// localhost and 127.0.0.1.
	CA *x509.CertPool
	// CAFile is the same as a PEM file.
	CAFile string
	// Users have these passwords, by PLAIN and SCRAM: admin and alice.
	Users map[string]string

	t               testing.TB
	trusted, others *authority
	issuer, strange *issuer
}

// KafkaSecure gives the test a node with secure listeners, and ends it after
// the test. The config's settings are those of [Kafka], and of listeners by
// listener.name.mtls.… and listener.name.sasl.….
func KafkaSecure(t testing.TB, config Config) *SecureKafka {
	t.Helper()
	s, err := create(Kafka, Config{})
	s.removeAfter(t)
	if err != nil {
		t.Fatalf("%s: %v", Kafka.Name, err)
	}
	k := &SecureKafka{
		Server: s, Users: map[string]string{"admin": "secret of admin", "alice": "secret of alice"},
		CA: x509.NewCertPool(), CAFile: filepath.Join(s.Dir, "ca.pem"),
		t: t, trusted: newAuthority(t, "test authority"), others: newAuthority(t, "strange authority"),
		issuer: newIssuer(t), strange: newIssuer(t),
	}
	k.CA.AddCert(k.trusted.certificate)
	k.settle(config)
	if err := errors.Join(k.write(), prepareKafka(s), k.format()); err != nil {
		t.Fatalf("%s, secure: %v", Kafka.Name, err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	return k
}

// settle gives the settings of all listeners.
func (k *SecureKafka) settle(config Config) {
	k.t.Helper()
	address := func() string { return net.JoinHostPort("127.0.0.1", FreePort(k.t)) }
	k.MTLS, k.SASL, k.OtherHost, k.Expired = address(), address(), address(), address()
	controller := address()
	maps.Copy(k.Settings, map[string]string{
		"controller.quorum.voters": "1@" + controller,
		"listeners": fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://%s,MTLS://%s,SASL://%s,OTHERHOST://%s,EXPIRED://%s",
			k.Addr, controller, k.MTLS, k.SASL, k.OtherHost, k.Expired),
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,MTLS:SSL,SASL:SASL_SSL,OTHERHOST:SSL,EXPIRED:SSL",
		"authorizer.class.name":          "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                    "User:ANONYMOUS;User:admin",
		"ssl.principal.mapping.rules":    "RULE:^CN=([^,]*).*$/$1/",
		"ssl.truststore.type":            "PEM", "ssl.truststore.location": k.CAFile, "ssl.keystore.type": "PEM",
	})
	for _, listener := range []string{"mtls", "sasl", "otherhost", "expired"} {
		k.Settings["listener.name."+listener+".ssl.keystore.location"] = k.file(listener)
	}
	k.Settings["listener.name.mtls.ssl.client.auth"] = "required"
	k.settleSASL()
	maps.Copy(k.Settings, config.Settings)
}

func (k *SecureKafka) settleSASL() {
	var users strings.Builder
	for user, password := range k.Users {
		fmt.Fprintf(&users, " user_%s=%q", user, password)
	}
	const at, module = "listener.name.sasl.", "org.apache.kafka.common.security."
	keys := "file://" + filepath.Join(k.Dir, "keys.json")
	maps.Copy(k.Settings, map[string]string{
		at + "sasl.enabled.mechanisms":                        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		at + "plain.sasl.jaas.config":                         module + "plain.PlainLoginModule required" + users.String() + ";",
		at + "scram-sha-256.sasl.jaas.config":                 module + "scram.ScramLoginModule required;",
		at + "scram-sha-512.sasl.jaas.config":                 module + "scram.ScramLoginModule required;",
		at + "oauthbearer.sasl.jaas.config":                   module + "oauthbearer.OAuthBearerLoginModule required;",
		at + "oauthbearer.sasl.server.callback.handler.class": module + "oauthbearer.OAuthBearerValidatorCallbackHandler",
		at + "oauthbearer.sasl.oauthbearer.jwks.endpoint.url": keys,
		at + "oauthbearer.sasl.oauthbearer.expected.audience": audience,
		"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls":    keys, // else Kafka takes none
		"-Dorg.apache.kafka.sasl.oauthbearer.allowed.files":   filepath.Join(k.Dir, "keys.json"),
	})
}

// file is where a listener's key and certificate are.
func (k *SecureKafka) file(listener string) string { return filepath.Join(k.Dir, listener+".pem") }

// write makes the files that the settings name.
func (k *SecureKafka) write() error {
	k.t.Helper()
	day, over := time.Now().Add(24*time.Hour), time.Now().Add(-time.Hour)
	good := k.trusted.server(k.t, day, "localhost", "127.0.0.1")
	files := map[string][]byte{k.CAFile: certificatePEM(k.trusted.certificate), filepath.Join(k.Dir, "keys.json"): k.issuer.keys(k.t)}
	for listener, c := range map[string]tls.Certificate{
		"mtls": good, "sasl": good,
		"otherhost": k.trusted.server(k.t, day, "elsewhere.example"),
		"expired":   k.trusted.server(k.t, over, "localhost", "127.0.0.1"),
	} {
		files[k.file(listener)] = pemOf(k.t, c)
	}
	var errs []error
	for path, text := range files {
		errs = append(errs, os.WriteFile(path, text, 0o600))
	}
	return errors.Join(errs...)
}

// format makes the data folder by Kafka's tool: it knows the users' passwords
// for SCRAM from the start.
func (k *SecureKafka) format() error {
	if err := os.RemoveAll(k.data()); err != nil {
		return err
	}
	args := []string{"kafka.tools.StorageTool", "format", "-t", kafkaCluster, "-c", filepath.Join(k.Dir, "server.properties")}
	for user, password := range k.Users {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, user, password))
		}
	}
	if out, err := exec.Command(Kafka.Program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("format: %w: %s", err, out)
	}
	return nil
}

// Client is a certificate by which MTLS takes its holder for the user.
func (k *SecureKafka) Client(user string) tls.Certificate {
	k.t.Helper()
	return k.trusted.client(k.t, user, time.Now().Add(24*time.Hour))
}

// ExpiredClient is the user's certificate, but over.
func (k *SecureKafka) ExpiredClient(user string) tls.Certificate {
	k.t.Helper()
	return k.trusted.client(k.t, user, time.Now().Add(-time.Hour))
}

// StrangeClient is a certificate for the user by an authority that the broker
// does not trust.
func (k *SecureKafka) StrangeClient(user string) tls.Certificate {
	k.t.Helper()
	return k.others.client(k.t, user, time.Now().Add(24*time.Hour))
}

// Token is a token for OAUTHBEARER by which its holder is the user for so long;
// one of less than nothing is over.
func (k *SecureKafka) Token(user string, lifetime time.Duration) string {
	k.t.Helper()
	return k.issuer.token(k.t, user, time.Now().Add(lifetime))
}

// StrangeToken is a token for the user by an issuer whom the broker does not
// know.
func (k *SecureKafka) StrangeToken(user string) string {
	k.t.Helper()
	return k.strange.token(k.t, user, time.Now().Add(time.Hour))
}
