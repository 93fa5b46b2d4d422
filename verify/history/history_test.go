package history_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rollcall-mq/rollcall/verify/history"
)

func TestKeepsWhatWasWrittenBeforeAKill(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a@1", "a@2", "ab@3"} {
		w, err := history.Create(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range []history.What{history.Send, history.Stored} {
			if err := w.Add(history.Event{PID: 7, What: what, Orders: []string{"order-1"}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	torn := filepath.Join(dir, "a@2.jsonl")
	text, err := os.ReadFile(torn)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(torn, text[:len(text)-9], 0o600); err != nil {
		t.Fatal(err)
	}
	events, err := history.Load(dir, "a@")
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 3 {
		t.Fatalf("%d events, want the two of one and the whole one of the other", len(events))
	}
	for i := 1; i < len(events); i++ {
		if events[i].Time.Before(events[i-1].Time) {
			t.Error("not in the order of time")
		}
	}
	if err := os.WriteFile(torn, append([]byte("{\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Load(dir, "a@"); err == nil {
		t.Error("a broken line in the middle passes for a torn end")
	}
}
