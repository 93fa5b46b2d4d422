package main

import (
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/programtest"
)

func TestRun(t *testing.T) {
	if out := programtest.Run(t, programtest.Build(t)); !strings.Contains(out, "40 of 40 orders are delivered; 1 impossible event lies aside") {
		t.Fatal(out)
	}
}
