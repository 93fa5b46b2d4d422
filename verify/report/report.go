// Package report shows verdicts: a table, a picture and names for a terminal,
// and a page with a timeline.
package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/rollcall-mq/rollcall/verify/check"
)

// Text is the report for a terminal of Width columns.
type Text struct {
	Width  int               // at least 60
	Colour bool              // lost in red, doubled in yellow
	Ideas  map[string]string // each pattern in a few words

}

const (
	nameWidth = 20
	most      = 100 // columns; a wider terminal does not make it easier to read
)

// Write writes the table, the picture and the names.
func (t Text) Write(w io.Writer, verdicts []check.Verdict) error {
	t.Width = min(max(t.Width, 60), most)
	var b strings.Builder
	t.table(&b, verdicts)
	t.picture(&b, verdicts)
	t.meaning(&b, verdicts)
	t.names(&b, verdicts)
	_, err := io.WriteString(w, b.String())
	return err
}

func (t Text) table(b *strings.Builder, verdicts []check.Verdict) {
	fmt.Fprintf(b, "%-*s %4s %7s %4s %7s %5s %5s\n", nameWidth, "pattern", "sent", "effects", "lost", "doubled", "doubt", "kills")
	for i := range verdicts {
		v := &verdicts[i]
		fmt.Fprintf(b, "%-*s %4d %7d %s %s %5d %5d\n", nameWidth, v.Name, v.Sent, v.Effects,
			t.paint(red, 4, v.Lost), t.paint(yellow, 7, v.Doubled), v.InDoubt, v.Killed)
	}
}

const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	green  = "\x1b[32m"
	plain  = "\x1b[0m"
)

// paint is a number that is coloured unless it is 0.
func (t Text) paint(colour string, width, n int) string {
	text := fmt.Sprintf("%*d", width, n)
	if n == 0 || !t.Colour {
		return text
	}
	return colour + text + plain
}

// picture draws each pattern's orders in the order of sending.
func (t Text) picture(b *strings.Builder, verdicts []check.Verdict) {
	if len(verdicts) == 0 {
		return
	}
	room := t.Width - nameWidth - 1
	each := max(1, (len(verdicts[0].Marks)+room-1)/room)
	fmt.Fprintf(b, "\nThe orders as they were sent, %d a mark:\n· once   x lost   2 twice or more   - set aside   ? in doubt\n", each)
	for i := range verdicts {
		v := &verdicts[i]
		fmt.Fprintf(b, "%-*s %s\n", nameWidth, v.Name, t.strip(v.Marks, each))
	}
}

// strip draws the worst of every few marks.
func (t Text) strip(marks []byte, each int) string {
	var b strings.Builder
	for first := 0; first < len(marks); first += each {
		worst := worstOf(marks[first:min(first+each, len(marks))])
		text, colour := string(worst), ""
		switch worst {
		case check.MarkOnce:
			text, colour = "·", green
		case check.MarkLost:
			colour = red
		case check.MarkDoubled:
			colour = yellow
		}
		if t.Colour && colour != "" {
			text = colour + text + plain
		}
		b.WriteString(text)
	}
	return b.String()
}

func worstOf(marks []byte) byte {
	for _, worst := range []byte{check.MarkLost, check.MarkDoubled, check.MarkDoubt, check.MarkRejected} {
		if strings.IndexByte(string(marks), worst) >= 0 {
			return worst
		}
	}
	return check.MarkOnce
}

// meaning says what the table shows.
func (t Text) meaning(b *strings.Builder, verdicts []check.Verdict) {
	lost, doubled := 0, 0
	var unharmed []string
	for i := range verdicts {
		lost += verdicts[i].Lost
		doubled += verdicts[i].Doubled
		if verdicts[i].Safe() {
			unharmed = append(unharmed, verdicts[i].Name)
		}
	}
	if len(unharmed) == 0 {
		unharmed = []string{"nobody"}
	}
	text := fmt.Sprintf("All worked off the same log and met the same faults: workers killed at the same steps, one asleep past its lease, "+
		"a COMMIT, an answer and an ack lost, orders sent twice. Without faults every pattern passes. Now %d orders were lost and %d doubled; "+
		"unharmed: %s. The poison order, which fails whenever it is tried, is rightly set aside by all.", lost, doubled, strings.Join(unharmed, ", "))
	b.WriteString("\n" + wrap(text, t.Width) + "\n")
}

// names has a line for each order that was lost or doubled.
func (t Text) names(b *strings.Builder, verdicts []check.Verdict) {
	for i := range verdicts {
		v := &verdicts[i]
		if len(v.Findings) == 0 && v.Problem == "" {
			continue
		}
		fmt.Fprintf(b, "\n%s\n", v.Name)
		if idea := t.Ideas[v.Name]; idea != "" {
			fmt.Fprintf(b, "  %s\n", strings.ReplaceAll(wrap("("+idea+")", t.Width-2), "\n", "\n  "))
		}
		if v.Problem != "" {
			fmt.Fprintf(b, "  %s\n", v.Problem)
		}
		for _, g := range group(v.Findings) {
			text := strings.Join(g.Orders, " ") + " " + g.What + ": " + g.Cause
			fmt.Fprintf(b, "  %s\n", strings.ReplaceAll(wrap(text, t.Width-4), "\n", "\n    "))
		}
	}
}

// grouped are neighbours with one cause, so that it is told once.
type grouped struct {
	Orders      []string
	What, Cause string
}

func group(findings []check.Finding) []grouped {
	var out []grouped
	for _, f := range findings {
		if n := len(out) - 1; n >= 0 && out[n].What == f.What && out[n].Cause == f.Cause {
			out[n].Orders = append(out[n].Orders, f.Order)
			continue
		}
		out = append(out, grouped{[]string{f.Order}, f.What, f.Cause})
	}
	return out
}

// wrap breaks text at spaces.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		if column > 0 && column+1+len(word) > width {
			b.WriteByte('\n')
			column = 0
		} else if column > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
