package guarantee

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const matrixHead = `# What is promised: strategy × broker × store × mode

Written by ` + "`UPDATE=1 go test -run TestMatrix ./pipeline/guarantee`" + ` from the functions that ` + "`rollcall check`" + ` prints.
In every cell that is not empty nothing is lost, and these repeats change nothing:

- R: the broker brings a message again: worker killed, reply to COMMIT lost, worker paused, rebalance, ack lost.
- T: the sender tries again with the same stamp, or sends the same file again.
- I: the sender, started anew, sends the message with the id that the application gave it.
- S: the application sends the same piece of business twice, under another id.

**An empty cell is not promised: ` + "`check`" + ` and ` + "`run`" + ` refuse it.** A cell in brackets is designed and not in this version
(later): it is refused too, and nothing is promised for it. All of it holds within ` + "`dedup.window`" + ` and under the
conditions that ` + "`check`" + ` prints ([guarantees.md](guarantees.md)).

` + "`dedup.key`" + ` is a key of the business, as payload.order_id; ` + "`key (id)`" + ` is by: key without one, for ids that the application
gives. The store redis holds claims only.

These are effects in tables. For one outside of the database there are http effects and, in code, rollcall.Record with claims in
SQL or in Redis, which promise different things: [guarantees.md](guarantees.md).
`

// TestMatrix compares docs/matrix.md with what the functions say. UPDATE=1
// writes it.
func TestMatrix(t *testing.T) {
	var b strings.Builder
	b.WriteString(matrixHead)
	var done []string
	for _, broker := range Brokers() {
		table := brokerTable(broker)
		names := []string{}
		for _, other := range Brokers() {
			if brokerTable(other) == table {
				names = append(names, other.Name)
			}
		}
		if slices.Contains(done, table) {
			continue
		}
		done = append(done, table)
		later := " (later)"
		if broker.Now {
			later = ""
		}
		fmt.Fprintf(&b, "\n## %s%s\n\n%s", strings.Join(names, ", "), later, table)
	}
	path := "../../docs/matrix.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Fatalf("docs/matrix.md is not what check says (%v): UPDATE=1 go test -run TestMatrix ./pipeline/guarantee", err)
	}
}

// brokerTable has the stores with the same cells in one row.
func brokerTable(broker Broker) string {
	var b strings.Builder
	b.WriteString("| dedup.by | store |")
	for _, s := range Shapes() {
		b.WriteString(" " + s.Name + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(Shapes())) + "\n")
	for _, s := range Strategies() {
		var rows, stores []string
		for _, store := range Stores() {
			row := strategyRow(broker, store, s)
			if i := slices.Index(rows, row); i >= 0 {
				stores[i] += ", " + store.Name
				continue
			}
			rows, stores = append(rows, row), append(stores, store.Name)
		}
		for i := range rows {
			fmt.Fprintf(&b, "| %s | %s |%s\n", s.Name, stores[i], rows[i])
		}
	}
	return b.String()
}

func strategyRow(broker Broker, store Store, s Strategy) string {
	var b strings.Builder
	for _, shape := range Shapes() {
		setup := Setup{Broker: broker, Store: store, By: s.By, Key: s.Key}
		setup.Tables = append(setup.Tables, shape.Table)
		cell := setup.Cell()
		if cell != "" && setup.Later() {
			cell = "(" + cell + ")"
		}
		b.WriteString(" " + cell + " |")
	}
	return b.String()
}
