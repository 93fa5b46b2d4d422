package rollcall_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeDemo compares the table in the README with docs/demo.txt, which the
// command beside it wrote.
func TestReadmeDemo(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("docs/demo.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "<!-- demo: ")
	_, rest, _ = strings.Cut(rest, "```\n")
	block, _, ok := strings.Cut(rest, "```\n<!-- /demo -->")
	if !ok || block != string(table) {
		t.Fatalf("the README shows\n%s\nand docs/demo.txt has\n%s", block, table)
	}
}
