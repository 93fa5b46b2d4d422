package guarantee

import (
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall"
)

// Refusal is a promise that cannot be kept.
type Refusal struct {
	Field string // as in the pipeline file: "dedup.by", "effect[0].table.mode"
	What  string
	Next  string
}

// Words of dedup.by that no pipeline can have.
const (
	// Lock is a strategy that is none: a lock alone proves nothing.
	Lock rollcall.Strategy = "lock"
	// Record stands beside an effect that is in no transaction of ours. Beside a
	// table it would promise less than the record in the table's transaction, and
	// a request has its own: its row in the outbox.
	Record rollcall.Strategy = "record"
)

// Refuse lists what of the configuration cannot hold.
func (s Setup) Refuse() []Refusal {
	s = s.withDefaults()
	out := append(s.refuseStore(), s.refuseBy()...)
	out = append(out, s.refuseWindow()...)
	return slices.Concat(out, s.refuseTables(), s.refuseHTTP(), s.refusePublish())
}

func (s Setup) refuseStore() []Refusal {
	if !s.Store.ClaimsOnly {
		return nil
	}
	return []Refusal{{"store", s.Store.Name + " cannot be the store: it holds claims only, and the effect must be recorded in the transaction that makes it",
		"use store: {sqlite: {path: shop.db}}"}}
}

func (s Setup) refuseBy() (out []Refusal) {
	for i, by := range s.By {
		field := fmt.Sprintf("dedup.by[%d]", i)
		switch {
		case by == Lock:
			out = append(out, Refusal{field, "dedup.by: lock is never alone: it ends when its holder is slow, and remembers nothing of what was done",
				"use auto, or key with dedup.key"})
		case by == Record:
			out = append(out, Refusal{field, "dedup.by: record is for effects outside of the database, in code (rollcall.Record); a table has its record in its own " +
				"transaction, and http: its request in the outbox", "use auto, or key with dedup.key"})
		case by == rollcall.ByPosition && !s.Broker.Positions:
			out = append(out, Refusal{field, "dedup.by: " + s.Broker.Name + " has no positions", "use stamp, key or auto"})
		}
	}
	return out
}

// refuseWindow: a message that the broker brings again after the window is New.
func (s Setup) refuseWindow() (out []Refusal) {
	if s.Retention > s.Window {
		out = append(out, Refusal{"source." + s.Broker.Name + ".retention",
			fmt.Sprintf("messages are kept for %s and can come again, but dedup.window is %s", Span(s.Retention), Span(s.Window)),
			"make dedup.window at least as long as the retention, or the retention shorter"})
	}
	if s.Late > s.Window {
		out = append(out, Refusal{"source.late",
			fmt.Sprintf("messages can come again %s late, but dedup.window is %s", Span(s.Late), Span(s.Window)),
			"make dedup.window at least " + Span(s.Late)})
	}
	return out
}

func (s Setup) refuseTables() (out []Refusal) {
	if !slices.Contains(s.By, rollcall.ByNone) {
		return nil
	}
	for i := range s.Tables {
		t := &s.Tables[i]
		if reason, needs := t.NeedsRecord(!s.Broker.Exclusive); needs {
			out = append(out, Refusal{fmt.Sprintf("effect[%d].table.mode", i),
				fmt.Sprintf("%s: dedup.by: none records nothing, and %s", t.Name, reason), "take by: none out of dedup"})
		}
	}
	return out
}
