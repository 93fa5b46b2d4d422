// Package sqltext finds in SQL text what would end or begin a transaction.
// It reads no grammar: it knows comments, strings and the first words of each
// statement, and errs on the side of finding.
package sqltext

import "strings"

// Flavour is whose SQL it is.
type Flavour uint8

// The flavours.
const (
	PostgreSQL Flavour = iota // dollar quotes, nested comments
	MySQL                     // backslashes in strings, # comments, /*! code */, implicit commits
)

// Ends returns the first words of a statement of the text that ends or begins a
// transaction, or commits it without saying so; empty if there is none.
// SAVEPOINT, and ROLLBACK TO one, do not, unless its name begins with "rollcall"
// (or has a backslash, which may hide that).
func Ends(text string, f Flavour) string {
	return find(text, f, func(words []string) bool { return ends(words, f) })
}

// Savepoint returns the first words of a statement of the text that makes,
// releases or undoes to a savepoint; empty if there is none.
func Savepoint(text string, f Flavour) string {
	return find(text, f, func(words []string) bool {
		return len(words) > 0 && (words[0] == "SAVEPOINT" || words[0] == "RELEASE" || words[0] == "ROLLBACK")
	})
}

// Outlives returns the first words of a statement of PostgreSQL's that changes
// what the session keeps after the transaction, or how durable, readable or
// writable the transaction is: SET without LOCAL, SET TRANSACTION, RESET,
// DISCARD, DEALLOCATE ALL.
func Outlives(text string) string { return find(text, PostgreSQL, outlives) }

func outlives(words []string) bool {
	if len(words) < 2 {
		return false
	}
	switch words[0] {
	case "SET":
		switch words[1] {
		case "CONSTRAINTS":
			return false
		case "LOCAL":
			return len(words) > 2 && (words[2] == "SYNCHRONOUS_COMMIT" || words[2] == "STANDARD_CONFORMING_STRINGS")
		}
		return true
	case "RESET", "DISCARD":
		return true
	case "DEALLOCATE":
		return words[len(words)-1] == "ALL"
	}
	return false
}

func find(text string, f Flavour, is func(words []string) bool) string {
	s := scanner{text: text, flavour: f}
	for {
		words, more := s.statement()
		if is(words) {
			return strings.Join(words, " ")
		}
		if !more {
			return ""
		}
	}
}

// First returns the first words of the text's first statement, in upper case.
func First(text string, f Flavour) []string {
	s := scanner{text: text, flavour: f}
	for {
		words, more := s.statement()
		if len(words) > 0 || !more {
			return words
		}
	}
}

