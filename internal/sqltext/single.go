package sqltext

import "strings"

// Statement is what a text of MySQL's holds.
type Statement struct {
	// Sure: it is one statement to whoever reads it, whatever the session's
	// sql_mode: no quote, comment or backslash may hide another. A text that is
	// not sure may be one all the same.
	Sure bool
	// Body is the statement without a last semicolon.
	Body string
	// Values is how many question marks stand for values.
	Values int
	// Tokens are words in upper case and all other characters by themselves;
	// strings and quoted names are their mark alone.
	Tokens []string
}

// Verb is the first word, parentheses apart.
func (s Statement) Verb() string {
	for _, token := range s.Tokens {
		if token != "(" {
			return token
		}
	}
	return ""
}

// Single reads a text, for MySQL and MariaDB.
func Single(text string) Statement {
	r := reader{scanner: scanner{text: text, flavour: MySQL}, out: Statement{Sure: true, Body: text}}
	for r.at < len(text) {
		r.next()
	}
	r.out.Sure = r.out.Sure && len(r.out.Tokens) > 0
	return r.out
}

type reader struct {
	scanner
	out Statement
}

func (r *reader) doubt() { r.out.Sure = false }

func (r *reader) next() {
	c, rest := r.text[r.at], r.text[r.at:]
	switch {
	case c == '\'', c == '"', c == '`':
		r.string(c)
	case strings.HasPrefix(rest, "--"):
		if len(rest) > 2 && !strings.ContainsRune(" \t\r\n", rune(rest[2])) { // a comment, or two signs
			r.doubt()
		}
		r.line()
	case c == '#':
		r.line()
	case strings.HasPrefix(rest, "/*"):
		r.block(rest)
	case letter(c), digit(c):
		r.out.Tokens = append(r.out.Tokens, strings.ToUpper(r.word()))
	case c == ';':
		if strings.TrimSpace(rest[1:]) != "" {
			r.doubt()
		} else if r.out.Sure {
			r.out.Body = r.text[:r.at]
		}
		r.at++
	case c == ' ', c == '\t', c == '\n', c == '\r':
		r.at++
	default:
		// $ begins a string in MySQL 9; a backslash, NUL and their like have no
		// business here.
		if c == '\\' || c == '$' || c < ' ' || c == 0x7f {
			r.doubt()
		}
		if c == '?' {
			r.out.Values++
		}
		r.out.Tokens = append(r.out.Tokens, string(c))
		r.at++
	}
}

// string passes a string or a quoted name. Whether a backslash escapes in it
// depends on its mark and on sql_mode.
func (r *reader) string(mark byte) {
	start := r.at
	r.quoted(mark, mark != '`')
	inside := r.text[start+1 : r.at]
	if strings.Contains(inside, `\`) || !strings.HasSuffix(inside, string(mark)) {
		r.doubt()
	}
	r.out.Tokens = append(r.out.Tokens, string(mark))
}

// block passes a comment. Some are code or hints, and of those that are nested or
// begin with a slash each server thinks its own.
func (r *reader) block(rest string) {
	inside, after, closed := strings.Cut(rest[2:], "*/")
	if !closed || strings.Contains(inside, "/*") || strings.HasPrefix(inside, "M!") || inside != "" && strings.Contains("!+/", inside[:1]) {
		r.doubt()
	}
	if inside != "" && strings.Contains("!M", inside[:1]) {
		r.at += 3 // what follows may be code
		return
	}
	r.at = len(r.text) - len(after)
}
