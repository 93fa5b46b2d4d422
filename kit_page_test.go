package rollcall_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/broker/brokertest"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

// TestKitPage compares docs/kit-cases.md with the kits. UPDATE=1 writes it.
func TestKitPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Cases of the conformance kits\n\nWritten by `UPDATE=1 go test -run TestKitPage .`. Every driver passes its kit whole.\n\n## store/storetest\n\n")
	for _, c := range storetest.Cases[*memory.Tx]() {
		fmt.Fprintf(&b, "- %s\n", c.Name)
	}
	b.WriteString("\nOnce (`storetest.RunOnce`):\n\n")
	for _, c := range storetest.OnceCases[*memory.Tx]() {
		fmt.Fprintf(&b, "- %s\n", c.Name)
	}
	b.WriteString("\nClaims (`storetest.RunClaims`):\n\n")
	for _, c := range storetest.ClaimCases() {
		fmt.Fprintf(&b, "- %s\n", c.Name)
	}
	b.WriteString("\nRecord and Lock (`storetest.RunClaims` too):\n\n")
	for _, c := range storetest.RecordCases() {
		fmt.Fprintf(&b, "- %s\n", c.Name)
	}
	b.WriteString("\n## broker/brokertest\n\n")
	for _, c := range brokertest.Cases() {
		fmt.Fprintf(&b, "- %s\n", c.Name)
	}
	const path = "docs/kit-cases.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != b.String() {
		t.Fatalf("%s is not what the kits say (%v): UPDATE=1 go test -run TestKitPage .", path, err)
	}
}

// protocolCases are the cases that the design demands by name.
var protocolCases = []string{"create-row", "batch-stamp", "sleeper", "own-old-batch", "sweep-dead", "late-acquire", "claim-dead", "other-number",
	"redrive-key", "redrive-any", "failed-run", "attempt-due", "dead-shortcut", "stored-behind", "doubt-overtaken", "doubt-guessed", "fold-gap",
	"key-order", "roll-order", "no-deadline", "settle-first", "poison-kills", "parked-twice", "self-wait", "behind-key", "early-waits",
	"offset-holes", "key-held", "key-held-twice", "all-suspect"}

func TestProtocolCasesAreThere(t *testing.T) {
	have := make(map[string]bool)
	for _, c := range storetest.Cases[*memory.Tx]() {
		if have[c.Name] {
			t.Errorf("case %s is there twice", c.Name)
		}
		have[c.Name] = true
	}
	for _, name := range protocolCases {
		if !have[name] {
			t.Errorf("the kit has no case %s", name)
		}
	}
}
