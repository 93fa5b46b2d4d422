package jsonpath

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// Doc is a JSON text that was checked.
type Doc struct{ text string }

// Parse checks that body is one JSON value in UTF-8, not nested deeper than
// MaxDepth. The error says at which byte it is not. The Doc keeps a copy.
func Parse(body []byte) (Doc, error) {
	if at := tooDeep(body); at >= 0 {
		return Doc{}, fmt.Errorf("payload is nested deeper than %d at byte %d", MaxDepth, at)
	}
	if !gjson.ValidBytes(body) {
		return Doc{}, notJSON(body)
	}
	if !utf8.Valid(body) {
		return Doc{}, fmt.Errorf("payload is not JSON at byte %d: not UTF-8", badUTF8(body))
	}
	return Doc{text: string(body)}, nil
}

// notJSON finds the place: only the error pays for a second reading.
func notJSON(body []byte) error {
	var raw json.RawMessage
	err := json.Unmarshal(body, &raw)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("payload is not JSON at byte %d: %w", syntax.Offset, err)
	}
	return fmt.Errorf("payload of %d bytes is not JSON", len(body))
}

func badUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// tooDeep is where the nesting exceeds MaxDepth, or -1. It runs first, because
// the checker behind it recurses.
func tooDeep(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if depth++; depth > MaxDepth {
				return i
			}
		case '}', ']':
			depth--
		}
	}
	return -1
}

// Get takes the value of a path. ok is false when there is no such member or
// element.
func (d Doc) Get(p Path) (v Value, ok bool) {
	return d.walk(skipSpace(d.text, 0), p.steps)
}

func (d Doc) walk(at int, steps []step) (v Value, ok bool) {
	for _, s := range steps {
		switch d.text[at] {
		case '{':
			at = member(d.text, at, s.name)
		case '[':
			at = element(d.text, at, s.index)
		default:
			return Value{}, false
		}
		if at < 0 {
			return Value{}, false
		}
	}
	return valueAt(d.text, at), true
}

// Found is the answer to one of many paths.
type Found struct {
	Value Value
	OK    bool
	at    int
}

// GetAll takes the values of many paths in one walk over the outermost object.
// The answers go into out, one a path.
func (d Doc) GetAll(paths []Path, out []Found) {
	root := skipSpace(d.text, 0)
	if d.text[root] != '{' || slices.ContainsFunc(paths, func(p Path) bool { return len(p.steps) == 0 }) {
		for i, p := range paths {
			out[i].Value, out[i].OK = d.Get(p)
		}
		return
	}
	for i := range paths {
		out[i] = Found{at: -1}
	}
	eachMember(d.text, root, func(name string, at int) {
		for i := range paths {
			if sameName(name, paths[i].steps[0].name) {
				out[i].at = at
			}
		}
	})
	for i := range paths {
		if out[i].at >= 0 {
			out[i].Value, out[i].OK = d.walk(out[i].at, paths[i].steps[1:])
		}
	}
}

// The functions below walk a text that Parse has found to be JSON: they do not
// look for mistakes again.

// eachMember calls f with the quoted name of every member of an object and the
// place where its value begins.
func eachMember(s string, at int, f func(name string, at int)) {
	at = skipSpace(s, at+1)
	for s[at] != '}' {
		end := skipString(s, at)
		name := s[at:end]
		at = skipSpace(s, skipSpace(s, end)+1)
		f(name, at)
		at = skipSpace(s, skipValue(s, at))
		if s[at] == ',' {
			at = skipSpace(s, at+1)
		}
	}
}

// member is where the value of the last member of that name begins, or -1.
func member(s string, at int, name string) int {
	found := -1
	eachMember(s, at, func(have string, at int) {
		if sameName(have, name) {
			found = at
		}
	})
	return found
}

// element is where the element of that index begins, or -1.
func element(s string, at, index int) int {
	if index < 0 {
		return -1
	}
	at = skipSpace(s, at+1)
	for i := 0; s[at] != ']'; i++ {
		if i == index {
			return at
		}
		at = skipSpace(s, skipValue(s, at))
		if s[at] == ',' {
			at = skipSpace(s, at+1)
		}
	}
	return -1
}

// sameName compares a quoted name with a plain one.
func sameName(quoted, name string) bool {
	inner := quoted[1 : len(quoted)-1]
	if len(inner) == len(name) {
		return inner == name && strings.IndexByte(inner, '\\') < 0 // with an escape it is shorter than it looks
	}
	return len(inner) > len(name) && strings.IndexByte(inner, '\\') >= 0 && unquote(quoted) == name
}

// unquote is a string without quotes and escapes.
func unquote(quoted string) string {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	return gjson.Parse(quoted).Str
}

func valueAt(s string, at int) Value {
	raw := s[at:skipValue(s, at)]
	switch raw[0] {
	case '"':
		return Value{Kind: String, Raw: raw, Text: unquote(raw)}
	case '{':
		return Value{Kind: Object, Raw: raw, Text: raw}
	case '[':
		return Value{Kind: Array, Raw: raw, Text: raw}
	case 't', 'f':
		return Value{Kind: Bool, Raw: raw, Text: raw}
	case 'n':
		return Value{Kind: Null, Raw: raw}
	}
	return Value{Kind: Number, Raw: raw, Text: raw}
}

func skipSpace(s string, at int) int {
	for at < len(s) && (s[at] == ' ' || s[at] == '\t' || s[at] == '\n' || s[at] == '\r') {
		at++
	}
	return at
}

func skipString(s string, at int) int {
	for at++; s[at] != '"'; at++ {
		if s[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func skipValue(s string, at int) int {
	switch s[at] {
	case '"':
		return skipString(s, at)
	case '{', '[':
		return skipNested(s, at)
	}
	for at < len(s) && !endsScalar(s[at]) {
		at++
	}
	return at
}

func skipNested(s string, at int) int {
	for depth := 0; ; {
		switch s[at] {
		case '"':
			at = skipString(s, at)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
		}
		at++
	}
}

func endsScalar(c byte) bool {
	return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\n' || c == '\r'
}
