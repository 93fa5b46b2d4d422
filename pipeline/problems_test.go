package pipeline

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-mq/rollcall"
)

// testEnv is where references come from in tests.
func testEnv() Env {
	return Env{
		Lookup: func(name string) (string, bool) {
			values := map[string]string{
				"EMPTY":  "",
				"N":      "12",
				"SECRET": "hunter2hunter2",
				"INJECT": "a\nbatch: 7\nstore: {redis: x}",
			}
			v, ok := values[name]
			return v, ok
		},
		ReadFile: func(path string) ([]byte, error) {
			files := map[string]string{"secret": "s3cr3t-dsn\r\n", "binary": "a\x00b"}
			if text, ok := files[path]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	}
}

// TestProblems compares every mistake with what a user reads about it, in
// testdata/problems.txt (UPDATE=1 writes what is read now).
func TestProblems(t *testing.T) {
	data, err := os.ReadFile("testdata/problems.txt")
	if err != nil {
		t.Fatal(err)
	}
	var updated strings.Builder
	cases := strings.Split("\n"+string(data), "\n=== ")[1:]
	if len(cases) < 30 {
		t.Fatalf("%d cases, some are lost", len(cases))
	}
	for _, c := range cases {
		name, rest, _ := strings.Cut(c, "\n")
		text, want, ok := strings.Cut(rest+"\n", "--- want\n")
		if !ok {
			t.Fatalf("case %s has no line --- want", name)
		}
		want = strings.TrimRight(want, "\n")
		t.Run(name, func(t *testing.T) {
			_, err := Parse("rollcall.yaml", []byte(text), testEnv())
			if err == nil {
				t.Fatal("it was taken")
			}
			if !errors.Is(err, rollcall.ErrConfig) {
				t.Errorf("%v is not ErrConfig", err)
			}
			got := err.Error()
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret is printed:\n%s", got)
			}
			updated.WriteString("=== " + name + "\n" + text + "--- want\n" + got + "\n")
			if diff := cmp.Diff(want, got); diff != "" && os.Getenv("UPDATE") == "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("testdata/problems.txt", []byte(updated.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
