package jsonpath

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Set puts a JSON value in the place of the one at the path, and leaves every
// other byte of body as it is. A member that the innermost object does not have is
// added at its end; anything else that is not there is an error.
func (p Path) Set(body []byte, value string) ([]byte, error) {
	if _, err := Parse([]byte(value)); err != nil {
		return nil, fmt.Errorf("%q is not JSON: a text needs quotes", value)
	}
	doc, err := Parse(body)
	if err != nil {
		return nil, err
	}
	s, at := doc.text, skipSpace(doc.text, 0)
	for i, step := range p.steps {
		next := -1
		switch s[at] {
		case '{':
			if next = member(s, at, step.name); next < 0 && i == len(p.steps)-1 {
				return addMember(s, at, step.name, value), nil
			}
		case '[':
			next = element(s, at, step.index)
		}
		if next < 0 {
			return nil, fmt.Errorf("there is no %q in it", step.name)
		}
		at = next
	}
	out := append([]byte(s[:at]), value...)
	return append(out, s[skipValue(s, at):]...), nil
}

func addMember(s string, at int, name, value string) []byte {
	quoted, _ := json.Marshal(name) // a string always can be written
	end := skipValue(s, at) - 1
	text := string(quoted) + ":" + value
	if skipSpace(s, at+1) != end {
		text = "," + text
	}
	return []byte(s[:end] + text + s[end:])
}

// errNoAssignment: there is no "=" behind the path.
var errNoAssignment = errors.New("it is no PATH=JSON")

// CutAssignment splits PATH=JSON at the first "=" behind the path, which may hold
// one within quotes.
func CutAssignment(text string) (p Path, value string, err error) {
	inside := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && inside:
			i++
		case text[i] == '"':
			inside = !inside
		case text[i] == '=' && !inside:
			p, err = Compile(text[:i])
			return p, text[i+1:], err
		}
	}
	return Path{}, "", errNoAssignment
}
