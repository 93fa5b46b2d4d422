package figures

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func load(t *testing.T) (p Page) {
	t.Helper()
	raw, err := os.ReadFile("../docs/figures.json")
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPage compares docs/figures.md and .svg with docs/figures.json, which
// `rollcall bench` writes. UPDATE=1 writes them anew.
func TestPage(t *testing.T) {
	p := load(t)
	for name, want := range map[string]string{"figures.md": p.Markdown(), "figures.svg": p.SVG()} {
		path := filepath.Join("../docs", name)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("docs/%s is not what docs/figures.json says (%v): UPDATE=1 go test -run TestPage ./figures", name, err)
		}
	}
}

var marked = regexp.MustCompile(`<!-- figure: ([^>]+) -->([^<]*)<!-- -->`)

// TestMarkedNumbers: numbers in the README and the pages that come from a
// figure are marked with its name, and are the file's.
func TestMarkedNumbers(t *testing.T) {
	shares := map[string]string{}
	for _, f := range load(t).Figures {
		shares[f.Name] = Percent(f.Share)
	}
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(pages, "../README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range marked.FindAllStringSubmatch(string(text), -1) {
			found++
			if want, ok := shares[m[1]]; !ok || m[2] != want {
				t.Errorf("%s says %q of %q, docs/figures.json %q", path, m[2], m[1], want)
			}
		}
	}
	if found == 0 {
		t.Error("no page marks a number: the test looks at nothing")
	}
}

// TestRun measures with few rows: the run itself, not the figures.
func TestRun(t *testing.T) {
	p, err := Run(t.Context(), Config{Messages: 1000})
	if err != nil || len(p.Figures) != len(ways())+len(textbook())+1 || p.SQLite == "" {
		t.Fatalf("%+v: %v", p, err)
	}
	for _, f := range p.Figures {
		if f.Rate <= 0 || f.F <= 0 || f.Share <= 0 {
			t.Errorf("%+v", f)
		}
	}
}

// TestRunStopped: a run that is stopped leaves no folder behind.
func TestRunStopped(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	stop := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := Run(ctx, Config{Messages: 1000, Begin: func(_ string, at, _ int) {
		if at == 2 {
			cancel(stop)
		}
	}})
	left, _ := os.ReadDir(dir)
	if !errors.Is(err, stop) || len(left) != 0 {
		t.Fatalf("%v, left behind: %v", err, left)
	}
}
