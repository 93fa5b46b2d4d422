package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
)

// shape says how records become messages.
type shape struct {
	format  string
	id, key *jsonpath.Path
	headers []rollcall.Header
	rate    float64 // messages a second; 0: no limit
	skipBad bool
}

// shape reads the flags that say how records become messages.
func (o *sendOptions) shape(name string) (shape, error) {
	var s shape
	var err error
	if s.format, err = formatOf(o.format, name); err != nil {
		return s, err
	}
	if s.id, err = s.path("--id", o.id); err != nil {
		return s, err
	}
	if s.key, err = s.path("--key", o.key); err != nil {
		return s, err
	}
	if s.headers, err = headersOf(o.headers); err != nil {
		return s, err
	}
	if s.rate, err = rateOf(o.rate); err != nil {
		return s, err
	}
	switch o.onBad {
	case "stop":
	case "skip":
		s.skipBad = true
	default:
		return s, usage(fmt.Errorf("--on-bad %q is not known", o.onBad), "use stop or skip")
	}
	return s, nil
}

// path compiles a payload path, with or without "payload." before it.
func (s *shape) path(flag, text string) (*jsonpath.Path, error) {
	if text == "" {
		return nil, nil
	}
	if s.format == formatRaw {
		return nil, usage(fmt.Errorf("%s %s: raw lines have no fields", flag, text), "use --format ndjson or csv")
	}
	p, err := jsonpath.Compile(strings.TrimPrefix(text, "payload."))
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", flag, err), "write names joined by dots: order.id")
	}
	return &p, nil
}

func headersOf(list []string) ([]rollcall.Header, error) {
	var out []rollcall.Header
	for _, h := range list {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, usage(fmt.Errorf("--header %q is no name=value", h), "write --header name=value")
		}
		if strings.HasPrefix(strings.ToLower(name), "rollcall-") {
			return nil, usage(fmt.Errorf("--header %q: names that begin with rollcall- belong to rollcall", name), "choose another name")
		}
		out = append(out, rollcall.Header{Name: name, Value: []byte(value)})
	}
	return out, nil
}

func rateOf(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	rate, err := strconv.ParseFloat(strings.TrimSuffix(text, "/s"), 64)
	if err != nil || !(rate > 0) || rate > 1e9 {
		return 0, usage(fmt.Errorf("--rate %q is no number of messages a second", text), "write --rate 500/s")
	}
	return rate, nil
}

// message makes the message of a record. An error is the record's fault.
func (s *shape) message(r *record) (rollcall.Message, error) {
	m := rollcall.Message{Headers: s.headers, Body: r.body}
	if s.id == nil && s.key == nil {
		return m, nil
	}
	doc, err := jsonpath.Parse(r.body)
	if err != nil {
		return m, err
	}
	id, err := member(doc, s.id, "--id")
	if err != nil {
		return m, err
	}
	m.Key, err = member(doc, s.key, "--key")
	m.ID = rollcall.MessageID(id)
	return m, err
}

// member is a value that must be there and not be empty: messages without one
// are never taken for equal.
func member(doc jsonpath.Doc, path *jsonpath.Path, flag string) (string, error) {
	if path == nil {
		return "", nil
	}
	v, ok := doc.Get(*path)
	switch {
	case !ok:
		return "", fmt.Errorf("%s: it is missing", flag)
	case v.Kind == jsonpath.Object || v.Kind == jsonpath.Array:
		return "", fmt.Errorf("%s: it is an %s, not a single value", flag, v.Kind)
	case v.Kind == jsonpath.Null:
		return "", fmt.Errorf("%s: it is null", flag)
	case v.Text == "":
		return "", errors.New(flag + ": it is empty")
	}
	return v.Text, nil
}
