package main

import (
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/programtest"
)

const want = "ann has 300"

func TestRun(t *testing.T) {
	if out := programtest.Run(t, programtest.Build(t)); !strings.Contains(out, want) {
		t.Fatal(out)
	}
}

func TestKilled(t *testing.T) {
	programtest.KilledTwice(t, programtest.Program{After: "sent", Query: "SELECT 1000 - balance FROM account", Total: 700, Want: want})
}
