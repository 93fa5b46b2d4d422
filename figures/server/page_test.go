package server

import (
	"encoding/json"
	"os"
	"testing"
)

// TestPage compares the pages with the figures that the command wrote.
func TestPage(t *testing.T) {
	comparePage(t, "../../docs/figures-postgres")
	comparePage(t, "../../docs/figures-mysql")
	comparePage(t, "../../docs/figures-kafka")
}

func comparePage(t *testing.T, base string) {
	t.Helper()
	text, err := os.ReadFile(base + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var p Page
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{base + ".md": p.Markdown(), base + ".svg": p.SVG()} {
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what its figures say; run: UPDATE=1 go test -run TestPage ./figures/server", name)
		}
	}
}
