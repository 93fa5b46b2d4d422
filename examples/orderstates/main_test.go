package main

import (
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/programtest"
)

// TestRun runs it twice on one folder: the second time changes nothing.
func TestRun(t *testing.T) {
	binary, folder := programtest.Build(t), t.TempDir()
	for range 2 {
		if out := programtest.Run(t, binary, "-folder", folder); !strings.Contains(out, "40 of 40 orders are delivered; 1 impossible event lies aside") {
			t.Fatal(out)
		}
	}
}
