// Package canonical gives two texts that mean the same JSON value the same
// form, and never gives two different ones the same form.
package canonical

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sort"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds recursion; what nests deeper is compared byte by byte.
const maxDepth = 200

// Content is the canonical form of a body. JSON: members sorted by name, no
// white space, numbers with their digits as written (1 and 1.0 are two
// things). Anything else, and JSON whose meaning decoders disagree on (a name
// twice in an object, invalid UTF-8, lone surrogates, deep nesting): its bytes.
// The first byte tells the two apart.
func Content(body []byte) string {
	if out, ok := canonicalJSON(body); ok {
		return "j" + out
	}
	return "b" + string(body)
}

func canonicalJSON(body []byte) (string, bool) {
	if !utf8.Valid(body) || surrogate(body) {
		return "", false
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var b strings.Builder
	if err := write(&b, d, 0); err != nil {
		return "", false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", false
	}
	return b.String(), true
}

// surrogate reports an escape in the surrogate range: decoders replace a lone
// one by U+FFFD, which would make different bodies alike.
func surrogate(body []byte) bool {
	return bytes.Contains(body, []byte(`\ud`)) || bytes.Contains(body, []byte(`\uD`))
}

var errNotCanonical = errors.New("no canonical form")

func write(b *strings.Builder, d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return errNotCanonical
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return writeArray(b, d, depth)
		}
		return writeObject(b, d, depth)
	case json.Number:
		b.WriteString(t.String())
		return nil
	default: // string, bool, nil
		return writeScalar(b, t)
	}
}

func writeScalar(b *strings.Builder, v any) error {
	text, err := json.Marshal(v)
	b.Write(text)
	return err
}

func writeArray(b *strings.Builder, d *json.Decoder, depth int) error {
	b.WriteByte('[')
	for first := true; d.More(); first = false {
		if !first {
			b.WriteByte(',')
		}
		if err := write(b, d, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	_, err := d.Token()
	return err
}

func writeObject(b *strings.Builder, d *json.Decoder, depth int) error {
	members := map[string]string{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return errNotCanonical
		}
		if _, twice := members[name]; twice {
			return errNotCanonical
		}
		var value strings.Builder
		if err := write(&value, d, depth+1); err != nil {
			return err
		}
		members[name] = value.String()
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	sort.Strings(names)
	b.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeScalar(b, name); err != nil {
			return err
		}
		b.WriteByte(':')
		b.WriteString(members[name])
	}
	b.WriteByte('}')
	_, err := d.Token()
	return err
}
