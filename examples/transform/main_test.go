package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/rollcall-mq/rollcall/internal/programtest"
)

func TestRun(t *testing.T) {
	if out := programtest.Run(t, programtest.Build(t)); !strings.Contains(out, "60 orders became 60 invoice lines of 457500 cents") {
		t.Fatal(out)
	}
}

// TestKilled kills the program twice in the middle of its work, and runs it to
// the end twice: the second time changes nothing.
func TestKilled(t *testing.T) {
	binary, folder := programtest.Build(t), t.TempDir()
	args := []string{"-folder", folder, "-pause", "5ms"}
	done := 0
	for range 2 {
		before := done
		programtest.Kill(t, "sent", func() bool {
			done = progress(t, folder)
			return done > before && done < 60
		}, binary, args...)
		t.Logf("killed with %d of 60 done", done)
	}
	for range 2 {
		if out := programtest.Run(t, binary, args...); !strings.Contains(out, "60 orders became 60 invoice lines of 457500 cents") {
			t.Fatal(out)
		}
	}
}

// progress is how much is done, read beside the program.
func progress(t *testing.T, folder string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "store.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(`SELECT orders FROM seen`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
