package jsonpath

import "testing"

func TestSet(t *testing.T) {
	for _, c := range []struct{ body, set, want string }{
		{`{"a":{"b":1.50,"c":2}}`, `a.b=1.5e0`, `{"a":{"b":1.5e0,"c":2}}`},
		{` { "a" : [1, 2 , 3] } `, `a.1="x"`, ` { "a" : [1, "x" , 3] } `},
		{`{"a":1,"a":2}`, `a=3`, `{"a":1,"a":3}`}, // the last one counts
		{`{"a":{}}`, `a.b={"c":null}`, `{"a":{"b":{"c":null}}}`},
		{`{"a":1 }`, `"b=\"".c=1`, ""},
		{`{"a":1 }`, `"b=\""=1`, `{"a":1 ,"b=\"":1}`},
		{`{"big":9007199254740993,"a":0}`, `a=9007199254740995`, `{"big":9007199254740993,"a":9007199254740995}`},
		{`{"a":1}`, `b.c=1`, ""},
		{`{"a":[1]}`, `a.1=1`, ""},
		{`{"a":1}`, `a.b=1`, ""},
		{`{"a":1}`, `a=word`, ""},
		{`{"a":1}`, `a=`, ""},
		{`{"a":1}`, `a`, ""},
		{`{"a":1`, `a=1`, ""},
	} {
		p, value, err := CutAssignment(c.set)
		var got []byte
		if err == nil {
			got, err = p.Set([]byte(c.body), value)
		}
		if string(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s, %s: %s %v, want %s", c.body, c.set, got, err, c.want)
		}
	}
}
