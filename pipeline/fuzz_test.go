package pipeline

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// FuzzCheck does what rollcall check does: a file is refused, and each mistake
// says what is wrong, where and what to do; or it is taken, and every fault has an answer.
func FuzzCheck(f *testing.F) {
	for _, text := range problemCases(f) {
		f.Add([]byte(text))
	}
	for _, text := range examples(f) {
		if _, err := Parse("rollcall.yaml", []byte(text), testEnv()); err == nil {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(checked)
}

// FuzzCheckValues puts what the fuzzer finds into the values of a good file, so
// that it comes further than the YAML.
func FuzzCheckValues(f *testing.F) {
	f.Add("auto", "payload.order_id", "14d", "0", "insert", "id", "payload.id", "{created: [paid]}")
	f.Add("[stamp, position]", "id", "1h30m", "7d", "transition", "[id]", "id", "{a: [b], b: [a]}")
	f.Add("none", "content", "${N}s", "36h", "add", "[]", "const:x", "{}")
	f.Add("lock", "header.X", "9999999h", "65535d", "set", "id, status", "payload?", "{a: [a]}")
	f.Fuzz(func(t *testing.T, by, key, window, retention, mode, columns, source, allow string) {
		checked(t, fmt.Appendf(nil, `name: shop
source: {embedded: {destination: orders, retention: %s}, late: %s}
store: {sqlite: {path: shop.db}}
dedup: {by: %s, key: %s, window: %s}
effect:
  table:
    name: orders
    mode: %s
    key: %s
    columns: {id: %s, status: payload.status}
    state: {column: status, allow: %s}
`, retention, retention, by, key, window, mode, columns, source, allow))
	})
}

// checked does what the command does with one file.
func checked(t *testing.T, data []byte) {
	began := time.Now()
	file, err := Parse("rollcall.yaml", data, testEnv())
	if took := time.Since(began); took > 10*time.Second {
		t.Fatalf("it took %v", took)
	}
	if err != nil {
		refusedWell(t, data, err)
		return
	}
	if r := file.Setup().Refuse(); len(r) > 0 {
		t.Fatalf("taken, and refused: %v", r)
	}
	report := file.Setup().Report()
	if report.Verdict == "" || report.Records == "" || len(report.Conditions) == 0 {
		t.Fatalf("%+v", report)
	}
	for _, l := range report.Lines {
		if l.Fault == "" || l.Outcome == "" || l.Mechanism == "" {
			t.Fatalf("no answer: %+v", l)
		}
	}
}

// problemCases are the files of testdata/problems.txt.
func problemCases(tb testing.TB) (out []string) {
	data, err := os.ReadFile("testdata/problems.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range strings.Split("\n"+string(data), "\n=== ")[1:] {
		_, rest, _ := strings.Cut(c, "\n")
		text, _, _ := strings.Cut(rest+"\n", "--- want\n")
		out = append(out, text)
	}
	return out
}

// refusedWell: every mistake names what is wrong, at a place that is there.
func refusedWell(t *testing.T, data []byte, err error) {
	t.Helper()
	if !errors.Is(err, rollcall.ErrConfig) {
		t.Fatalf("%v is no ErrConfig", err)
	}
	all := []error{err}
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		all = many.Unwrap()
	}
	lines := strings.Count(string(data), "\n") + 1
	for _, err := range all {
		var e *Error
		switch {
		case !errors.As(err, &e):
			t.Fatalf("%v has no place", err)
		case strings.TrimSpace(e.What) == "" || strings.TrimSpace(e.Next) == "":
			t.Fatalf("what is wrong or the next step is not said: %v", err)
		case e.Line < 0 || e.Line > lines || e.Line > 0 && e.Column < 1:
			t.Fatalf("line %d:%d of %d: %v", e.Line, e.Column, lines, err)
		case strings.Contains(err.Error(), "hunter2"):
			t.Fatalf("a secret is printed: %v", err)
		}
	}
}
