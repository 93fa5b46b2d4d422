package effect

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
)

// Source takes one value out of messages. Its text is one of
//
//	payload            the whole body as text (as bytes in a BLOB column)
//	payload.PATH       a value of a JSON body: names and array indexes, "items.0.id";
//	                   a name with dots is quoted: payload."a.b"
//	id, key            the MessageID and the Key
//	destination        where the message was read
//	header.NAME        the first header of that name
//	time               when it was sent: RFC 3339 in UTC; in an INTEGER column
//	                   milliseconds since 1970; in a column of timestamps UTC,
//	                   cut to the column's precision
//	const:TEXT         TEXT
//
// A "?" at the end of payload.PATH or header.NAME makes it optional: NULL when
// it is missing. Without it a missing value is the message's fault. A value that
// is null in JSON is NULL either way.
type Source struct {
	text     string
	kind     sourceKind
	name     string // of a header, or the constant
	path     jsonpath.Path
	at       int // its number among all paths of the tables
	optional bool
}

type sourceKind uint8

const (
	sourceBody sourceKind = iota
	sourcePath
	sourceID
	sourceKey
	sourceDestination
	sourceHeader
	sourceTime
	sourceConst
)

// ParseSource reads the text of a source. The error says what may stand there.
func ParseSource(text string) (Source, error) {
	s := Source{text: text}
	if c, ok := strings.CutPrefix(text, "const:"); ok {
		s.kind, s.name = sourceConst, c
		return s, nil
	}
	rest, optional := strings.CutSuffix(text, "?")
	s.optional = optional
	if path, ok := strings.CutPrefix(rest, "payload."); ok {
		s.kind = sourcePath
		var err error
		if s.path, err = jsonpath.Compile(path); err != nil {
			err = fmt.Errorf("%w; write payload.NAME.NAME or payload.NAME.0, other names in quotes", err)
		}
		return s, err
	}
	if name, ok := strings.CutPrefix(rest, "header."); ok && name != "" {
		s.kind, s.name = sourceHeader, name
		return s, nil
	}
	kinds := map[string]sourceKind{"payload": sourceBody, "id": sourceID, "key": sourceKey, "destination": sourceDestination, "time": sourceTime}
	kind, ok := kinds[text]
	if !ok {
		return s, fmt.Errorf("%q is no source; use payload, payload.PATH, id, key, destination, header.NAME, time or const:TEXT", text)
	}
	s.kind = kind
	return s, nil
}

// value is what a source found, before a column takes it.
type value struct {
	kind jsonpath.Kind // String, Number, Bool or Null; objects and arrays are String
	text string
	raw  bool      // the body itself
	json bool      // an object or array
	time time.Time // of sourceTime
}

// reader takes values out of one message; the body is walked once for all.
type reader struct {
	m      *rollcall.Message
	paths  []jsonpath.Path
	found  []jsonpath.Found
	parsed bool
	err    error
}

// next goes on with another message.
func (r *reader) next(m *rollcall.Message) { r.m, r.parsed, r.err = m, false, nil }

func (r *reader) body() error {
	if !r.parsed {
		doc, err := jsonpath.Parse(r.m.Body)
		if err == nil {
			doc.GetAll(r.paths, r.found)
		}
		r.parsed, r.err = true, err
	}
	return r.err
}

// get takes a value; the error says what is wrong with the message.
func (r *reader) get(s *Source) (value, error) {
	switch s.kind {
	case sourcePath:
		return r.fromPath(s)
	case sourceBody:
		return value{kind: jsonpath.String, text: string(r.m.Body), raw: true}, nil
	case sourceID:
		return text(string(r.m.ID))
	case sourceKey:
		return text(r.m.Key)
	case sourceDestination:
		return text(r.m.Destination)
	case sourceConst:
		return text(s.name)
	case sourceTime:
		return value{kind: jsonpath.String, text: r.m.Time.UTC().Format(time.RFC3339Nano), time: r.m.Time}, nil
	}
	h, ok := r.m.Header(s.name)
	switch {
	case ok:
		return text(string(h))
	case s.optional:
		return value{}, nil
	}
	return value{}, fmt.Errorf("the message has no header %q (write %q if it may be missing)", s.name, s.text+"?")
}

func (r *reader) fromPath(s *Source) (value, error) {
	if err := r.body(); err != nil {
		return value{}, err
	}
	v, ok := r.found[s.at].Value, r.found[s.at].OK
	switch {
	case !ok && s.optional:
		return value{}, nil
	case !ok:
		return value{}, fmt.Errorf("the payload has no %q (write %q if it may be missing)", strings.TrimPrefix(s.text, "payload."), s.text+"?")
	case v.Kind == jsonpath.Object || v.Kind == jsonpath.Array:
		return value{kind: jsonpath.String, text: v.Text, json: true}, nil
	}
	return value{kind: v.Kind, text: v.Text}, nil
}

func text(s string) (value, error) {
	if !utf8.ValidString(s) {
		return value{}, fmt.Errorf("it is not UTF-8: %.40q", s)
	}
	return value{kind: jsonpath.String, text: s}, nil
}
