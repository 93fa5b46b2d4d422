package effect

import (
	"errors"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
)

// Texts takes values out of messages as text, for effects that write no table.
type Texts struct {
	sources []Source
	paths   []jsonpath.Path
}

// NewTexts keeps the sources.
func NewTexts(sources ...Source) *Texts {
	t := &Texts{sources: sources}
	for i := range t.sources {
		if s := &t.sources[i]; s.kind == sourcePath {
			s.at = len(t.paths)
			t.paths = append(t.paths, s.path)
		}
	}
	return t
}

// Of returns the text of each source: numbers keep their digits, the rest of
// JSON is as in the body. An error is the message's fault, once and for all: a
// value is missing or null, or the body is no JSON.
func (t *Texts) Of(m *rollcall.Message) ([]string, error) {
	r := reader{paths: t.paths, found: make([]jsonpath.Found, len(t.paths))}
	r.next(m)
	out := make([]string, len(t.sources))
	for i := range t.sources {
		s := &t.sources[i]
		v, err := r.get(s)
		if err == nil && v.kind == jsonpath.Null {
			err = errors.New("it is null or missing")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.text, err)
		}
		out[i] = v.text
	}
	return out, nil
}
