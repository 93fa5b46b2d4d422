package model

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestMatrix explores every cell and compares with matrix.json, which demo and
// the crash campaign are held against. UPDATE=1 writes it.
func TestMatrix(t *testing.T) {
	m := Build()
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("matrix.json", text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("matrix.json"); err != nil || string(got) != string(text) {
		t.Fatalf("matrix.json is not what the exploration says (%v): UPDATE=1 go test -run TestMatrix ./verify/model\n%s", err, table(m))
	}
	t.Logf("\n%s", table(m))
}

// TestSafe: what rollcall promises holds in every column, but where a
// strategy says that it does not see such repeats.
func TestSafe(t *testing.T) {
	m := Load()
	for _, row := range m.Rows {
		strategy, _, ours := strings.Cut(strings.TrimPrefix(row.Name, "rollcall "), " on ")
		if !ours {
			continue
		}
		for i, c := range row.Cells {
			passes := m.Columns[i] == "same id, new number" && strategy != "auto" && strategy != "key" ||
				strings.Contains(m.Columns[i], "sent again") && strategy == "position" || strategy == "none"
			if c != "-" && !passes {
				t.Errorf("%s under %q: %s", row.Name, m.Columns[i], c)
			}
			if strings.Contains(c, "l") {
				t.Errorf("%s under %q loses", row.Name, m.Columns[i])
			}
		}
	}
}

func table(m Matrix) string {
	var b strings.Builder
	b.WriteString("| | " + strings.Join(m.Columns, " | ") + " |\n|---" + strings.Repeat("|---", len(m.Columns)) + "|\n")
	for _, r := range m.Rows {
		b.WriteString("| " + r.Name + " | " + strings.Join(r.Cells, " | ") + " |\n")
	}
	return b.String()
}
