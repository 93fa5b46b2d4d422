package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall/audit"
)

type auditNote struct {
	Type string `json:"type"`
	audit.Note
}

type auditSummary struct {
	Type        string                        `json:"type"`
	Verb        string                        `json:"verb"`
	Destination string                        `json:"destination"`
	Group       string                        `json:"group,omitempty"`
	Time        time.Time                     `json:"time"`
	Lives       int                           `json:"lives"`
	Lanes       int                           `json:"lanes"`
	Findings    int                           `json:"findings"`
	Missing     uint64                        `json:"missing"`
	Lost        uint64                        `json:"lost"`
	Sealed      bool                          `json:"sealed"`
	Detectors   map[audit.Detector]audit.Sums `json:"detectors"`
	Behind      map[audit.Detector]uint64     `json:"behind"`
	Aside       audit.Aside                   `json:"aside"`
	audit.Traffic
	Holes []audit.HoleReport `json:"holes,omitempty"`
}

type repeatObject struct {
	Type string `json:"type"`
	audit.Repeat
}

// print prints a report.
func (o *auditOptions) print(a *app, in *audited, r *audit.Report, holes []audit.HoleReport) error {
	if a.json {
		return o.printJSON(a, in, r, holes)
	}
	of := r.Destination
	if r.Group != "" {
		of += ", group " + r.Group
	}
	a.say("audit of %s at %s: %d lives", of, r.Time.UTC().Format(time.RFC3339), r.Lives)
	o.table(a, r)
	if x := r.Aside; x != (audit.Aside{}) {
		a.say("of those present at effect %d are dead, %d parked, %d waiting: rollcall dead list", x.Dead, x.Parked, x.Waiting)
	}
	for i := range r.Findings {
		printFinding(a, &r.Findings[i])
	}
	if r.Untold > 0 {
		a.say("and %d findings more: --json with --since or a smaller destination lists them", r.Untold)
	}
	if o.lanes {
		for i := range r.Lanes {
			printLane(a, &r.Lanes[i])
		}
	}
	for i := range r.Lanes {
		printTwice(a, &r.Lanes[i])
	}
	for _, x := range r.Repeats {
		a.say("REPEATED: message %s without a stamp, at partition %d, offset %d, and again at partition %d, offset %d", oneLine(x.MessageID),
			x.First.Partition, x.First.Offset, x.Again.Partition, x.Again.Offset)
	}
	for _, h := range holes {
		a.say("%d offsets carry no message: %s", h.Offsets, cmp.Or(string(h.Cause), "nobody can explain them"))
	}
	for _, n := range r.Notes {
		a.say("note: %s", oneLine(n.Text))
		a.say("      next: %s", n.Next)
	}
	return nil
}

// table prints the sums, a column a detector; rows of zeros only where they matter.
func (o *auditOptions) table(a *app, r *audit.Report) {
	row := func(name string, always bool, value func(audit.Sums) uint64) {
		line, any := fmt.Sprintf("  %-22s", name), always
		for _, by := range r.Detectors {
			n := value(r.Totals[by])
			any = any || n > 0
			line += fmt.Sprintf("%14d", n)
		}
		if any {
			a.say("%s", line)
		}
	}
	head := fmt.Sprintf("  %-22s", "numbers")
	for _, by := range r.Detectors {
		head += fmt.Sprintf("%14s", "at "+by)
	}
	a.say("%s", head)
	row("stored (books)", true, func(s audit.Sums) uint64 { return s.Stored })
	row("present", true, func(s audit.Sums) uint64 { return s.Present })
	row("missing", true, func(s audit.Sums) uint64 { return s.Missing })
	row("  open", false, func(s audit.Sums) uint64 { return s.Open })
	row("  suspected", false, func(s audit.Sums) uint64 { return s.Suspected })
	row("  lost", false, func(s audit.Sums) uint64 { return s.Lost })
	row("waived", false, func(s audit.Sums) uint64 { return s.Waived })
	row("late", false, func(s audit.Sums) uint64 { return s.Late })
	row("void", false, func(s audit.Sums) uint64 { return s.Void })
	row("unknown", false, func(s audit.Sums) uint64 { return s.Unknown })
	row("further copies", false, func(s audit.Sums) uint64 { return s.Duplicates })
	row("out of order", false, func(s audit.Sums) uint64 { return s.Disorder })
	row("to go", false, func(s audit.Sums) uint64 { return s.ToGo })
	behind := fmt.Sprintf("  %-22s", "log not worked off")
	any := false
	for _, by := range r.Detectors {
		behind += fmt.Sprintf("%14d", r.Behind[by])
		any = any || r.Behind[by] > 0
	}
	if any {
		a.say("%s", behind)
	}
	row("in flight", false, func(s audit.Sums) uint64 { return s.InFlight })
	row("not audited", false, func(s audit.Sums) uint64 { return s.Before })
}

