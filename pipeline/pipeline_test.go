package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

const shortest5 = `name: billing
source: {embedded: {destination: orders}}
store: {sqlite: {}}
dedup: {key: [payload.order_id]}
effect: {table: {name: account, key: [id], mode: add, columns: {id: payload.account, balance: payload.amount}}}
`

func TestShortestUsefulFile(t *testing.T) {
	f, err := Parse("conf/rollcall.yaml", []byte(shortest5), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if f.Folder() != "conf/rollcall-data" || f.StorePath() != "conf/rollcall-data/store.db" {
		t.Errorf("folder %s, store %s: they belong beside the file", f.Folder(), f.StorePath())
	}
	want := []effect.Table{{Name: "account", Key: []string{"id"}, Mode: effect.Add,
		Columns: map[string]string{"id": "payload.account", "balance": "payload.amount"}}}
	if diff := cmp.Diff(want, f.Tables()); diff != "" {
		t.Error(diff)
	}
	c := f.ConsumerConfig()
	if diff := cmp.Diff(rollcall.DedupConfig{By: []rollcall.Strategy{}, Key: []string{"payload.order_id"}}, c.Dedup); diff != "" {
		t.Error(diff)
	}
}

const everything = `
name: "bill${N}"
source:
  embedded:
    path: /var/lib/"x"
    destination: orders # a comment
    partitions: ${N}
    retention: 1d12h
store: {sqlite: {path: "${NOTHING:-shop}.db"}}
dedup: {by: [stamp, key], key: [id, header.X, payload.a."b.c"], window: 14d}
effect:
  - table:
      name: orders
      mode: transition
      key: [id]
      columns: {id: payload.id, status: payload.status, n: 'const:${file:secret}$${N}'}
      state: {column: status, allow: {created: [paid, canceled], paid: shipped}, initial: created}
      when: payload.op=order
  - table:
      name: versions
      mode: version
      key: id
      columns: {id: payload.id, v: payload.v}
      update: [v]
      version: {column: v, rule: next, first: 0}
      approximate: true
  - table: {name: u, mode: upsert, key: [a, b], decide: [a, b], columns: {a: id, b: key}}
retry: {attempts: 3, first: 50ms, most: 1m, early: 2h}
dead_letters: {keep: 30d}
batch: 100
parallel: 4
`

func TestEverything(t *testing.T) {
	f, err := Parse("/etc/rollcall.yaml", []byte(everything), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "bill12" || f.Source.Embedded.Partitions != 12 || f.Source.Embedded.Retention != 36*time.Hour || f.StorePath() != "/etc/shop.db" {
		t.Errorf("%+v %+v %s", f, f.Source.Embedded, f.StorePath())
	}
	want := []effect.Table{
		{Name: "orders", Mode: effect.Transition, Key: []string{"id"}, When: "payload.op=order",
			Columns: map[string]string{"id": "payload.id", "status": "payload.status", "n": "const:s3cr3t-dsn${N}"},
			State: effect.State{Column: "status", Allow: map[string][]string{"created": {"paid", "canceled"}, "paid": {"shipped"}},
				Initial: []string{"created"}}},
		{Name: "versions", Mode: effect.Versioned, Key: []string{"id"}, Update: []string{"v"}, Approximate: true,
			Columns: map[string]string{"id": "payload.id", "v": "payload.v"}, Version: effect.Version{Column: "v", Rule: effect.RuleNext}},
		{Name: "u", Mode: effect.Upsert, Key: []string{"a", "b"}, Decide: []string{"a", "b"}, Columns: map[string]string{"a": "id", "b": "key"}},
	}
	if diff := cmp.Diff(want, f.Tables()); diff != "" {
		t.Error(diff)
	}
	wantConfig := rollcall.ConsumerConfig{Batch: 100, Parallel: 4, DeadKeep: 30 * 24 * time.Hour,
		Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByStamp, rollcall.ByKey}, Key: []string{"id", "header.X", `payload.a."b.c"`}, Window: 14 * 24 * time.Hour},
		Retry: rollcall.RetryConfig{Attempts: 3, First: 50 * time.Millisecond, Most: time.Minute, Early: 2 * time.Hour}}
	if diff := cmp.Diff(wantConfig, f.ConsumerConfig()); diff != "" {
		t.Error(diff)
	}
	if got := f.Redactor().Text("cannot open s3cr3t-dsn or shop.db"); got != "cannot open ${file:secret} or shop.db" {
		t.Errorf("redacted: %s", got)
	}
}

