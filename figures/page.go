package figures

import (
	"fmt"
	"html"
	"strings"
)

// Markdown is docs/figures.md.
func (p Page) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Figures

The embedded pair (log and store are two files, every commit synced), each as a share of F: the fastest batched insert
of the same rows that we could write with the same driver, rows ready in memory, no log, no record. Measured %s
with %s, SQLite %s, %d cores, %d messages a figure, each the median of %d. Read ratios. Written by

    rollcall bench --out docs/figures.json --svg docs/figures.svg
    UPDATE=1 go test -run TestPage ./figures

![Shares of F](figures.svg)

| what | share of F | target | messages/s | F, rows/s | |
|---|---|---|---|---|---|
`, p.Date, p.Go, p.SQLite, p.CPUs, p.Messages, repetitions)
	for _, f := range p.Figures {
		target, verdict := "", ""
		if f.Target > 0 {
			target, verdict = Percent(f.Target), "missed"
			if f.Reached() {
				verdict = "reached"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f | %.0f | %s |\n", f.Name, Percent(f.Share), target, f.Rate, f.F, verdict)
	}
	b.WriteString(whereTheTimeGoes)
	return b.String()
}

// Percent is a share as the pages write it.
func Percent(share float64) string {
	if share < 0.1 {
		return fmt.Sprintf("%.1f %%", 100*share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// whereTheTimeGoes is what the profiles of the missed figures said.
const whereTheTimeGoes = `
The textbook lines have no log in front of them and read no JSON: their rows come from memory. They write a transaction a
message, synced; that is where they lose. "work, then ack" makes no ack, so it is faster here than with a queue.

The clock of the other lines runs until the run has seen that it is finished, which it looks for every 50 ms; F's stops at
its last COMMIT. So their shares are a little too low, the more so the fewer messages.

**Where the time goes** (pprof, 100,000 messages with the table effect): the insert statements themselves about 0.4 s of
CPU, JSON and building rows 0.2 s, COMMIT 0.2 s, garbage collection 0.15 s, dropping Known numbers 0.08 s, settling
0.06 s; F takes 0.4 to 0.5 s in all. With Inbox, keys are random, so every batch touches most pages of their index:
1.0 s in COMMIT and 0.6 s and more in the claim. What is left to do is to read JSON before BEGIN, outside of SQLite's one
write turn, and to commit waiting batches of several partitions together.
`

// SVG is a bar for each figure, with its target as a line.
func (p Page) SVG() string {
	const left, width, step = 300, 460, 26
	var b strings.Builder
	high := 70 + step*len(p.Figures)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 %d" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="Shares of F">
<rect width="860" height="%d" fill="#f8fafc"/>
<text x="20" y="28" font-size="15" font-weight="700" fill="#0f172a">Share of the fastest batched insert (F)</text>
<text x="20" y="46" fill="#475569">%s, %s, SQLite %s, %d cores; the line is the target</text>
`, high, high, p.Date, p.Go, p.SQLite, p.CPUs)
	for i, f := range p.Figures {
		y := 62 + step*i
		colour := "#10b981"
		switch {
		case f.Target == 0:
			colour = "#94a3b8"
		case !f.Reached():
			colour = "#f59e0b"
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#0f172a">%s</text><rect x="%d" y="%d" width="%.1f" height="16" fill="%s"/><text x="%.1f" y="%d" fill="#475569">%s</text>`+"\n",
			left-10, y+13, html.EscapeString(f.Name), left, y, max(1, width*min(1, f.Share)), colour, left+width*min(1, f.Share)+6, y+13, Percent(f.Share))
		if f.Target > 0 {
			x := left + width*f.Target
			fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#0f172a" stroke-width="2"/>`+"\n", x, x, y-2, y+18)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