// printFinding prints one finding with its evidence.
func printFinding(a *app, f *audit.Finding) {
	what := fmt.Sprintf("number %s", f.Numbers())
	if f.Count() > 1 {
		what = fmt.Sprintf("%d numbers, %s", f.Count(), f.Numbers())
	}
	a.say("%s at %s: %s of lane %s, %s", strings.ToUpper(string(f.Verdict)), f.By, what, laneText(f.Key.Lane, f.Lane), senderText(f.Sender, f.Key))
	a.say("  id      %s", f.ID)
	if f.Cause != "" {
		a.say("  why     %s", f.Cause.Why())
	}
	if !f.Since.IsZero() {
		a.say("  since   %s", f.Since.UTC().Format(time.RFC3339))
	}
	printNeighbour(a, "before", f.Before)
	printNeighbour(a, "after", f.After)
	if f.Lies != nil {
		a.say("  lies    in partition %d at offset %d", f.Lies.Partition, f.Lies.Offset)
	}
	if next := f.Cause.Next(); next != "" {
		a.say("  next    %s", next)
	}
}

// printTwice says which numbers lie in the destination more than once.
func printTwice(a *app, l *audit.LaneReport) {
	if len(l.Again) == 0 {
		return
	}
	a.say("DUPLICATE at %s: %d further copies in lane %s, %s: harmless to who keeps rolls", l.By, l.Sums.Duplicates, laneText(l.Key.Lane, l.Name), senderText(l.Sender, l.Key))
	var numbers []string
	for _, x := range l.Again {
		numbers = append(numbers, fmt.Sprintf("%d (partition %d, offset %d)", x.Number, x.At.Partition, x.At.Offset))
	}
	more := ""
	if l.Sums.Duplicates > uint64(len(l.Again)) {
		more = fmt.Sprintf(", and %d more", l.Sums.Duplicates-uint64(len(l.Again)))
	}
	a.say("  again   %s%s", strings.Join(numbers, ", "), more)
}

func printNeighbour(a *app, what string, n *audit.Neighbour) {
	if n == nil {
		return
	}
	at := ""
	if n.Offset >= 0 {
		at = fmt.Sprintf(", partition %d, offset %d", n.Partition, n.Offset)
	}
	a.say("  %-7s number %d%s, %s", what, n.Number, at, n.Time.UTC().Format(time.RFC3339Nano))
}

func printLane(a *app, l *audit.LaneReport) {
	s := l.Sums
	a.say("lane %s at %s, %s, %s: stored %d, present %d, missing %d, void %d, unknown %d, to go %d, highest %d", laneText(l.Key.Lane, l.Name), l.By,
		senderText(l.Sender, l.Key), l.State, s.Stored, s.Present, s.Missing, s.Void, s.Unknown, s.ToGo, l.High)
}

func laneText(lane uint32, name string) string {
	if name == "" || name == fmt.Sprint(lane) {
		return fmt.Sprint(lane)
	}
	return fmt.Sprintf("%d (%s)", lane, oneLine(name))
}

func senderText(name string, key audit.LaneKey) string {
	if name == "" {
		return "life " + key.Life.String()
	}
	return fmt.Sprintf("%s (life %s)", oneLine(name), key.Life)
}

func (o *auditOptions) printJSON(a *app, in *audited, r *audit.Report, holes []audit.HoleReport) error {
	var objects []any
	for i := range r.Findings {
		objects = append(objects, r.Findings[i].Object())
	}
	if o.lanes {
		for i := range r.Lanes {
			objects = append(objects, r.Lanes[i].Object())
		}
	}
	for _, x := range r.Repeats {
		objects = append(objects, repeatObject{"repeat", x})
	}
	for _, n := range r.Notes {
		objects = append(objects, auditNote{"note", n})
	}
	sum := auditSummary{Type: "summary", Verb: "audit", Destination: r.Destination, Group: r.Group, Time: r.Time.UTC(), Lives: r.Lives,
		Lanes: len(r.Lanes), Findings: len(r.Findings) + r.Untold, Sealed: in.watch.Sealed(r), Detectors: r.Totals, Behind: r.Behind, Aside: r.Aside, Traffic: r.Traffic, Holes: holes}
	for _, s := range r.Totals {
		sum.Missing, sum.Lost = max(sum.Missing, s.Missing), max(sum.Lost, s.Lost)
	}
	for _, x := range append(objects, sum) {
		if err := a.object(x); err != nil {
			return err
		}
	}
	return nil
}
