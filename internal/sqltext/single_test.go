package sqltext

import (
	"slices"
	"testing"
)

func TestSingle(t *testing.T) {
	for text, values := range map[string]int{
		"SELECT 1": 0, "INSERT INTO a (b) VALUES (?, ?)": 2, "SELECT '?', \"?\", `?`, ?": 1, "-- name: Get :one\nSELECT ?": 1,
		"SELECT 'it''s; COMMIT' ;\n ": 0, "SELECT 1 # ? ; COMMIT": 0, "SELECT 1 -- ? ; COMMIT": 0, "SELECT 1 --": 0, "/* ? ; */ SELECT /**/ ?": 1,
		"(SELECT 1) UNION (SELECT ?)": 1, "SELECT 'ä;', ä": 0, "SELECT a$b - -1": 0, "/*a*/SELECT 1/2*?": 1,
	} {
		if st := Single(text); !st.Sure || st.Values != values {
			t.Errorf("%q: sure %v with %d values, want sure with %d", text, st.Sure, st.Values, values)
		}
	}
	for _, text := range []string{
		"", " ", "-- x", ";", "SELECT 1; COMMIT", "SELECT 1;;", "SELECT 1; -- x", "SELECT 5--1; COMMIT", "SELECT 5--1", "SELECT 1 /*! ; COMMIT */",
		"SELECT 1 /*M! + 1 */", "SELECT /*+ x */ 1", "SELECT '\\'; COMMIT; -- '", "SELECT '\\'", "SELECT \"a\\\"; COMMIT; -- \"", "SELECT 'open", "SELECT `open",
		"SELECT 1 /* open", "SELECT /*/ 1; COMMIT /*/", "SELECT /* /* */ 1 */", "SELECT $$ ' $$; COMMIT; $$ ' $$", "SELECT 1\x00; COMMIT", "SELECT \\N", "SELECT 1\x01",
		"SELECT `a\\`; COMMIT; `", "SELECT '", "SELECT `",
	} {
		if Single(text).Sure {
			t.Errorf("%q: sure, want doubt", text)
		}
	}
	st := Single("( select `x`.a FROM b WHERE c = 'd' ) ; ")
	want := []string{"(", "SELECT", "`", ".", "A", "FROM", "B", "WHERE", "C", "=", "'", ")"}
	if !slices.Equal(st.Tokens, want) || st.Verb() != "SELECT" || st.Body != "( select `x`.a FROM b WHERE c = 'd' ) " {
		t.Errorf("%q, verb %q, body %q", st.Tokens, st.Verb(), st.Body)
	}
	if got := Single("SELECT 1 /*! INTO @a */").Tokens; !slices.Contains(got, "@") {
		t.Errorf("tokens %q: code in a comment was not read", got)
	}
}
