package canonical

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestSame(t *testing.T) {
	for _, pair := range [][2]string{
		{`{"a":1,"b":[true,null,"x"]}`, ` { "b" : [ true , null , "x" ] , "a" : 1 } `},
		{`"\u0061"`, `"a"`},
		{`{}`, `{ }`},
	} {
		if Content([]byte(pair[0])) != Content([]byte(pair[1])) {
			t.Errorf("%s and %s differ", pair[0], pair[1])
		}
	}
}

func TestDifferent(t *testing.T) {
	all := []string{`{"a":1}`, `{"a":1.0}`, `{"a":"1"}`, `{"a":1,"a":2}`, `{"a":2}`, `{"a":2,"a":1}`, `[1]`, `1`, `"1"`, `"\ud800"`, `"\ufffd"`,
		"\"\xff\"", `{"a":1} `, `{"a":1}x`, `x`, ``, `j{"a":1}`, `null`, `{"a":null}`, `{"A":1}`, `9007199254740993`, `9007199254740992`,
		strings.Repeat("[", 300) + strings.Repeat("]", 300), strings.Repeat("[", 301) + strings.Repeat("]", 301)}
	seen := make(map[string]string)
	for _, body := range all {
		if body == `{"a":1} ` {
			continue // the same as without the space
		}
		c := Content([]byte(body))
		if other, again := seen[c]; again {
			t.Errorf("%q and %q are alike", body, other)
		}
		seen[c] = body
	}
}

// FuzzContent: the canonical form of JSON is JSON that means the same, and is
// its own canonical form.
func FuzzContent(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":[{"x":"\u00e9"}]}`, `1e400`, `{"a":1,"a":2}`, "\xff", `"\ud83d\ude00"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := Content(body)
		if c[0] == 'b' {
			if c[1:] != string(body) {
				t.Fatal("raw content was changed")
			}
			return
		}
		if Content([]byte(c[1:])) != c {
			t.Fatalf("%q is not canonical", c)
		}
		if !reflect.DeepEqual(decode(t, body), decode(t, []byte(c[1:]))) {
			t.Fatalf("%q means something else than %q", c, body)
		}
	})
}

func decode(t *testing.T, b []byte) (v any) {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return v
}
