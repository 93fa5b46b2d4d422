package main

import (
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/programtest"
)

const want = "0 pieces left at version 30"

func TestRun(t *testing.T) {
	if out := programtest.Run(t, programtest.Build(t)); !strings.Contains(out, want) {
		t.Fatal(out)
	}
}

func TestKilled(t *testing.T) {
	programtest.KilledTwice(t, programtest.Program{After: "sent", Query: "SELECT version FROM stock", Total: 30, Want: want})
}
