package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// The exit codes.
const (
	exitFine        = 0
	exitFindings    = 1
	exitUsage       = 2
	exitServer      = 3
	exitInterrupted = 130
)

// app is what all verbs share: streams, the way of printing, and the end.
type app struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	verbose  bool
	terminal bool // stderr is a terminal
	verb     string
	redactor *pipeline.Redactor
	exit     func(code int) // ends the process at once
	mu       sync.Mutex     // one line at a time
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{in: stdin, out: stdout, err: stderr, terminal: isTerminal(stderr), exit: os.Exit}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) begin(verb string) { a.verb = verb }

// failure is an error with its exit code and the next step.
type failure struct {
	code int
	err  error
	next string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(err error, next string) error { return &failure{exitUsage, err, next} }

func findings(err error, next string) error { return &failure{exitFindings, err, next} }

// errInterrupted ends a verb after Ctrl-C or SIGTERM, once it has drained.
var errInterrupted = errors.New("interrupted")

// finish prints an error and returns the exit code.
func (a *app) finish(err error) int {
	var f *failure
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errInterrupted):
		a.note("interrupted: what was in hand is settled, nothing is lost")
		return exitInterrupted
	case !errors.As(err, &f):
		f = &failure{code: exitServer, err: err}
		if a.verb == "" || errors.Is(err, rollcall.ErrConfig) {
			f.code = exitUsage // cobra's own errors come before a verb begins
		}
	}
	a.complain(err, f.next)
	return f.code
}

// complain prints what is wrong and what to do.
func (a *app) complain(err error, next string) {
	text := plain(err)
	var located *pipeline.Error
	if !errors.As(err, &located) {
		text = cmp.Or(a.verb, "rollcall") + ": " + text
	}
	if next != "" {
		text += "\nnext: " + next
	} else if a.verb == "" {
		text += "\nnext: see rollcall --help"
	}
	a.note("%s", text)
}

// plain is the text of an error without the names that the library gives its
// kinds of errors.
func plain(err error) string {
	text := strings.TrimPrefix(err.Error(), "rollcall: configuration: ")
	return strings.TrimPrefix(text, "rollcall: ")
}

// note prints to stderr, for people: without secrets and control characters.
func (a *app) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintln(a.err, harmless(a.redactor.Text(fmt.Sprintf(format, args...))))
}

// say prints a result to stdout, for people.
func (a *app) say(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintln(a.out, harmless(fmt.Sprintf(format, args...)))
}

// page prints a whole result to stdout, for people, and tells when it could not:
// a report or a schema that is cut short is none.
func (a *app) page(text string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := io.WriteString(a.out, harmless(text))
	return err
}

// object prints a result to stdout as one line of JSON.
func (a *app) object(v any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// backgroundError tells what failed beside the work and is tried again. What
// ends because we end is no news.
func (a *app) backgroundError(err error) {
	if a.verbose || !errors.Is(err, context.Canceled) {
		a.note("%v", err)
	}
}

// logger is the log of --verbose.
func (a *app) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(noteWriter{a}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// noteWriter writes whole lines to stderr as notes.
type noteWriter struct{ app *app }

func (w noteWriter) Write(p []byte) (int, error) {
	w.app.note("%s", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// harmless replaces what a terminal would obey: control characters and bytes
// that are not UTF-8 become visible escapes. Line breaks and tabs stay.
func harmless(s string) string {
	clean := true
	for _, r := range s {
		if obeyed(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case obeyed(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case obeyed(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// obeyed are control characters, and those that turn the direction of text.
func obeyed(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < ' ', r >= 0x7f && r < 0xa0, r == utf8.RuneError:
		return true
	}
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x2028 || r == 0x2029
}

// oneLine is harmless and has no line breaks.
func oneLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(harmless(s))
}
