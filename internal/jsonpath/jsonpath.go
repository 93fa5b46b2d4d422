// Package jsonpath takes single values out of a JSON text, with the digits of
// its numbers as they were written: nothing goes through a float.
//
// A path is plain member names and array indexes, joined by dots: "a.b",
// "items.0.id". A name that holds anything but letters, digits, '_', '-', '$'
// and '@' is quoted: `a."b.c"`, with \" and \\ inside the quotes. On an array a
// name of digits is an index, on an object it is a member's name. There are no
// wildcards, filters or functions.
//
// Of a member that an object has more than once, the last counts, as in
// encoding/json, JavaScript and PostgreSQL's jsonb.
package jsonpath

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxDepth is how deep a text may be nested; deeper is an error.
const MaxDepth = 512

// maxPath is the most steps of a path.
const maxPath = 64

// Kind is what a value is.
type Kind uint8

// The kinds of a value.
const (
	Null Kind = iota
	Bool
	Number
	String
	Object
	Array
)

// String is the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Bool:
		return "bool"
	case Number:
		return "number"
	case String:
		return "string"
	case Object:
		return "object"
	case Array:
		return "array"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Value is one value of a text.
type Value struct {
	Kind Kind
	// Raw is the value as it stands in the text, quotes and escapes included.
	Raw string
	// Text is a string without quotes and escapes, a number with the digits
	// that were sent, true or false, the empty string for null, and Raw for an
	// object or an array.
	Text string
}

// Path is a compiled path. The zero Path is the whole text.
type Path struct{ steps []step }

// step is one member name; index is its value as an array index, or -1.
type step struct {
	name  string
	index int
}

// Compile reads a path. The error says what is wrong with it and where.
func Compile(expr string) (Path, error) {
	var p Path
	rest := expr
	for {
		s, tail, err := cutStep(rest)
		if err != nil {
			return Path{}, fmt.Errorf("path %q at byte %d: %w", expr, len(expr)-len(rest), err)
		}
		p.steps = append(p.steps, s)
		if len(p.steps) > maxPath {
			return Path{}, fmt.Errorf("path %q has more than %d steps", expr, maxPath)
		}
		if tail == "" {
			return p, nil
		}
		rest = tail[1:]
	}
}

// cutStep reads one step; tail is empty or begins with the dot after it.
func cutStep(s string) (step, string, error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s)
	}
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i < len(s) && s[i] != '.' {
		return step{}, "", fmt.Errorf("%q cannot stand there; quote the name: \"…\"", s[i:i+1])
	}
	if i == 0 {
		return step{}, "", errors.New("a name is missing")
	}
	return step{name: s[:i], index: arrayIndex(s[:i])}, s[i:], nil
}

func cutQuoted(s string) (step, string, error) {
	var name []byte
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			tail := s[i+1:]
			if tail != "" && tail[0] != '.' {
				return step{}, "", errors.New("only a dot may follow a quoted name")
			}
			return step{name: string(name), index: -1}, tail, nil
		case c == '\\':
			i++
			if i == len(s) || s[i] != '"' && s[i] != '\\' {
				return step{}, "", errors.New(`only \" and \\ are escapes in a quoted name`)
			}
			name = append(name, s[i])
		default:
			name = append(name, c)
		}
	}
	return step{}, "", errors.New("the closing quote is missing")
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '_' || c == '-' || c == '$' || c == '@' || c >= 0x80
}

// arrayIndex is the index that a name stands for on an array, -1 if none.
func arrayIndex(name string) int {
	if len(name) > 9 || len(name) > 1 && name[0] == '0' {
		return -1
	}
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return -1
		}
	}
	n, err := strconv.Atoi(name)
	if err != nil {
		return -1
	}
	return n
}

// Get takes the value of the path out of body. ok is false when the text has
// no such member or element; a member that is null is there. The error says
// why body is not JSON. To take several values parse once: see Parse.
func (p Path) Get(body []byte) (v Value, ok bool, err error) {
	doc, err := Parse(body)
	if err != nil {
		return Value{}, false, err
	}
	v, ok = doc.Get(p)
	return v, ok, nil
}
