package main

import (
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/programtest"
)

const right = "payments: 1\n"

func TestRun(t *testing.T) {
	if out := programtest.Run(t, programtest.Build(t)); !strings.HasSuffix(out, right) {
		t.Fatal(out)
	}
}

// TestKilled kills the server between fn and COMMIT, twice, and clicks again:
// the payment that was not committed is made once, and not again by the run
// after it.
func TestKilled(t *testing.T) {
	binary, folder := programtest.Build(t), t.TempDir()
	for range 2 {
		programtest.Kill(t, "paid, COMMIT comes in", func() bool { return true }, binary, "-folder", folder, "-pause", "30s")
	}
	for range 2 {
		out := programtest.Run(t, binary, "-folder", folder)
		if !strings.HasSuffix(out, right) || !strings.Contains(out, `click again:      200 {"Payment":1,`) {
			t.Fatal(out)
		}
	}
}
