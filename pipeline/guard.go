package pipeline

import (
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// What a pipeline file may have at most. The parser behind needs exponential
// time for some deep texts, so they are refused before.
const (
	maxBytes  = 1 << 20
	maxTokens = 20_000
	maxDepth  = 32
)

// tokenize splits the text into tokens and refuses, in linear time, what a
// pipeline file never needs and an attacker does.
func tokenize(t *text, data []byte) (tokens token.Tokens, err error) {
	if len(data) > maxBytes {
		return nil, t.problem(place{}, "a pipeline file is some lines long; is it the right file?", "it has %d bytes, at most %d are read", len(data), maxBytes)
	}
	if problem := plainText(t); problem != nil {
		return nil, problem
	}
	defer func() {
		if p := recover(); p != nil {
			err = t.problem(place{}, yamlNext, "it cannot be read as YAML: %v", p)
		}
	}()
	tokens = lexer.Tokenize(string(data))
	if len(tokens) > maxTokens {
		return nil, t.problem(place{}, "a pipeline file is some lines long; is it the right file?", "it has %d words and marks, at most %d are read", len(tokens), maxTokens)
	}
	if problem := guard(t, tokens); problem != nil {
		return nil, problem
	}
	return tokens, nil
}

// plainText refuses bytes that are no text.
func plainText(t *text) error {
	for i, line := range t.lines {
		column := 1
		for rest := line; rest != ""; column++ {
			r, n := utf8.DecodeRuneInString(rest)
			switch {
			case r == utf8.RuneError && n == 1:
				return t.problem(place{i + 1, column}, "save the file as UTF-8", "byte 0x%02x is not UTF-8", rest[0])
			case r < ' ' && r != '\t' && r != '\r':
				return t.problem(place{i + 1, column}, "take it out", "control character 0x%02x", r)
			}
			rest = rest[n:]
		}
	}
	return nil
}

func guard(t *text, tokens token.Tokens) error {
	depth, dashes, line := 0, 0, 0
	for _, tk := range tokens {
		at := placeOf(tk)
		if at.line != line {
			dashes, line = 0, at.line
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			dashes++
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.MappingKeyType, token.DirectiveType:
			next := "write the value out"
			if tk.Type == token.AliasType || tk.Type == token.TagType {
				next += `, or quote it: "…"`
			}
			return t.problem(at, next, "%s is not taken in a pipeline file", construct(tk))
		}
		if depth > maxDepth || dashes > maxDepth || tk.Position.IndentNum > 8*maxDepth {
			return t.problem(at, "a pipeline file is some levels deep; is it the right file?", "it is nested deeper than %d", maxDepth)
		}
	}
	return nil
}

func construct(tk *token.Token) string {
	names := map[token.Type]string{
		token.AnchorType: "an anchor", token.AliasType: "an alias", token.MergeKeyType: "a merge key",
		token.TagType: "a tag", token.MappingKeyType: "a complex key", token.DirectiveType: "a directive",
	}
	return fmt.Sprintf("%s (%q)", names[tk.Type], tk.Value)
}

func placeOf(tk *token.Token) place {
	if tk == nil || tk.Position == nil {
		return place{}
	}
	return place{tk.Position.Line, max(1, tk.Position.Column)}
}
