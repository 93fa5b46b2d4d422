package jsonpath

import "testing"

func TestGet(t *testing.T) {
	const text = ` {"a":{"b.c":[1, {"0":"x"}, 9007199254740993]},"n":null,"d":1,"\u0064":2.50,"e\"":"\u00e4\n","s":"}{","t":true} `
	for expr, want := range map[string]string{
		`a."b.c".1.0`: "string x", `a."b.c".2`: "number 9007199254740993", "n": "null ", "d": "number 2.50", `"e\""`: "string ä\n",
		"t": "bool true", `a."b.c".1`: `object {"0":"x"}`, "x": "-", "a.x": "-", `a."b.c".3`: "-", "d.x": "-", `a."b.c".01`: "-", "s": "string }{",
	} {
		p, err := Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		v, ok, err := p.Get([]byte(text))
		got := v.Kind.String() + " " + v.Text
		if !ok {
			got = "-"
		}
		if err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", expr, got, err, want)
		}
		doc, _ := Parse([]byte(text))
		out := make([]Found, 1)
		if doc.GetAll([]Path{p}, out); out[0].Value != v || out[0].OK != ok {
			t.Errorf("%s: GetAll found %+v", expr, out[0])
		}
	}
}

func TestRefused(t *testing.T) {
	for _, expr := range []string{"", ".", "a.", ".a", "a..b", "a[0]", "a|b", "#", "*", `"a`, `"a"b`, `"\n"`, "a b", "@this|x"} {
		if _, err := Compile(expr); err == nil {
			t.Errorf("path %q was taken", expr)
		}
	}
	for _, body := range []string{"", "{", `{"a":1}x`, "{'a':1}", "[1,]", "nul", "\"\xff\"", `{"a":01}`, "NaN"} {
		if _, err := Parse([]byte(body)); err == nil {
			t.Errorf("body %q was taken", body)
		}
	}
}

// FuzzGet: no text and no path make it panic, and both ways agree.
func FuzzGet(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"c"}]}`), "a.1.b")
	f.Fuzz(func(t *testing.T, body []byte, expr string) {
		p, err := Compile(expr)
		if err != nil {
			return
		}
		doc, err := Parse(body)
		if err != nil {
			return
		}
		v, ok := doc.Get(p)
		out := make([]Found, 1)
		if doc.GetAll([]Path{p}, out); out[0].Value != v || out[0].OK != ok {
			t.Fatal("the two ways differ")
		}
	})
}
