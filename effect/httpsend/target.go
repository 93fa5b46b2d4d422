package httpsend

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Target is one receiver. URL is required.
type Target struct {
	// URL is where messages are posted: https, or http to addresses that
	// Networks lists. It is configuration: no part of it comes from messages.
	URL string
	// Honours: the receiver takes a second request with the same key for the
	// first one, for as long as a message can be retried. Default: false: what
	// may have been received is never sent again by itself.
	Honours bool
	// Header is the header of the key. Default: Idempotency-Key.
	Header string
	// Secret signs each request, see Signature. Default: none, no signature.
	Secret []byte
	// Headers are sent as well (Authorization, …). Default: none.
	Headers map[string]string
	// ContentType of the body. Default: application/json.
	ContentType string
	// Networks are private, loopback or link-local addresses that may be
	// connected to. Default: none.
	Networks []netip.Prefix
	// Timeout is the longest that one request may take, the answer included.
	// Default: 30 s.
	Timeout time.Duration
	// RootCAs judge the receiver's certificate. Default: the system's.
	RootCAs *x509.CertPool
}

// target is a Target ready to use.
type target struct {
	Target
	name   string
	client *http.Client
}

func newTarget(name string, t Target) (*target, error) {
	wrong := func(field, why string) error {
		return fmt.Errorf("%w: httpsend: receiver %q: %s: %s", rollcall.ErrConfig, name, field, why)
	}
	u, err := url.Parse(t.URL)
	switch {
	case name == "":
		return nil, wrong("name", "it is empty")
	case err != nil:
		return nil, wrong("URL", "it cannot be read") // its text may hold a password
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, wrong("URL", "it is no https://HOST/…")
	case u.User != nil:
		return nil, wrong("URL", "user and password do not belong there; use headers")
	case u.Scheme == "http" && len(t.Networks) == 0:
		return nil, wrong("URL", "http is for addresses that are listed only; use https, or list the networks")
	case t.Timeout < 0:
		return nil, wrong("Timeout", "it is negative")
	}
	if t.Header == "" {
		t.Header = "Idempotency-Key"
	}
	if t.ContentType == "" {
		t.ContentType = "application/json"
	}
	if t.Timeout == 0 {
		t.Timeout = 30 * time.Second
	}
	if !headerValue(t.ContentType) {
		return nil, wrong("ContentType", fmt.Sprintf("%q cannot be sent", t.ContentType))
	}
	for header, value := range t.Headers {
		if !headerName(header) || !headerValue(value) {
			return nil, wrong("Headers", fmt.Sprintf("%q is no header, or its value cannot be sent", header))
		}
	}
	if !headerName(t.Header) || reserved[strings.ToLower(t.Header)] {
		return nil, wrong("Header", fmt.Sprintf("%q cannot carry the key", t.Header))
	}
	return &target{t, name, client(t, u.Scheme == "https")}, nil
}

var reserved = map[string]bool{"host": true, "content-length": true, "content-type": true, "transfer-encoding": true, "connection": true,
	strings.ToLower(SignatureHeader): true}

func headerName(name string) bool {
	odd := func(c rune) bool {
		return !(c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	return name != "" && !strings.ContainsFunc(name, odd)
}

func headerValue(value string) bool {
	return !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// client never sends anything twice by itself. net/http would, for requests
// with an Idempotency-Key, on a connection that it had used before, and HTTP/2
// has rules of its own: a receiver that does not honour the key gets a new
// connection each time, and HTTP/1.1.
func client(t Target, encrypted bool) *http.Client {
	dialer := &net.Dialer{Timeout: t.Timeout, ControlContext: guard{t.Networks, encrypted}.control}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	transport := &http.Transport{
		Proxy:                  nil,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.RootCAs},
		TLSHandshakeTimeout:    t.Timeout,
		Protocols:              protocols,
		DisableCompression:     true,
		DisableKeepAlives:      !t.Honours,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: mostAnswer,
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       t.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
