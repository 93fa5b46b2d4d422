package main

import (
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/programtest"
)

const want = "60 orders became 60 invoice lines of 457500 cents"

func TestRun(t *testing.T) {
	if out := programtest.Run(t, programtest.Build(t)); !strings.Contains(out, want) {
		t.Fatal(out)
	}
}

func TestKilled(t *testing.T) {
	programtest.KilledTwice(t, programtest.Program{After: "sent", Query: "SELECT orders FROM seen", Total: 60, Want: want})
}
