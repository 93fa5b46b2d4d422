package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rollcall-mq/rollcall"
)

// Error is one mistake in a pipeline file. errors.Is says ErrConfig.
type Error struct {
	File         string
	Line, Column int    // from 1; Column counts characters; 0 is "the file"
	What         string // what is wrong
	Source       string // the line as it stands in the file, without passwords
	Next         string // what to do about it

	caret int // the column in Source where it is another one
}

// Error is the mistake with its line, a caret and the next step.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line == 0 {
		fmt.Fprintf(&b, "%s: %s", e.File, e.What)
	} else {
		fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, e.Line, e.Column, e.What)
		source, pad := e.excerpt()
		fmt.Fprintf(&b, "\n    %s\n    %s^", source, pad)
	}
	if e.Next != "" {
		b.WriteString("\nnext: " + e.Next)
	}
	return b.String()
}

// Is says that every mistake is rollcall.ErrConfig.
func (e *Error) Is(target error) bool { return target == rollcall.ErrConfig }

// excerpt is the part of the line around the column, safe for a terminal, and
// what stands below it up to the caret.
func (e *Error) excerpt() (source, pad string) {
	const most, before = 120, 60
	runes := []rune(strings.TrimRight(e.Source, "\r\n"))
	for i, r := range runes {
		if r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0 {
			runes[i] = '·'
		}
	}
	at := min(max(0, cmp.Or(e.caret, e.Column)-1), len(runes))
	from := 0
	if len(runes) > most && at > before {
		from = at - before
	}
	runes = runes[from:min(len(runes), from+most)]
	below := make([]rune, at-from)
	for i := range below {
		below[i] = ' '
		if i < len(runes) && runes[i] == '\t' {
			below[i] = '\t'
		}
	}
	return string(runes), string(below)
}

// place is a position in the file. The zero place is the file as a whole.
type place struct{ line, column int }

// text is a pipeline file as it stands on the disk.
type text struct {
	name  string
	lines []string
}

func newText(name string, data []byte) *text {
	return &text{name: name, lines: strings.Split(string(data), "\n")}
}

func (t *text) problem(at place, next, format string, args ...any) *Error {
	what, _ := mask(fmt.Sprintf(format, args...), 0)
	e := &Error{File: t.name, Line: at.line, Column: at.column, Next: next, What: what}
	if at.line > len(t.lines) {
		// Some tokens of the parser end behind the file: show its last line.
		e.Line, e.Column = len(t.lines), 1
	}
	if e.Line > 0 {
		e.Source, e.caret = maskLine(t.lines[e.Line-1], e.Column)
	}
	return e
}

// maskLine is a line without passwords, and where its column (of characters)
// went to.
func maskLine(line string, column int) (string, int) {
	runes := []rune(line)
	before := string(runes[:min(max(0, column-1), len(runes))])
	text, at := mask(line, len(before))
	return text, utf8.RuneCountInString(text[:at]) + 1
}

// placeOf is the place of the nearest thing that was written: of "a.b.c", else of
// "a.b", else of "a".
func (f *File) placeOf(path string) place {
	for path != "" {
		if p, ok := f.at[path]; ok {
			return p
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return place{}
}

// Problem is a mistake at a path such as "effect[0].table.name", for what is
// only found once the drivers are open.
func (f *File) Problem(path, next, format string, args ...any) *Error {
	e := f.text.problem(f.placeOf(path), next, format, args...)
	e.What, e.Next = f.redactor.Text(e.What), f.redactor.Text(e.Next)
	return e
}

// told is what is wrong and what to do, of an error of a layer below: the next
// step stands behind the last semicolon.
func told(err error) (what, next string) {
	text := err.Error()
	if i := strings.LastIndex(text, "; "); i >= 0 {
		return text[:i], text[i+2:]
	}
	return text, ""
}

// joined is nil, the one mistake, or all of them.
func joined(problems []*Error) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
