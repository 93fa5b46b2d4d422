package rocketmq

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-mq/rollcall"
)

// ErrRefused: the cluster does not take us (access key, signature, rights, certificate),
// or we do not take its certificate. Such errors are rollcall.ErrConfig too.
var ErrRefused = errors.New("rocketmq: refused")

// answer is what the server said instead of OK.
type answer struct {
	code v2.Code
	text string
}

func (a *answer) Error() string {
	return fmt.Sprintf("the server answers %d %s: %s", int32(a.code), a.code, a.text)
}

func (a *answer) Is(target error) bool {
	switch target {
	case ErrRefused, rollcall.ErrConfig:
		return a.code == v2.Code_UNAUTHORIZED || a.code == v2.Code_FORBIDDEN
	case rollcall.ErrNoDestination:
		return a.code == v2.Code_TOPIC_NOT_FOUND || a.code == v2.Code_CONSUMER_GROUP_NOT_FOUND
	case rollcall.ErrStaleReceipt:
		return a.code == v2.Code_INVALID_RECEIPT_HANDLE
	}
	return false
}

// told is the error in an answer: nil if it is OK.
func told(s *v2.Status) error {
	if s.GetCode() == v2.Code_OK {
		return nil
	}
	return &answer{s.GetCode(), s.GetMessage()}
}

// codeOf is the server's code in an error, 0 when it is none of the server's.
func codeOf(err error) v2.Code {
	var a *answer
	if errors.As(err, &a) {
		return a.code
	}
	return v2.Code_CODE_UNSPECIFIED
}

// refused marks an error as ErrRefused; its text stays as it is.
type refused struct{ error }

func (r refused) Is(target error) bool {
	return target == ErrRefused || target == rollcall.ErrConfig
}
func (r refused) Unwrap() error { return r.error }

// failed is the error of a call that has no answer.
func (l *link) failed(err error) error {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied:
		return refused{fmt.Errorf("%w; correct Config.AccessKey or Config.SecretKey, or give the user the right", err)}
	case codes.InvalidArgument:
		if strings.Contains(err.Error(), "group not found") {
			return fmt.Errorf("%w: %s: %w", rollcall.ErrNoDestination, l.name, err)
		}
	case codes.Unavailable:
		if trouble := l.trouble.Load(); trouble != nil && distrust(*trouble) {
			return refused{fmt.Errorf("%s: %w; give Config.TLS the authority that signed the server's certificate, and the name in it", l.name, *trouble)}
		}
	}
	return fmt.Errorf("%s: %w", l.name, err)
}

// distrust: the server's certificate is none that we take. That does not pass by itself.
func distrust(err error) bool {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	return errors.As(err, &host) || errors.As(err, &authority) || errors.As(err, &invalid) || errors.As(err, &verify)
}
