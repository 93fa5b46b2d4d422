package rabbitmq

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// ErrRefused: the broker does not take us (user, password, virtual host, rights), or we
// do not take its certificate. Such errors are rollcall.ErrConfig too.
var ErrRefused = errors.New("rabbitmq: refused")

// refused marks an error as ErrRefused; its text stays as it is.
type refused struct{ error }

func (r refused) Is(target error) bool { return target == ErrRefused }
func (r refused) Unwrap() error        { return r.error }

// code is the broker's, 0 if it is none of the broker's errors.
func code(err error) int {
	var e *amqp.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// unopened says why a connection could not be opened, and as whom we came. A refusal,
// which lasts, is ErrRefused.
func (c Config) unopened(addr string, err error) error {
	next, lasts := c.advice(err)
	err = fmt.Errorf("rabbitmq: no connection to %s as %s, virtual host %q: %w; nothing was sent or read; %s", addr, c.who(), c.VirtualHost, err, next)
	if lasts {
		return refused{fmt.Errorf("%w: %w", rollcall.ErrConfig, err)}
	}
	return err
}

func (c Config) who() string {
	if c.External {
		return "who the certificate says"
	}
	return fmt.Sprintf("user %q", c.User)
}

// advice is what to do about an error of a connection, and whether trying again is of
// no use.
func (c Config) advice(err error) (next string, lasts bool) {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		network   *net.OpError
	)
	switch {
	case errors.Is(err, amqp.ErrCredentials) || code(err) == amqp.AccessRefused:
		return "correct User or Password, and see that the user has rights in the virtual host (guest comes from the broker's own machine only)", true
	case errors.Is(err, amqp.ErrVhost) || code(err) == amqp.NotAllowed:
		return "make the virtual host (rabbitmqctl add_vhost), correct VirtualHost, or give the user rights in it (rabbitmqctl set_permissions)", true
	case errors.Is(err, amqp.ErrSASL):
		return "the broker does not offer our way to say who we are: PLAIN, or EXTERNAL, which needs the plugin rabbitmq_auth_mechanism_ssl", true
	case errors.As(err, &host):
		return "the certificate is one for another host: use its name among the addresses, or set TLS.ServerName", true
	case errors.As(err, &authority):
		return "put the authority that signed the broker's certificate into TLS.RootCAs", true
	case errors.As(err, &invalid):
		return "the broker's certificate is not good, or this machine's clock is wrong: renew the one or set the other", true
	case errors.As(err, &record):
		return "this port does not speak TLS: use the broker's TLS port (5671), or take TLS out", true
	case errors.As(err, &network) && network.Op == "remote error": // an alert of TLS; its type is private
		return "the broker does not take our side of TLS: give it a certificate in TLS.Certificates that is in date and signed by an authority that it trusts", true
	case c.TLS == nil:
		return "is the broker up, is this its address and port, and does the port want TLS?", false
	}
	return "is the broker up, and is this its address and port?", false
}

// denied makes of the broker's answers what callers test for: a right that is missing is
// ErrRefused, a queue or exchange that is missing rollcall.ErrNoDestination, one that is
// not as we say rollcall.ErrConfig. Other errors stay as they are.
func denied(err error) error {
	switch code(err) {
	case amqp.AccessRefused:
		return refused{fmt.Errorf("%w: %w; give this user the right: rabbitmqctl set_permissions, read to receive, write to send, configure to declare (docs/rabbitmq.md)", rollcall.ErrConfig, err)}
	case amqp.NotFound:
		if away(err) {
			return err
		}
		return fmt.Errorf("%w: %w; make it (declare: {} in a pipeline file, Cluster.Declare for a queue), or correct its name", rollcall.ErrNoDestination, err)
	case amqp.ResourceLocked, amqp.PreconditionFailed, amqp.NotImplemented:
		return fmt.Errorf("%w: %w", rollcall.ErrConfig, err)
	}
	return err
}

// away: the broker knows the queue and has no node for it now. Streams are so for half a
// second after a start, classic queues as long as their node is down.
func away(err error) bool { return strings.Contains(err.Error(), "is down or inaccessible") }

// lasting errors do not go away by themselves.
func lasting(err error) bool {
	return errors.Is(err, rollcall.ErrDamaged) || errors.Is(err, rollcall.ErrConfig) || errors.Is(err, rollcall.ErrClosed)
}
