package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fullWriter is a disk that is full.
type fullWriter struct{}

var errFull = errors.New("no space left")

func (fullWriter) Write([]byte) (int, error) { return 0, errFull }

// TestCutShort: a report or schema that could not be written is no success.
func TestCutShort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rollcall.yaml")
	text := "name: a\nsource: {embedded: {destination: b}}\nstore: {sqlite: {}}\n" +
		"effect: {table: {name: t, mode: insert, key: [id], columns: {id: payload.id}}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", file}, {"check", "--json", file}, {"schema"}, {"schema", "--json"}} {
		var errs strings.Builder
		a := newApp(strings.NewReader(""), fullWriter{}, io.Discard)
		a.err = &errs
		root := newRoot(a)
		root.SetArgs(args)
		if code := a.finish(root.Execute()); code != exitServer || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("%v: exit %d, %s", args, code, errs.String())
		}
	}
}
