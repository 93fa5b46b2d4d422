// Package fingerprint tells which causes of dead letters are the same trouble: by
// the words of the error without what differs from message to message, its code,
// where it happened, and the destination.
package fingerprint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Fingerprint is what many dead letters have in common.
type Fingerprint struct {
	Class       string // the error's words; what differs is "…" and "#"
	Code        string // "SQLSTATE 23505", "MySQL 1062", "SQLite 1555", "HTTP 503"; empty: none
	Place       string // table, constraint, column or field; empty: none is named
	Destination string
}

// mostCause is how much of a cause is looked at, mostClass how long a Class gets.
const (
	mostCause = 4096
	mostClass = 160
)

// Of is the fingerprint of a cause. What was written before it because the row was
// redriven, or is in work, does not count.
func Of(cause, destination string) Fingerprint {
	for {
		before, rest, found := strings.Cut(cause, "; before: ")
		if !found || before != "redriven" && before != "in work" {
			break
		}
		cause = rest
	}
	cause = strings.ToValidUTF8(cause[:min(len(cause), mostCause)], "…")
	return Fingerprint{Class: classOf(cause), Code: codeOf(cause), Place: placeOf(cause), Destination: destination}
}

// ID is a short name of the fingerprint: 12 hexadecimal digits.
func (f Fingerprint) ID() string {
	h := sha256.New()
	for _, s := range []string{f.Class, f.Code, f.Place, f.Destination} {
		fmt.Fprintf(h, "%d %s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// codes are the codes that errors carry in their texts.
var codes = []struct {
	name string
	at   *regexp.Regexp
}{
	{"SQLSTATE ", regexp.MustCompile(`SQLSTATE ([0-9A-Z]{5})\b`)},
	{"MySQL ", regexp.MustCompile(`\bError ([0-9]{4})\b`)},
	{"SQLite ", regexp.MustCompile(`(?:constraint failed|SQL logic error|datatype mismatch|too big).*\(([0-9]{1,5})\)`)},
	{"HTTP ", regexp.MustCompile(`(?i)\b(?:HTTP|status|answered|code)(?:/[0-9.]+| code)?:? ([1-5][0-9][0-9])\b`)},
	{"HTTP ", regexp.MustCompile(`\b([45][0-9][0-9]) [A-Z][a-z]+`)},
}

func codeOf(cause string) string {
	for _, c := range codes {
		if m := c.at.FindStringSubmatch(cause); m != nil {
			return c.name + m[1]
		}
	}
	return ""
}

// places are where texts name a constraint, a table, a column or a field.
var places = []*regexp.Regexp{
	regexp.MustCompile(`(constraint) "([^"]+)"`),
	regexp.MustCompile(`for (key) '([^']+)'(?:$|[^']*$)`),
	regexp.MustCompile(`(?:UNIQUE|NULL|CHECK|KEY) (constraint) failed: ([A-Za-z_][\w.]*(?:, [A-Za-z_][\w.]*)*)`),
	regexp.MustCompile(`(column) ([\w.]+ of table [\w.]+)`),
	regexp.MustCompile(`(column) "([^"]+)"`),
	regexp.MustCompile(`(column) '([^']+)'`),
	regexp.MustCompile(`(?:table|relation) "([^"]+)"`),
	regexp.MustCompile(`(?:\b)((?:payload|header)\.[\w.-]+)`),
}

func placeOf(cause string) string {
	for _, p := range places {
		if m := p.FindStringSubmatch(cause); m != nil {
			return strings.Join(m[1:], " ")
		}
	}
	return ""
}

// quoted are values; an apostrophe within a word begins none. MySQL does not
// escape the quotes in what it quotes.
var quoted = []struct {
	at   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(?s)Duplicate entry '.*' for key`), "Duplicate entry … for key"},
	{regexp.MustCompile(`"(?:[^"\\]|\\.)*"`), "…"},
	{regexp.MustCompile("`[^`]*`"), "…"},
	{regexp.MustCompile(`(^|[^\pL\pN])'[^']*'`), "${1}…"},
}

// classOf is the text without values, numbers and ids: a word with a digit in it
// is one.
func classOf(cause string) string {
	for _, q := range quoted {
		cause = q.at.ReplaceAllString(cause, q.with)
	}
	words := strings.Fields(cause)
	for i, w := range words {
		core := strings.TrimFunc(w, func(r rune) bool { return unicode.IsPunct(r) && r != '…' })
		if strings.ContainsFunc(core, unicode.IsDigit) {
			words[i] = strings.Replace(w, core, "#", 1)
		}
	}
	class := strings.Join(words, " ")
	for len(class) > mostClass {
		_, last := utf8.DecodeLastRuneInString(class)
		class = class[:len(class)-last]
	}
	return class
}
