package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall/pipeline"
	"github.com/rollcall-mq/rollcall/pipeline/guarantee"
)

const checkHelp = `Reads the pipeline file, connects to nothing, and says what it promises: for
each fault what happens to a message, by which mechanism and within which
window. A file with mistakes, or one that promises what cannot hold, is refused
with line and caret (exit 2).

  once              takes effect once
  once or aside     takes effect once, or lies aside with its bytes and the reason
  absorbed          the repeat is recognised and changes nothing
  stale             the row has that version or state already; nothing changes
  waits             nothing happens until somebody acts; nothing is lost
  refused           rollcall stops and says why; nothing is lost
  lost, counted     gone before it was worked off; counted as missing
  twice possible    a repeat may take effect again
  not promised      do not count on it`

func newCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check [flags] [FILE]",
		Short: "what the pipeline file promises under each fault, or why it is refused",
		Long:  checkHelp,
		Args:  atMostOne("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			path := fileArgument(args)
			f, err := pipeline.Load(path, pipeline.Env{})
			if err != nil {
				return err
			}
			a.redactor = f.Redactor()
			r := f.Setup().Report()
			if a.json {
				return checkObjects(a, f, &r)
			}
			return a.page(checkPage(a.redactor, f, &r))
		},
	}
}

type checkFault struct {
	Type      string            `json:"type"`
	Fault     string            `json:"fault"`
	Outcome   guarantee.Outcome `json:"outcome"`
	Holds     bool              `json:"holds"`
	Mechanism string            `json:"mechanism"`
	Window    string            `json:"window,omitempty"`
	Shown     string            `json:"shown,omitempty"`
}

type checkSummary struct {
	Type        string   `json:"type"`
	Verb        string   `json:"verb"`
	File        string   `json:"file"`
	Name        string   `json:"name"`
	Verdict     string   `json:"verdict"`
	Records     string   `json:"records"`
	Window      string   `json:"window"`
	Faults      int      `json:"faults"`
	Twice       []string `json:"twice_possible"`
	NotPromised []string `json:"not_promised"`
	Conditions  []string `json:"conditions"`
}

func checkObjects(a *app, f *pipeline.File, r *guarantee.Report) error {
	for _, l := range r.Lines {
		if err := a.object(checkFault{"fault", l.Fault, l.Outcome, l.Outcome.Holds(), a.redactor.Text(l.Mechanism), l.Window, l.Shown}); err != nil {
			return err
		}
	}
	conditions := make([]string, len(r.Conditions))
	for i, c := range r.Conditions {
		conditions[i] = a.redactor.Text(c)
	}
	return a.object(checkSummary{"summary", "check", f.Path(), a.redactor.Text(f.Name), r.Verdict, a.redactor.Text(r.Records), r.Window, len(r.Lines),
		r.Of(guarantee.Twice), r.Of(guarantee.NotPromised), conditions})
}

// checkPage is the report for people, 80 columns wide.
func checkPage(redactor *pipeline.Redactor, f *pipeline.File, r *guarantee.Report) string {
	var b strings.Builder
	text := func(s string) string { return oneLine(redactor.Text(s)) }
	fault := func(l *guarantee.Line) {
		by := text(l.Mechanism)
		if l.Window != "" {
			by += ", " + l.Window
		}
		b.WriteString(broken(fmt.Sprintf("%-29s %-14s ", l.Fault, l.Outcome), by, strings.Repeat(" ", 45)) + "\n")
	}
	b.WriteString(broken("", text(f.Name)+": "+r.Verdict, "  ") + "\n")
	recognised := "repeats are recognised by " + r.Records + ", within " + r.Window
	if r.Records == guarantee.NoRecords {
		recognised = "nothing is recorded: a repeat is recognised by the rows themselves, or not at all"
	}
	b.WriteString(broken("", text(recognised), "  ") + "\n\n")
	fmt.Fprintf(&b, "%-29s %-14s by\n", "fault", "outcome")
	var open []*guarantee.Line
	for i := range r.Lines {
		switch l := &r.Lines[i]; l.Outcome {
		case guarantee.NotPromised, guarantee.Twice:
			open = append(open, l)
		default:
			fault(l)
		}
	}
	b.WriteString("\nconditions you must keep\n")
	for _, c := range r.Conditions {
		b.WriteString(broken("", "- "+text(c), "  ") + "\n")
	}
	b.WriteString("\nnot promised\n")
	for _, l := range open {
		fault(l)
	}
	return b.String()
}

// pageWidth is the width of what people read.
const pageWidth = 80

// broken is a line and then words, broken at the page's width; what follows
// begins with indent.
func broken(line, words, indent string) string {
	var out []string
	empty := true
	for _, w := range strings.Fields(words) {
		if !empty && len([]rune(line))+1+len([]rune(w)) > pageWidth {
			out, line, empty = append(out, strings.TrimRight(line, " ")), indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+w, false
	}
	return strings.Join(append(out, line), "\n")
}
