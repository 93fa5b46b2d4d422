package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/programtest"
)

const want = "20 orders: 40 calls took effect, 40 of them different"

func TestRun(t *testing.T) {
	if out := programtest.Run(t, programtest.Build(t)); !strings.Contains(out, want) || strings.Contains(out, "parked") {
		t.Fatal(out)
	}
}

// TestKilled kills program and receivers twice in the middle of the calls.
func TestKilled(t *testing.T) {
	programtest.KilledTwice(t, programtest.Program{After: "calling", Query: "SELECT 40 - count(*) FROM rollcall_outbox", Total: 40, Want: want})
}

// TestKilledInDoubt kills between what a receiver did and its answer: the bank
// gets the call again and absorbs it, the mailer's lies parked until it was asked.
func TestKilledInDoubt(t *testing.T) {
	for _, c := range []struct{ receiver, shown string }{{"bank", ""}, {"mail", "parked: http:mail for order-"}} {
		binary, folder := programtest.Build(t), t.TempDir()
		done := func() bool { return did(t, folder, c.receiver) == 3 }
		programtest.Kill(t, "calling", done, binary, "-folder", folder, "-pause", "500ms")
		out := programtest.Run(t, binary, "-folder", folder)
		if !strings.Contains(out, want) || !strings.Contains(out, c.shown) || strings.Count(out, "parked: ") != strings.Count(c.shown, "parked: ") {
			t.Fatalf("killed between effect and answer of the %s:\n%s", c.receiver, out)
		}
		t.Log(out)
		if out := programtest.Run(t, binary, "-folder", folder); !strings.Contains(out, want) || strings.Contains(out, "parked") {
			t.Fatal(out)
		}
	}
}

// did reads the ledger beside the program.
func did(t *testing.T, folder, receiver string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "ledger.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.QueryRow(`SELECT count(*) FROM done WHERE receiver = ?`, receiver).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
