package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/httpsend"
)

// HTTP is a request for each message, with its body: a row of the outbox,
// written in the transaction of the tables and sent by a relay. See package
// effect/httpsend for what an answer means.
type HTTP struct {
	// URL is where messages are posted: https, or http to listed networks. Required.
	URL string `yaml:"url,required"`
	// Name tells one receiver from another; it is part of the idempotency key, so
	// keep it while messages are under way. Default: the name of the file.
	Name string `yaml:"name"`
	// IdempotencyHeader carries the key. Default: Idempotency-Key.
	IdempotencyHeader string `yaml:"idempotency_header"`
	// Honours says that the receiver takes a second request with a key for the
	// first one: then what is in doubt is sent again. Default: false; what is in
	// doubt is parked (rollcall dead outbox).
	Honours bool `yaml:"honours"`
	// Secret signs each request with HMAC-SHA256, in Rollcall-Signature. Default:
	// none.
	Secret string `yaml:"secret"`
	// Headers are sent as well. Default: none.
	Headers map[string]string `yaml:"headers"`
	// ContentType is the body's. Default: application/json.
	ContentType string `yaml:"content_type"`
	// Networks lists private, loopback or link-local addresses that may be
	// called: 10.1.0.0/16, 127.0.0.1. Default: none.
	Networks []string `yaml:"networks"`
	// Timeout is the longest that a request may take. Default: 30s.
	Timeout time.Duration `yaml:"timeout"`
}

func (h *HTTP) target() (httpsend.Target, error) {
	t := httpsend.Target{URL: h.URL, Honours: h.Honours, Header: h.IdempotencyHeader, Secret: []byte(h.Secret), Headers: h.Headers,
		ContentType: h.ContentType, Timeout: h.Timeout}
	for _, text := range h.Networks {
		p, err := netip.ParsePrefix(text)
		if ip, ierr := netip.ParseAddr(text); ierr == nil {
			p, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			return t, fmt.Errorf("%w: httpsend: receiver %q: Networks: %q is neither a network like 10.1.0.0/16 nor an address", rollcall.ErrConfig, h.Name, text)
		}
		t.Networks = append(t.Networks, p.Masked())
	}
	return t, nil
}

// receivers are the HTTP effects with their names.
func (f *File) receivers() []HTTP {
	var out []HTTP
	for i := range f.Effect {
		if h := f.Effect[i].HTTP; h != nil {
			named := *h
			named.Name = cmp.Or(h.Name, f.Name)
			out = append(out, named)
		}
	}
	return out
}

// Sender posts the HTTP effects of the file; nil when it has none. Nothing is
// connected yet.
func (f *File) Sender() (*httpsend.Sender, error) {
	targets := make(map[string]httpsend.Target)
	for _, h := range f.receivers() {
		t, err := h.target()
		if err != nil {
			return nil, err
		}
		targets[h.Name] = t
	}
	if len(targets) == 0 {
		return nil, nil
	}
	return httpsend.New(targets, httpsend.Config{})
}

// httpFields are the names of httpsend's settings in a pipeline file.
var httpFields = map[string]string{"URL": "url", "Header": "idempotency_header", "Headers": "headers", "ContentType": "content_type",
	"Networks": "networks", "Timeout": "timeout", "name": "name"}

var httpNext = map[string]string{
	"URL":         "write url: https://bank.example/pay",
	"Header":      "leave it out for Idempotency-Key, or use letters, digits and -",
	"Headers":     "write headers: {Authorization: \"Bearer ${TOKEN}\"}",
	"ContentType": "write content_type: application/json",
	"Networks":    "write networks: [10.1.0.0/16, 127.0.0.1]",
}

// lastTable is how many entries there are up to the last table.
func (c *checker) lastTable() (n int) {
	for i := range c.file.Effect {
		if c.file.Effect[i].Table != nil {
			n = i + 1
		}
	}
	return n
}

// http finds what is wrong with the HTTP effects.
func (c *checker) http() {
	names := map[string]bool{}
	for i := range c.file.Effect {
		e := &c.file.Effect[i]
		if e.HTTP == nil {
			continue
		}
		at := fmt.Sprintf("effect[%d].http", i)
		h := *e.HTTP
		h.Name = cmp.Or(h.Name, c.file.Name)
		switch {
		case e.Table != nil:
			c.problem(at, "make two entries of it: effect: [{table: …}, {http: …}]", "one entry has a table and http")
		case i < c.lastTable():
			c.problem(at, "write the tables first: requests are made for messages that took effect there", "http stands before a table")
		case names[h.Name]:
			c.problem(at, "give each a name: http: {name: bank, …}", "two http effects have the name %q", h.Name)
		}
		names[h.Name] = true
		c.named(at+".name", h.Name)
		c.target(at, &h)
	}
}

func (c *checker) target(at string, h *HTTP) {
	t, err := h.target()
	if err == nil {
		_, err = httpsend.New(map[string]httpsend.Target{h.Name: t}, httpsend.Config{})
	}
	if err == nil {
		return
	}
	_, rest, _ := strings.Cut(err.Error(), fmt.Sprintf("receiver %q: ", h.Name))
	field, what, _ := strings.Cut(rest, ": ")
	what, next := told(errors.New(what))
	next = cmp.Or(next, httpNext[field])
	c.problem(at+"."+httpFields[field], next, "http: %s: %s", httpFields[field], what)
}
