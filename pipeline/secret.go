package pipeline

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/rollcall-mq/rollcall"
)

// masked stands where a password stood.
const masked = "***"

// ownWords are printed whatever they are: a password that is one of them would
// make every message unreadable, and hides nothing.
var ownWords = []string{"postgres", "postgresql", "mysql", "mariadb", "rollcall", "password", "root", "user"}

// hide keeps the password of a DSN out of all that is printed, wherever the DSN
// came from.
func (r *Redactor) hide(dsn string) {
	for _, secret := range passwords(dsn) {
		r.hideWord(secret)
	}
}

func (r *Redactor) hideWord(secret string) {
	if _, known := r.values[secret]; !known && len(secret) >= shortest && !slices.Contains(ownWords, secret) {
		r.values[secret] = masked
	}
}

// Expand replaces the references of a text that stands in no file, a flag for
// example, and returns what hides what they were replaced by, and the password of
// the DSN that it may be. Paths of ${file:PATH} are relative to the current folder.
// The error is rollcall.ErrConfig; the text is then empty.
func Expand(text string, env Env) (string, *Redactor, error) {
	r := &Redactor{values: make(map[string]string)}
	out, err := expand(text, env.withDefaults("."), r)
	if err != nil {
		return "", r, fmt.Errorf("%w: %w", rollcall.ErrConfig, err)
	}
	r.hide(out)
	return out, r, nil
}

// keyword is a password in words: "host=db password=x" or "?password=x".
var keyword = regexp.MustCompile(`(?i)(?:^|[\s?&])(?:ssl)?password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]*)`)

// passwords are those in a DSN, as they stand there and as they are meant.
func passwords(dsn string) (out []string) {
	for _, m := range keyword.FindAllStringSubmatch(dsn, -1) {
		out = append(out, m[1], strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(strings.Trim(m[1], "'")))
	}
	_, rest, isURL := cutURL(dsn)
	if !isURL {
		rest, _, _ = cutLast(dsn, "/") // a password may hold one: of MySQL the last counts
	}
	if who, _, found := cutLast(rest, "@"); found {
		if _, password, found := strings.Cut(who, ":"); found {
			out = append(out, password)
		}
	}
	for _, secret := range slices.Clone(out) {
		if meant, err := url.PathUnescape(secret); err == nil && isURL {
			out = append(out, meant)
		}
	}
	return out
}

// What of a line of a pipeline file may hold a password: the values of dsn, secret,
// password and Authorization, and what looks like a DSN anywhere. Rather too much is masked
// than too little.
var (
	secretly = regexp.MustCompile(`(?i)\b(?:secret(?:_?k\w*)?|authorization|pa\w*w\w*d|pass\w*|pw\w*|api_?key|\w*token)["']?\s*:\s*("(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|[^\s,}#][^,}]*)`)
	refers   = regexp.MustCompile(`^["']?(?:Bearer |Basic )?\$\{[^}:]*(?:file:[^}]*)?\}["']?$`)
	dsnValue = regexp.MustCompile(`\bdsn["']?\s*:\s*("(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|[^\s,}#][^,}]*)`)
	userinfo = regexp.MustCompile(`://([^\s"'/]*:[^\s"']*)@`)
	mysqlWho = regexp.MustCompile(`([^\s"']*:[^\s"']*)@(?:tcp|unix)\(`)
	wordOnly = regexp.MustCompile(`(?i)password\s*=\s*(\S.*)`) // to the end: quotes in quotes have too many forms
)

// mask replaces passwords in a text, and says where a byte of it went to.
func mask(text string, at int) (string, int) {
	for _, pattern := range []*regexp.Regexp{dsnValue, secretly, userinfo, mysqlWho, wordOnly} {
		var out strings.Builder
		from, moved := 0, at
		for _, m := range pattern.FindAllStringSubmatchIndex(text, -1) {
			start, end := m[2], m[3]
			value := text[start:end]
			if pattern == dsnValue && !strings.ContainsRune(value, '@') || value == masked || refers.MatchString(value) {
				continue
			}
			out.WriteString(text[from:start] + masked)
			switch {
			case at >= end:
				moved += len(masked) - (end - start)
			case at > start:
				moved = out.Len() - len(masked)
			}
			from = end
		}
		out.WriteString(text[from:])
		text, at = out.String(), moved
	}
	return text, at
}
