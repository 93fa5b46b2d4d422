package queue

import (
	"encoding/json"
	"os"
	"testing"
)

const pagePath = "../../docs/figures-queues"

// TestPage: the page says what its figures say.
func TestPage(t *testing.T) {
	data, err := os.ReadFile(pagePath + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var p Page
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pagePath + ".md")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != p.Markdown() {
		t.Error("docs/figures-queues.md is not what docs/figures-queues.json says")
	}
}

// write keeps a run.
func (p Page) write(t testing.TB) {
	t.Helper()
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pagePath+".json", append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pagePath+".md", []byte(p.Markdown()), 0o644); err != nil {
		t.Fatal(err)
	}
}