// TestBombs: what is deep, large or refers to itself is refused at once.
func TestBombs(t *testing.T) {
	nested := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%sk:\n", strings.Repeat(" ", i))
		}
		return b.String()
	}
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		laughs += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"laughs":   {laughs, "an anchor"},
		"alias":    {"a: *a", "an alias"},
		"brackets": {strings.Repeat("[", 100_000), "words and marks"},
		"few":      {strings.Repeat("[", 1000), "nested deeper than 32"},
		"braces":   {strings.Repeat("{a: ", 1000), "nested deeper than 32"},
		"dashes":   {strings.Repeat("- ", 1000), "nested deeper than 32"},
		"lines":    {nested(500), "nested deeper than 32"},
		"complex":  {strings.Repeat("? ", 1000), "a complex key"},
		"keys":     {strings.Repeat("a:\n", 15_000), "words and marks"},
		"large":    {"name: " + strings.Repeat("x", maxBytes), "at most 1048576 are read"},
		"nul":      {"name: a\x00b", "1:8: control character 0x00"},
		"escape":   {"name: \x1b[31m", "1:7: control character 0x1b"},
		"latin":    {"name: Gr\xfc\xdfe", "1:9: byte 0xfc is not UTF-8"},
		"utf16":    {"\xff\xfen\x00", "1:1: byte 0xff is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, err := Parse("rollcall.yaml", []byte(c.text), testEnv())
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil || !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("want %q, got %.300v", c.want, err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it was not refused within 5 s")
			}
		})
	}
}

func TestLoad(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "rollcall.yaml")
	if _, err := Load(path, Env{}); !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), "rollcall init") {
		t.Errorf("missing: %v", err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rollcall.yaml", bytes.Repeat([]byte("#\n"), maxBytes))
	if _, err := Load(path, Env{}); !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), "too large") {
		t.Errorf("too large: %v", err)
	}
	// A file beside the pipeline file, and the environment of the process.
	write("name.txt", []byte("from-file\n"))
	t.Setenv("ROLLCALL_TEST_DESTINATION", "from-env")
	text := strings.NewReplacer("billing", `"${file:name.txt}"`, "orders", `"${ROLLCALL_TEST_DESTINATION}"`).Replace(shortest5)
	write("rollcall.yaml", []byte(text))
	f, err := Load(path, Env{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "from-file" || f.Source.Embedded.Destination != "from-env" || f.Path() != path {
		t.Errorf("%+v", f)
	}
	write("name.txt", bytes.Repeat([]byte("x"), 64<<10+1))
	if _, err := Load(path, Env{}); err == nil || !strings.Contains(err.Error(), "more than 65536 bytes") {
		t.Errorf("a large ${file:}: %v", err)
	}
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		"${N}":                    "12",
		"a${N}b${N}":              "a12b12",
		"${EMPTY}":                "",
		"${EMPTY:-x}":             "x",
		"${NOTHING:-}":            "",
		"${NOTHING:-a:-b}":        "a:-b",
		"$${N}":                   "${N}",
		"$N $ {N}":                "$N $ {N}",
		"${file:secret}":          "s3cr3t-dsn",
		"$${${N}}":                "${12}",
		"${NOTHING:-$}${SECRET}x": "$hunter2hunter2x",
	} {
		got, err := expand(in, testEnv(), &Redactor{values: map[string]string{}})
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	// What came in is not looked at again.
	env := Env{Lookup: func(string) (string, bool) { return "${SECRET}", true }}
	if got, err := expand("${A}", env, &Redactor{values: map[string]string{}}); err != nil || got != "${SECRET}" {
		t.Errorf("expanded twice: %q, %v", got, err)
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"14d": 14 * 24 * time.Hour, "1d12h": 36 * time.Hour, "100ms": 100 * time.Millisecond, "1h30m": 90 * time.Minute, "0s": 0,
	} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "14", "d", "-1d", "1.5d", "1d-1h", "1dx", "d1h", "14 d", "99999999d"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q was taken: %v", in, got)
		}
	}
}

func TestErrorPointsAtValues(t *testing.T) {
	e := &Error{File: "f", Line: 1, Column: 3, What: "x", Source: "\ta\x1bb\u202e"}
	if got := e.Error(); got != "f:1:3: x\n    \ta·b\u202e\n    \t ^" {
		t.Errorf("%q", got)
	}
}
