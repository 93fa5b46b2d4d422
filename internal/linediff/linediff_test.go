package linediff

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestUnified(t *testing.T) {
	for _, c := range []struct{ before, after, want string }{
		{"a\nb\n", "a\nb\n", ""},
		{"a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
		{"", "a\n", "@@ -1,0 +1,1 @@\n+a\n"},
		{"a", "a\n", "@@ -1,1 +1,1 @@\n-a (no end of line)\n+a\n"},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", "x\n2\n3\n4\n5\n6\n7\n8\n9\n10\ny\n",
			"@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n 4\n@@ -8,4 +8,4 @@\n 8\n 9\n 10\n-11\n+y\n"},
	} {
		if got := Unified(c.before, c.after); got != c.want {
			t.Errorf("%q to %q:\n%s", c.before, c.after, got)
		}
	}
	many := strings.Repeat("a\n", 3000)
	if got := Unified("x\n"+many, strings.Repeat("b\n", 3000)); strings.Count(got, "\n-") != 3001 || strings.Count(got, "\n+") != 3000 {
		t.Error("too much to compare is not shown as replaced")
	}
}

// TestApplies: the lines with ' ' and '-' are the text before, those with ' ' and
// '+' the text after, and the numbers of the hunks say where.
func TestApplies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		var b strings.Builder
		for range r.IntN(30) {
			fmt.Fprintln(&b, r.IntN(4))
		}
		return b.String()
	}
	for range 2000 {
		before, after := text(), text()
		if got := apply(t, before, Unified(before, after)); got != after {
			t.Fatalf("%q with\n%s is %q, want %q", before, Unified(before, after), got, after)
		}
	}
}

func apply(t *testing.T, before, diff string) string {
	rest, out, at := strings.SplitAfter(before, "\n"), "", 1
	for _, l := range strings.SplitAfter(diff, "\n") {
		var o, on, n, nn int
		switch {
		case l == "":
		case strings.HasPrefix(l, "@@"):
			if _, err := fmt.Sscanf(l, "@@ -%d,%d +%d,%d @@", &o, &on, &n, &nn); err != nil {
				t.Fatal(err)
			}
			for ; at < o; at++ {
				out, rest = out+rest[0], rest[1:]
			}
		case l[0] == '+':
			out += l[1:]
		default:
			if rest[0] != l[1:] {
				t.Fatalf("line %d is %q, the difference says %q", at, rest[0], l[1:])
			}
			if l[0] == ' ' {
				out += l[1:]
			}
			rest, at = rest[1:], at+1
		}
	}
	return out + strings.Join(rest, "")
}
