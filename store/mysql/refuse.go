package mysql

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rollcall-mq/rollcall/internal/sqltext"
)

// errUngathered: handlers side by side share one session.
var errUngathered = errors.New("cannot be gathered: handlers side by side share one session, and it would be another's; " +
	"take it out of the handler, or leave ConsumerConfig.Gather out; the statement was not run")

// said is what is known of a text.
type said struct {
	sqltext.Statement
	verb    string
	refused error // why a gathered handler must not say it
	plain   bool  // all its characters are ASCII
}

// examine reads a text once.
func examine(text string) said {
	s := said{Statement: sqltext.Single(text)}
	s.verb = s.Verb()
	s.plain = !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
	switch word := ends(text); {
	case ungathered(s) != "":
		s.refused = fmt.Errorf("mysql store: %s: %w", ungathered(s), errUngathered)
	case word != "":
		s.refused = fmt.Errorf("%w (%s); it was not run", errUserEnded, word)
	}
	return s
}

// ungathered names what is one handler's in a session that many share; empty if
// there is nothing.
func ungathered(s said) string {
	switch s.verb {
	case "SAVEPOINT", "RELEASE", "SET", "USE", "GET", "HANDLER":
		return s.verb
	case "ROLLBACK":
		if slices.Contains(s.Tokens, "TO") {
			return "ROLLBACK TO SAVEPOINT"
		}
	case "CREATE", "DROP":
		if slices.Contains(s.Tokens, "TEMPORARY") {
			return s.verb + " TEMPORARY"
		}
	case "SHOW":
		for _, word := range []string{"WARNINGS", "ERRORS"} {
			if slices.Contains(s.Tokens, word) {
				return "SHOW " + word
			}
		}
	}
	for i := range s.Tokens {
		if what := remembers(s.Tokens, i); what != "" {
			return what
		}
	}
	return ""
}

// lastOnes are system variables that speak of the session's last statement.
var lastOnes = []string{"IDENTITY", "LAST_INSERT_ID", "INSERT_ID", "WARNING_COUNT", "ERROR_COUNT"}

// remembers names the function or variable at a token, if it is one of what the
// session remembers of statements before.
func remembers(tokens []string, at int) string {
	token := func(i int) string {
		if at+i < 0 || at+i >= len(tokens) {
			return ""
		}
		return tokens[at+i]
	}
	switch word := token(0); {
	case word == "LAST_INSERT_ID" && token(1) == "(" && token(2) == ")":
		return "LAST_INSERT_ID() (take LastInsertId of the result)"
	case (word == "ROW_COUNT" || word == "FOUND_ROWS") && token(1) == "(":
		return word + "()"
	case word != "@" || token(-1) == "@":
		return ""
	case token(1) != "@":
		return "the variable @" + strings.ToLower(token(1))
	case slices.Contains(lastOnes, token(2)), token(3) == "." && slices.Contains(lastOnes, token(4)):
		return "@@" + strings.ToLower(token(2)+token(3)+token(4))
	}
	return ""
}
