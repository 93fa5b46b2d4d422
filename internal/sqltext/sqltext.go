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
// ROLLBACK TO a savepoint does not, unless it is one whose name begins with
// "rollcall".
func Ends(text string, f Flavour) string {
	s := scanner{text: text, flavour: f}
	for {
		words, more := s.statement()
		if ends(words, f) {
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
	case "ROLLBACK", "RELEASE":
		to := words[1:]
		for len(to) > 0 && (to[0] == "WORK" || to[0] == "TRANSACTION") {
			to = to[1:]
		}
		if first == "ROLLBACK" && (len(to) == 0 || to[0] != "TO") {
			return true
		}
		return len(to) > 0 && strings.HasPrefix(to[len(to)-1], "ROLLCALL")
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
		case c == '"' || c == '`': // a quoted name is a word too
			start := s.at
			s.quoted(c, false)
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
		s.to("\n")
	case s.flavour == MySQL && (strings.HasPrefix(rest, "/*!") || strings.HasPrefix(rest, "/*M!")):
		s.at += len("/*!") // what follows is code; a version number is no word
	case strings.HasPrefix(rest, "/*"):
		s.comment()
	case rest[0] == '\'':
		escaped := s.flavour == MySQL || s.at > 0 && s.text[s.at-1]|0x20 == 'e'
		s.quoted('\'', escaped)
	case s.flavour == PostgreSQL && rest[0] == '$':
		return s.dollar()
	default:
		return false
	}
	return true
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