func ends(words []string, f Flavour) bool {
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch first := word(0); first {
	case "BEGIN", "START", "COMMIT", "END", "ABORT", "XA":
		return true
	case "ROLLBACK", "RELEASE", "SAVEPOINT":
		to := words[1:]
		for len(to) > 0 && (to[0] == "WORK" || to[0] == "TRANSACTION") {
			to = to[1:]
		}
		if first == "ROLLBACK" && (len(to) == 0 || to[0] != "TO") {
			return true
		}
		return len(to) > 0 && (strings.HasPrefix(to[len(to)-1], "ROLLCALL") || strings.Contains(to[len(to)-1], `\`))
	case "PREPARE":
		return word(1) == "TRANSACTION"
	case "SET":
		return f == MySQL && (strings.Contains(strings.Join(words, " "), "AUTOCOMMIT") || word(1) == "PASSWORD")
	case "CREATE", "DROP":
		return f == MySQL && word(1) != "TEMPORARY"
	case "ALTER", "TRUNCATE", "RENAME", "LOCK", "UNLOCK", "GRANT", "REVOKE", "ANALYZE", "CACHE", "CHECK", "FLUSH", "OPTIMIZE",
		"REPAIR", "RESET", "INSTALL", "UNINSTALL", "IMPORT", "CHANGE", "STOP", "PURGE":
		return f == MySQL
	}
	return false
}

type scanner struct {
	text    string
	at      int
	flavour Flavour

	escaping bool // the last string was one of PostgreSQL's E''
}

// statement reads to the end of a statement and returns its first words, in
// upper case; more is false at the end of the text.
func (s *scanner) statement() (words []string, more bool) {
	const enough = 6
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == ';':
			s.at++
			return words, true
		case s.skip():
		case letter(c):
			word := s.word()
			if len(words) < enough {
				words = append(words, strings.ToUpper(word))
			}
		case c == '"' || c == '`' && s.flavour == MySQL: // a quoted name is a word too
			start := s.at
			s.quoted(c, c == '"' && s.flavour == MySQL) // there it may be a string
			if len(words) < enough && len(words) > 0 {
				words = append(words, strings.ToUpper(strings.Trim(s.text[start:s.at], "\"`")))
			}
		default:
			s.at++
		}
	}
	return words, false
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }

func digit(c byte) bool { return c >= '0' && c <= '9' }

func (s *scanner) word() string {
	start := s.at
	for s.at < len(s.text) && (letter(s.text[s.at]) || s.text[s.at] >= '0' && s.text[s.at] <= '9' || s.text[s.at] == '$') {
		s.at++
	}
	return s.text[start:s.at]
}

// skip passes a comment or a string, if one begins here.
func (s *scanner) skip() bool {
	rest := s.text[s.at:]
	switch {
	case strings.HasPrefix(rest, "--"), s.flavour == MySQL && rest[0] == '#':
		s.line()
	case s.flavour == MySQL && (strings.HasPrefix(rest, "/*!") || strings.HasPrefix(rest, "/*M!")):
		s.at += len("/*!") // what follows is code; a version number is no word
	case strings.HasPrefix(rest, "/*"):
		s.comment()
	case rest[0] == '\'':
		s.quoted('\'', s.flavour == MySQL || s.escapes())
		for s.flavour == PostgreSQL && s.goesOn() { // with the same rules
			s.quoted('\'', s.escaping)
		}
	case s.flavour == PostgreSQL && rest[0] == '$':
		return s.dollar()
	default:
		return false
	}
	return true
}

// escapes reports whether the string here is an E”: e is a word of its own.
func (s *scanner) escapes() bool {
	s.escaping = s.at > 0 && s.text[s.at-1]|0x20 == 'e' &&
		(s.at == 1 || !letter(s.text[s.at-2]) && !digit(s.text[s.at-2]) && s.text[s.at-2] != '$')
	return s.escaping
}

// goesOn reports whether the string that ended here is continued: its mark was
// doubled, or another one begins after white space and comments with a new line.
// It moves there.
func (s *scanner) goesOn() bool {
	next, lines := s.at, 0
	for next < len(s.text) {
		c := s.text[next]
		switch {
		case c == '\'':
			if next > s.at && lines == 0 {
				return false
			}
			s.at = next
			return true
		case c == '\n' || c == '\r':
			lines++
			next++
		case c == ' ' || c == '\t' || c == '\f' || c == '\v':
			next++
		case strings.HasPrefix(s.text[next:], "--"):
			after := strings.IndexAny(s.text[next:], "\r\n")
			if after < 0 {
				return false
			}
			next += after
		default:
			return false
		}
	}
	return false
}

// line moves behind the end of a line: to PostgreSQL \r is one.
func (s *scanner) line() {
	ends := "\n"
	if s.flavour == PostgreSQL {
		ends = "\r\n"
	}
	end := strings.IndexAny(s.text[s.at:], ends)
	if end < 0 {
		s.at = len(s.text)
		return
	}
	s.at += end + 1
}

// to moves behind the next end, or to the end of the text.
func (s *scanner) to(end string) {
	_, after, found := strings.Cut(s.text[s.at:], end)
	if !found {
		s.at = len(s.text)
		return
	}
	s.at = len(s.text) - len(after)
}

func (s *scanner) comment() {
	depth := 0
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch {
		case strings.HasPrefix(rest, "/*") && (depth == 0 || s.flavour == PostgreSQL):
			depth++
			s.at += 2
		case strings.HasPrefix(rest, "*/"):
			depth--
			s.at += 2
			if depth == 0 {
				return
			}
		default:
			s.at++
		}
	}
}

func (s *scanner) quoted(mark byte, escaped bool) {
	for s.at++; s.at < len(s.text); s.at++ {
		switch {
		case escaped && s.text[s.at] == '\\':
			s.at++
		case s.text[s.at] == mark:
			s.at++
			return // a doubled mark begins the next string at once
		}
	}
	s.at = min(s.at, len(s.text))
}

// dollar passes $tag$ … $tag$; $1 is a value.
func (s *scanner) dollar() bool {
	end := s.at + 1
	for end < len(s.text) && (letter(s.text[end]) || end > s.at+1 && s.text[end] >= '0' && s.text[end] <= '9') {
		end++
	}
	if end >= len(s.text) || s.text[end] != '$' {
		return false
	}
	tag := s.text[s.at : end+1]
	s.at = end + 1
	s.to(tag)
	return true
}
