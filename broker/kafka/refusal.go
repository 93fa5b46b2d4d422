package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrRefused: the cluster does not take us (user, password, token, certificate, rights),
// or we do not take its certificate. Such errors are rollcall.ErrConfig too.
var ErrRefused = errors.New("kafka: refused")

// refused marks an error as ErrRefused; its text stays as it is.
type refused struct{ error }

func (r refused) Is(target error) bool { return target == ErrRefused }
func (r refused) Unwrap() error        { return r.error }

// unreachable tells a refusal, which lasts, from a broker that is away.
func unreachable(brokers []string, err error) error {
	next, _ := refusal(err)
	return fmt.Errorf("kafka: no answer from %v: %w; nothing was sent or read; %s", brokers, err, next)
}

// refusal is what to do about an error of a connection, and whether trying again is of
// no use.
func refusal(err error) (next string, lasts bool) {
	var (
		first     *kgo.ErrFirstReadEOF
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		network   *net.OpError
	)
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "correct SASL.User or SASL.Password", true
	case errors.Is(err, errToken):
		return "SASL.Token gave a token that is wrong or has run out, or that is of an issuer or for an audience that the broker does not take", true
	case errors.Is(err, kerr.UnsupportedSaslMechanism) || errors.Is(err, kerr.IllegalSaslState):
		return "take SASL.Mechanism out or choose another one, or use another port: this listener does not know it", true
	case errors.As(err, &host):
		return "the certificate is one for another host: use its name among the brokers (and in advertised.listeners), or set TLS.ServerName", true
	case errors.As(err, &authority):
		return "put the authority that signed the broker's certificate into TLS.RootCAs", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the broker's certificate, or set this machine's clock", true
	case errors.As(err, &invalid):
		return "the broker's certificate is not good: get another one", true
	case errors.As(err, &network) && network.Op == "remote error": // an alert of TLS; its type is private
		return "the broker does not take our side of TLS: give it a certificate in TLS.Certificates that is in date and signed by an authority that it trusts", true
	case strings.Contains(err.Error(), "tls alert record"): // the client's own finding, a mere text
		return "this port wants TLS: set it, or use another port", true
	case errors.As(err, &first):
		return "does this port want TLS or SASL, or a certificate in TLS.Certificates, and it is not set? Or is it set, and the port does not?", false
	}
	return "is the cluster up, and is this its address and port?", false
}

// advised adds the next step to a refusal. It is not ErrConfig: while work goes on, a
// broker or an identity server that is in trouble must not end it.
func advised(err error) error {
	if next, lasts := refusal(err); lasts {
		return fmt.Errorf("%w; %s", err, next)
	}
	return err
}

// denied makes ErrConfig of a right that is missing, and names it: an administrator must
// act, so trying again would only hide it. Other errors stay as they are.
func denied(err error) error {
	var next string
	switch {
	case err == nil || errors.Is(err, rollcall.ErrConfig):
		return err
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		next = "give this user READ on the topic to receive, WRITE to send"
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		next = "give this user READ on the group"
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		next = "give this user WRITE on the transactional id"
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		next = "give this user WRITE on the topic, or IDEMPOTENT_WRITE on the cluster"
	default:
		return err
	}
	return refused{fmt.Errorf("%w: %w; %s (docs/kafka.md)", rollcall.ErrConfig, err, next)}
}

// unopened says why Open failed, and as whom we came. ErrConfig when only another
// configuration, or another certificate, helps.
func (c Config) unopened(brokers []string, err error) error {
	_, lasts := refusal(err)
	err = unreachable(brokers, err)
	if c.SASL.Mechanism != "" {
		err = fmt.Errorf("%w (we came by %v)", err, c.SASL)
	}
	if c.TLS != nil && len(c.TLS.Certificates) > 0 {
		err = fmt.Errorf("%w (we came with %s)", err, shown(c.TLS.Certificates[0]))
	}
	if lasts {
		err = refused{fmt.Errorf("%w: %w", rollcall.ErrConfig, err)}
	}
	return err
}

// shown is what a certificate of ours says of us.
func shown(c tls.Certificate) string {
	leaf := c.Leaf
	if leaf == nil && len(c.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(c.Certificate[0])
	}
	if leaf == nil {
		return "a certificate that cannot be read"
	}
	validity := "in date until"
	if time.Now().After(leaf.NotAfter) {
		validity = "run out at"
	}
	return fmt.Sprintf("the certificate of %q, signed by %q, %s %s", leaf.Subject, leaf.Issuer, validity, leaf.NotAfter.UTC().Format(time.RFC3339))
}
