package httpsend_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/httpsend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// receiver is an HTTP server that writes down what it got.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	keys []string
	last *http.Request
	body string
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

// newReceiver answers with do; n counts requests from 1.
func newReceiver(t *testing.T, do func(n int, w http.ResponseWriter)) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.keys = append(r.keys, req.Header.Get("Idempotency-Key"))
		r.last, r.body = req, string(body)
		n := len(r.keys)
		r.mu.Unlock()
		do(n, w)
	}))
	t.Cleanup(r.Close)
	return r
}

func status(code int, text string) func(int, http.ResponseWriter) {
	return func(_ int, w http.ResponseWriter) {
		if code >= 300 && code <= 399 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

func newSender(t *testing.T, target httpsend.Target) *httpsend.Sender {
	t.Helper()
	if target.Networks == nil {
		target.Networks = loopback
	}
	s, err := httpsend.New(map[string]httpsend.Target{"bank": target}, httpsend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

var message = rollcall.Message{ID: "order-1", Body: []byte(`{"amount":200}`)}

func post(t *testing.T, s *httpsend.Sender) rollcall.PublishResult {
	t.Helper()
	return s.Publish(t.Context(), "http:bank", []rollcall.Message{message})[0]
}

// TestFates: each status, and what of the answer an error shows.
func TestFates(t *testing.T) {
	for code, want := range map[int]string{200: "stored", 201: "stored", 204: "stored", 301: "doubt", 302: "doubt", 303: "doubt", 307: "doubt",
		400: "refused", 401: "refused", 404: "refused", 408: "doubt", 409: "doubt", 410: "refused", 422: "refused", 425: "again", 429: "again",
		500: "doubt", 502: "doubt", 503: "doubt", 504: "doubt", 599: "doubt"} {
		r := newReceiver(t, status(code, ""))
		result := post(t, newSender(t, httpsend.Target{URL: r.URL}))
		if got := fate(result); got != want || r.count() != 1 {
			t.Errorf("%d: %s (%v) after %d requests, want %s after 1", code, got, result.Err, r.count(), want)
		}
	}
	r := newReceiver(t, status(422, "no such \x1b[31maccount\n"+strings.Repeat("x", 300)))
	err := post(t, newSender(t, httpsend.Target{URL: r.URL})).Err
	if err == nil || !strings.HasPrefix(err.Error(), `bank answered 422 Unprocessable Entity: "no such \x1b[31maccount\nxxx`) || len(err.Error()) > 300 {
		t.Errorf("%v", err)
	}
}

func fate(r rollcall.PublishResult) string {
	switch {
	case r.Fate == rollcall.Unknown && errors.Is(r.Err, rollcall.ErrTryAgain):
		return "again"
	case r.Fate == rollcall.Unknown:
		return "doubt"
	}
	return r.Fate.String()
}

// TestRequest: key, signature, headers and body, the same key each time.
func TestRequest(t *testing.T) {
	r := newReceiver(t, status(200, ""))
	secret := []byte("hush")
	for range 2 {
		s := newSender(t, httpsend.Target{URL: r.URL + "/pay?x=1", Secret: secret, Headers: map[string]string{"Authorization": "Bearer t"}})
		if result := post(t, s); result.Fate != rollcall.Stored {
			t.Fatal(result.Err)
		}
	}
	if r.keys[0] != r.keys[1] || r.keys[0] != httpsend.Key("http:bank", "order-1") || len(r.keys[0]) != 32 {
		t.Errorf("keys %v", r.keys)
	}
	h := r.last.Header
	if r.last.Method != "POST" || r.last.URL.String() != "/pay?x=1" || r.body != string(message.Body) ||
		h.Get("Authorization") != "Bearer t" || h.Get("Content-Type") != "application/json" {
		t.Errorf("%s %v %v %q", r.last.Method, r.last.URL, h, r.body)
	}
	var seconds int64
	if _, err := fmt.Sscanf(h.Get(httpsend.SignatureHeader), "t=%d,", &seconds); err != nil {
		t.Fatal(err)
	}
	if at := time.Unix(seconds, 0); time.Since(at).Abs() > time.Minute ||
		h.Get(httpsend.SignatureHeader) != httpsend.Signature(secret, at, r.keys[1], message.Body) {
		t.Errorf("signature %q", h.Get(httpsend.SignatureHeader))
	}
	if httpsend.Key("http:bank", "order-1") == httpsend.Key("http:mail", "order-1") || httpsend.Key("http:a", "bc") == httpsend.Key("http:ab", "c") {
		t.Error("two effects have one key")
	}
}

// TestNoConnection: nothing can have left, so it is tried again.
func TestNoConnection(t *testing.T) {
	gone := newReceiver(t, status(200, ""))
	gone.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler()) // its certificate is nobody's
	t.Cleanup(secure.Close)
	for _, url := range []string{gone.URL, "https://nowhere.invalid/", secure.URL} {
		result := post(t, newSender(t, httpsend.Target{URL: url, Timeout: 5 * time.Second}))
		if fate(result) != "again" || !strings.Contains(result.Err.Error(), "no connection") {
			t.Errorf("%s: %s, %v", url, fate(result), result.Err)
		}
	}
}

// TestNoAnswer: once there is a connection the request may have arrived. It is
// in doubt, and net/http does not send it a second time behind our back, which
// it would on a connection that was used before.
func TestNoAnswer(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	for name, silent := range map[string]func(http.ResponseWriter){
		"cut":     func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"timeout": func(http.ResponseWriter) { <-hold },
		"half": func(w http.ResponseWriter) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 2")
				_ = conn.Close()
			}
		},
	} {
		r := newReceiver(t, func(n int, w http.ResponseWriter) {
			if n > 1 {
				silent(w)
			}
		})
		s := newSender(t, httpsend.Target{URL: r.URL, Timeout: 300 * time.Millisecond})
		if result := post(t, s); result.Fate != rollcall.Stored {
			t.Fatal(result.Err)
		}
		result := post(t, s)
		if fate(result) != "doubt" || r.count() != 2 {
			t.Errorf("%s: %s (%v) after %d requests, want doubt after 2", name, fate(result), result.Err, r.count())
		}
	}
}

// TestEndless: an answer that never ends is cut, and its status counts.
func TestEndless(t *testing.T) {
	r := newReceiver(t, func(_ int, w http.ResponseWriter) {
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	began := time.Now()
	if result := post(t, newSender(t, httpsend.Target{URL: r.URL})); result.Fate != rollcall.Stored || time.Since(began) > 10*time.Second {
		t.Errorf("%s after %v", result.Fate, time.Since(began))
	}
}

// TestGuarded: inside addresses are refused after DNS unless they are listed;
// redirects and proxies lead nowhere.
func TestGuarded(t *testing.T) {
	r := newReceiver(t, status(200, ""))
	_, port, err := net.SplitHostPort(strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	other := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		for _, scheme := range []string{"http", "https"} {
			result := post(t, newSender(t, httpsend.Target{URL: scheme + "://" + host + ":" + port, Networks: other}))
			if fate(result) != "again" || !strings.Contains(result.Err.Error(), "httpsend: ") {
				t.Errorf("%s://%s: %s, %v", scheme, host, fate(result), result.Err)
			}
		}
	}
	trap := newReceiver(t, status(200, ""))
	t.Setenv("HTTP_PROXY", trap.URL)
	t.Setenv("http_proxy", trap.URL)
	away := newReceiver(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Location", trap.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	result := post(t, newSender(t, httpsend.Target{URL: away.URL}))
	if fate(result) != "doubt" || !strings.Contains(result.Err.Error(), "redirects are not followed") {
		t.Errorf("%v", result.Err)
	}
	if r.count() != 0 || trap.count() != 0 || away.count() != 1 {
		t.Errorf("%d, %d and %d requests, want 0, 0 and 1", r.count(), trap.count(), away.count())
	}
}

// TestTLS: 1.2 at least, and the certificate is checked.
func TestTLS(t *testing.T) {
	for _, most := range []uint16{tls.VersionTLS11, tls.VersionTLS12} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: most}
		server.StartTLS()
		t.Cleanup(server.Close)
		pool := x509.NewCertPool()
		pool.AddCert(server.Certificate())
		want := "again"
		if most == tls.VersionTLS12 {
			want = "stored"
		}
		if result := post(t, newSender(t, httpsend.Target{URL: server.URL, RootCAs: pool})); fate(result) != want {
			t.Errorf("version %x: %s (%v), want %s", most, fate(result), result.Err, want)
		}
	}
}

// TestBehind: nothing overtakes a message that is not settled, and a message for
// an unknown receiver waits.
func TestBehind(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter) {
		if n == 2 {
			w.WriteHeader(500)
		}
	})
	s := newSender(t, httpsend.Target{URL: r.URL, Honours: true})
	results := s.Publish(t.Context(), "http:bank", []rollcall.Message{{ID: "1"}, {ID: "2"}, {ID: "3"}})
	if fate(results[0]) != "stored" || fate(results[1]) != "doubt" || fate(results[2]) != "again" || r.count() != 2 {
		t.Errorf("%+v after %d requests", results, r.count())
	}
	if result := s.Publish(t.Context(), "http:who", []rollcall.Message{message})[0]; fate(result) != "again" {
		t.Errorf("%+v", result)
	}
	if s.Unrepeatable("http:bank") || s.Unrepeatable("http:who") || !newSender(t, httpsend.Target{URL: r.URL}).Unrepeatable("http:bank") {
		t.Error("who honours the key may get a message again, nobody else")
	}
}

// TestTargetRefused: what cannot work or is not safe, by field.
func TestTargetRefused(t *testing.T) {
	for want, target := range map[string]httpsend.Target{
		"no https":               {URL: "ftp://x/"},
		"is no https://":         {URL: "https:///x"},
		"cannot be read":         {URL: "https://x/%zz\x7f"},
		"user and password":      {URL: "https://u:p@x/"},
		"http is for addresses":  {URL: "http://x/"},
		"Timeout":                {URL: "https://x/", Timeout: -1},
		"cannot carry the key":   {URL: "https://x/", Header: "Host"},
		"carry the key":          {URL: "https://x/", Header: "a b"},
		"no header, or its":      {URL: "https://x/", Headers: map[string]string{"A": "b\r\nc"}},
		`"a b" is no header`:     {URL: "https://x/", Headers: map[string]string{"a b": "c"}},
		`ContentType: "a\nb" ca`: {URL: "https://x/", ContentType: "a\nb"},
	} {
		_, err := httpsend.New(map[string]httpsend.Target{"bank": target}, httpsend.Config{})
		if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", target, err, want)
		}
	}
}
