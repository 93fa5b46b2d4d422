package guarantee

import (
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// Outcome is what becomes of a message under a fault. See the package comment.
type Outcome string

// The outcomes.
const (
	Once        Outcome = "once"
	OnceOrAside Outcome = "once or aside"
	Absorbed    Outcome = "absorbed"
	Stale       Outcome = "stale"
	Waits       Outcome = "waits"
	Refused     Outcome = "refused"
	Counted     Outcome = "lost, counted"
	Twice       Outcome = "twice possible"
	NotPromised Outcome = "not promised"
)

// Holds reports whether the outcome keeps the promise: nothing is lost and
// nothing takes effect twice.
func (o Outcome) Holds() bool { return o != Twice && o != NotPromised && o != Counted }

// answer is an outcome and what brings it about.
type answer struct {
	outcome   Outcome
	mechanism string
	record    bool // a record that is swept after the window
}

// Line is what happens under one fault.
type Line struct {
	Fault     string
	Outcome   Outcome
	Mechanism string
	Window    string // how long that holds: "14d"; empty: as long as the row or the log
	// Shown names what shows the fault: a test function, a "case" of the
	// conformance kits (docs/kit-cases.md), a "scenario" or column of the
	// "model" (docs/model.md), a "script" of the command. Empty: reasoned only.
	Shown string
}

// Report is what a configuration promises.
type Report struct {
	Verdict    string // one line
	Records    string // what recognises a repeat, auto resolved
	Window     string
	Lines      []Line
	Conditions []string
}

// Later reports whether the configuration needs a driver that is not in this
// version: then nothing is promised.
func (s Setup) Later() bool { return !s.Broker.Now || !s.Store.Now }

// Report says what the configuration promises under each fault. It is for
// configurations that Refuse does not refuse.
func (s Setup) Report() Report {
	s = s.withDefaults()
	r := Report{Records: s.records().names(s), Window: Span(s.Window)}
	all := slices.Clone(faults)
	if len(s.HTTP) > 0 {
		all = append(all, httpFaults...)
	}
	if len(s.Redis) > 0 {
		all = append(all, redisFaults...)
	}
	if len(s.Publish) > 0 {
		all = append(all, publishFaults...)
	}
	for i := range all {
		f := &all[i]
		a, window := f.of(s), ""
		if f.within && a.record {
			window = r.Window
		}
		r.Lines = append(r.Lines, Line{f.name, a.outcome, a.mechanism, window, f.shownWith(s.Broker, s.Store)})
	}
	r.Conditions = s.conditions()
	r.Verdict = s.verdict(r.Lines)
	return r
}

func (s Setup) verdict(lines []Line) string {
	if s.Later() {
		return fmt.Sprintf("nothing is promised: %s with %s is not in this version", s.Broker.Name, s.Store.Name)
	}
	open := 0
	for i := range lines {
		if lines[i].Outcome == Twice {
			open++
		}
	}
	const promise = "each message takes effect once or lies aside; "
	switch open {
	case 0:
		return promise + "every repeat listed is recognised"
	case 1:
		return promise + "1 kind of repeat is not recognised"
	}
	return fmt.Sprintf("%s%d kinds of repeats are not recognised", promise, open)
}

// conditions are what the user must keep.
func (s Setup) conditions() []string {
	r := s.records()
	out := []string{
		"log and store keep what they committed: sync is not switched off, and they are backed up and restored together",
		"effects are made through the transaction that the handler gets (table effects are)",
	}
	if r.any() {
		out = append(out, s.windowCondition())
	}
	switch {
	case r.ownID:
		out = append(out, "a program that sends again after a restart gives its messages ids of its own")
	case r.key || s.byMode(anew).outcome != Twice:
	case r.stamp:
		out = append(out, "no program sends again after a restart, but from an outbox or with send FILE: give dedup.key, or use auto with ids")
	default:
		out = append(out, "nothing is ever sent again, not even by send FILE or an outbox: only redeliveries are recognised; use auto, or give dedup.key")
	}
	switch {
	case slices.Contains(s.Key, "content"):
		out = append(out, "two messages with the same body are one: honest repeats are swallowed")
	case r.key:
		out = append(out, s.keyName()+" means the same piece of business, and is in every message: one without it goes aside, and one with other content counts as a repeat all the same")
	}
	for i := range s.Tables {
		out = append(out, tableConditions(&s.Tables[i])...)
	}
	out = append(append(out, s.Broker.Conditions...), s.Store.Conditions...)
	if s.DeadKeep > 0 {
		out = append(out, "somebody looks at dead letters within "+Span(s.DeadKeep)+" (dead_letters.keep): then they are discarded, counted, and only the operator log keeps their bodies; parked ones stay")
	}
	return slices.Concat(out, s.httpConditions(), s.redisConditions(), s.publishConditions())
}

func (s Setup) windowCondition() string {
	text := "a repeat comes within " + Span(s.Window)
	switch {
	case s.Broker.Name == Kafka.Name && s.Late == 0:
		return text + " (dedup.window); run asks the topic for its retention, and refuses a longer one"
	case s.Broker.Queue() && s.Late == 0:
		return text + " (dedup.window): no message lies unread longer, in the queue or among its dead letters, which keep no time; say how long one may with source.late, and run compares and warns"
	case s.Retention == 0 && s.Late == 0:
		return text + " (dedup.window); the file says neither a retention nor source.late to compare with"
	case s.Retention == 0:
		return text + " (dedup.window; source.late is " + Span(s.Late) + ")"
	}
	return text + " (dedup.window; messages are kept for " + Span(s.Retention) + ")"
}

// tableConditions are what run verifies in the database before it begins, and
// what it cannot.
func tableConditions(t *effect.Table) (out []string) {
	if len(t.Key) > 0 {
		text := "run verifies that the unique index on " + columns(t) + " exists and compares binary"
		switch {
		case t.Mode == effect.Upsert && len(t.Decide) == 0:
			text += " and that it is the only one"
		case t.Mode == effect.Upsert:
			text += "; it decides, a conflict with another index sets the message aside"
		}
		out = append(out, text)
	}
	if ordered(t) {
		out = append(out, "messages of one row of "+t.Name+" have one Key: order is kept per Key, and an empty Key has none")
	}
	return out
}

// none: the configuration records nothing.
func (s Setup) none() bool { return slices.Contains(s.By, rollcall.ByNone) }

// Of lists the faults that have an outcome.
func (r *Report) Of(o Outcome) []string {
	out := []string{}
	for i := range r.Lines {
		if r.Lines[i].Outcome == o {
			out = append(out, r.Lines[i].Fault)
		}
	}
	return out
}
