package httpsend

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Prefix begins the destinations of a Sender: "http:NAME".
const Prefix = "http:"

// SignatureHeader carries the signature, see Signature.
const SignatureHeader = "Rollcall-Signature"

const (
	mostAnswer = 64 << 10 // bytes that are read of an answer, and of its headers
	mostShown  = 200      // bytes of it that an error shows
)

// Config is the settings of a Sender. The zero value is safe.
type Config struct {
	// Else gets the messages of all other destinations, so that one relay can
	// empty an outbox of both kinds. Default: none, they wait.
	Else rollcall.Sender
	// Clock is where the time in signatures comes from. Default: the system's.
	Clock rollcall.Clock
}

// Sender posts messages. It is a rollcall.Sender for a Relay; one request at a
// time of each Publish. It is safe for concurrent use.
type Sender struct {
	targets map[string]*target
	config  Config
}

// New makes a sender of the receivers, by name. Nothing is connected.
func New(targets map[string]Target, config Config) (*Sender, error) {
	s := &Sender{targets: make(map[string]*target), config: config}
	for name, t := range targets {
		ready, err := newTarget(name, t)
		if err != nil {
			return nil, err
		}
		s.targets[Prefix+name] = ready
	}
	return s, nil
}

// Capabilities are those of Else, or just a name.
func (s *Sender) Capabilities() rollcall.Capabilities {
	if s.config.Else != nil {
		return s.config.Else.Capabilities()
	}
	return rollcall.Capabilities{Broker: "http"}
}

// oneLane: requests are not numbered by lanes, and the stamp stays here.
type oneLane struct{}

func (oneLane) Pick(*rollcall.Message) int32 { return 0 }

func (oneLane) Name(int32) string { return "http" }

// Lanes implements rollcall.Sender.
func (s *Sender) Lanes(ctx context.Context, destination string) (rollcall.Lanes, error) {
	if s.elsewhere(destination) {
		return s.config.Else.Lanes(ctx, destination)
	}
	return oneLane{}, nil
}

func (s *Sender) elsewhere(destination string) bool {
	return s.config.Else != nil && !strings.HasPrefix(destination, Prefix)
}

// Unrepeatable: the receiver does not honour the key.
func (s *Sender) Unrepeatable(destination string) bool {
	t := s.targets[destination]
	return t != nil && !t.Honours
}

// Publish posts the messages one after the other. Behind one that is not settled
// nothing is sent: those are Unknown with ErrTryAgain.
func (s *Sender) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	if s.elsewhere(destination) {
		return s.config.Else.Publish(ctx, destination, messages)
	}
	results := make([]rollcall.PublishResult, len(messages))
	t := s.targets[destination]
	for i := range messages {
		switch {
		case t == nil:
			results[i].Err = fmt.Errorf("%w: no receiver %q is configured here: add it; the messages behind it wait too", rollcall.ErrTryAgain, destination)
		case i > 0 && results[i-1].Fate == rollcall.Unknown:
			results[i].Err = fmt.Errorf("%w: it waits behind another", rollcall.ErrTryAgain)
		default:
			results[i] = s.post(ctx, t, &messages[i])
		}
	}
	return results
}

// Close lets idle connections go. Else stays open.
func (s *Sender) Close(context.Context) error {
	for _, t := range s.targets {
		t.client.CloseIdleConnections()
	}
	return nil
}

// Key is the idempotency key of a message for a destination: 32 hexadecimal
// digits, the same for every retry, redrive and process. It is a hash because
// an id may hold any bytes; the destination is in it so that two effects of one
// message at one receiver have two keys.
func Key(destination string, id rollcall.MessageID) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "rollcall http 1\x00%d\x00%s%s", len(destination), destination, id))
	return hex.EncodeToString(sum[:16])
}

// Signature is the value of SignatureHeader: "t=SECONDS,v1=HEX", where HEX is
// the HMAC-SHA256, under the secret, of SECONDS "." key "." body, and SECONDS the
// Unix time of this request. The receiver computes it anew, compares in constant
// time (hmac.Equal) and refuses old times.
func Signature(secret []byte, at time.Time, key string, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(seconds + "." + key + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// post sends one message once.
func (s *Sender) post(ctx context.Context, t *target, m *rollcall.Message) rollcall.PublishResult {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(m.Body))
	if err != nil {
		return rollcall.PublishResult{Fate: rollcall.Refused, Err: fmt.Errorf("%s: the request cannot be made", t.name)}
	}
	for header, value := range t.Headers {
		req.Header.Set(header, value)
	}
	key := Key(Prefix+t.name, m.ID)
	req.Header.Set("Content-Type", t.ContentType)
	req.Header.Set("User-Agent", "rollcall")
	req.Header.Set(t.Header, key)
	if len(t.Secret) > 0 {
		req.Header.Set(SignatureHeader, Signature(t.Secret, s.now(), key, m.Body))
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return noAnswer(t, connected.Load(), err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, mostAnswer)) // the status has decided already
	return answered(t, resp.StatusCode, text)
}

func (s *Sender) now() time.Time {
	if s.config.Clock != nil {
		return s.config.Clock.Now()
	}
	return time.Now()
}

// noAnswer: without a connection nothing of the request can have left. With one
// it may have, however little was written.
func noAnswer(t *target, connected bool, err error) rollcall.PublishResult {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL, whose query may hold a secret
	}
	if !connected {
		return rollcall.PublishResult{Err: fmt.Errorf("%w: %s: no connection: %w", rollcall.ErrTryAgain, t.name, err)}
	}
	return rollcall.PublishResult{Err: fmt.Errorf("%s: no answer: %w", t.name, err)}
}

// answered maps a status to a fate.
func answered(t *target, status int, text []byte) rollcall.PublishResult {
	err := fmt.Errorf("%s answered %d %s%s", t.name, status, http.StatusText(status), shown(text))
	switch {
	case status >= 200 && status <= 299:
		return rollcall.PublishResult{Fate: rollcall.Stored}
	case status == http.StatusTooManyRequests || status == http.StatusTooEarly:
		return rollcall.PublishResult{Err: fmt.Errorf("%w: %w", rollcall.ErrTryAgain, err)}
	case status >= 300 && status <= 399:
		return rollcall.PublishResult{Err: fmt.Errorf("%w; redirects are not followed: configure the final URL", err)}
	case status >= 400 && status <= 499 && status != http.StatusRequestTimeout && status != http.StatusConflict:
		return rollcall.PublishResult{Fate: rollcall.Refused, Err: err}
	}
	return rollcall.PublishResult{Err: err}
}

// shown is the begin of an answer, quoted: it is text of somebody else.
func shown(text []byte) string {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return ""
	}
	more := ""
	if len(text) > mostShown {
		text, more = text[:mostShown], " …"
	}
	return ": " + strconv.QuoteToASCII(string(text)) + more
}
