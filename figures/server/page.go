package server

import (
	"fmt"
	"html"
	"strings"
)

// Table is the figures as text, a line each.
func (p Page) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "PostgreSQL %s, %s, %d cores, %s\n\n", p.Postgres, p.Go, p.CPUs, p.Date)
	fmt.Fprintf(&b, "%-34s %7s %9s %11s %9s  %s\n", "", "workers", "", "a second", "share", "of")
	for _, f := range p.Figures {
		fmt.Fprintf(&b, "%-34s %7d %9s %11.0f %9s  %s\n", f.Name, f.Workers, profile(f), f.Rate, share(f), f.Of)
	}
	return b.String()
}

// Markdown is docs/figures-postgres.md.
func (p Page) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Figures: PostgreSQL

PostgreSQL %s, Redis %s, %s, %d cores shared with other work, measured %s; medians of %d, each against an F measured just
before and just after. F is the same effects (an order and the balance of one of a thousand accounts), 500 a transaction, one
turn a transaction, the repeats (a fifth) taken out beforehand. "Network": 0.5 ms more for each turn, 1 ms for each commit.
The log lies in memory. Read ratios. Written by

    rollcall bench --postgres URL --redis ADDRESS --out docs/figures-postgres.json --svg docs/figures-postgres.svg
    UPDATE=1 go test -run TestPage ./figures/server

| what | workers | profile | deliveries/s | share | of | target | |
|---|---|---|---|---|---|---|---|
`, p.Postgres, p.Redis, p.Go, p.CPUs, p.Date, repetitions)
	for _, f := range p.Figures {
		target, verdict := "", ""
		if f.Target > 0 {
			target, verdict = amount(f.Target), "missed"
			if f.Reached() {
				verdict = "reached"
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %.0f | %s | %s | %s | %s |\n", f.Name, f.Workers, profile(f), f.Rate, share(f), f.Of, target, verdict)
	}
	b.WriteString(whereTheTimeGoes)
	return b.String()
}

// whereTheTimeGoes explains what is missed.
const whereTheTimeGoes = `
**Where the time goes.** A batch takes five turns (BEGIN with the token, who waits, the effect, the rolls with their locks, the
records with COMMIT), F one; with one worker client and server take turns, so each turn is idle time of both. Of the client's CPU
the engine has about a fifth, pgx's encoding of arrays and the socket most of the rest. Tried: two and four transactions of a
partition side by side (ConsumerConfig.Parallel): slower, their batches are smaller. Competing workers of one queue redo a batch
when a copy of one of its messages was committed elsewhere while it ran: with a fifth of repeats, nearly every batch. Not done:
to ask who waits in the turn of the token, and to keep the next batch's BEGIN in the turn of the last COMMIT.
`

func profile(f Figure) string {
	if f.Network {
		return "network"
	}
	return "local"
}

func share(f Figure) string { return amount(f.Share) }

// amount is a share, or a factor when it is above 3.
func amount(x float64) string {
	switch {
	case x > 3:
		return fmt.Sprintf("%.3gx", x)
	case x < 0.1:
		return fmt.Sprintf("%.1f %%", 100*x)
	}
	return fmt.Sprintf("%.0f %%", 100*x)
}

// SVG is a bar for each share of F, with its target as a line.
func (p Page) SVG() string {
	const left, width, step = 340, 420, 22
	var lines strings.Builder
	y := 60
	for _, f := range p.Figures {
		if f.Of != "F" {
			continue
		}
		colour := "#10b981"
		switch {
		case f.Target == 0:
			colour = "#94a3b8"
		case !f.Reached():
			colour = "#f59e0b"
		}
		long := width * min(1, f.Share)
		fmt.Fprintf(&lines, `<text x="%d" y="%d" text-anchor="end" fill="#0f172a">%s</text><rect x="%d" y="%d" width="%.1f" height="14" fill="%s"/><text x="%.1f" y="%d" fill="#475569">%s</text>`+"\n",
			left-10, y+12, html.EscapeString(fmt.Sprintf("%s, %d, %s", f.Name, f.Workers, profile(f))), left, y, max(1, long), colour, left+long+6, y+12, share(f))
		if f.Target > 0 {
			x := left + width*f.Target
			fmt.Fprintf(&lines, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#0f172a" stroke-width="2"/>`+"\n", x, x, y-1, y+15)
		}
		y += step
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 %d" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Shares of F on PostgreSQL">
<rect width="860" height="%d" fill="#f8fafc"/>
<text x="20" y="26" font-size="15" font-weight="700" fill="#0f172a">Share of the fastest batched write (F), PostgreSQL %s</text>
<text x="20" y="44" fill="#475569">way, workers, profile; the line is the target; %s, %d cores</text>
`, y+10, y+10, html.EscapeString(p.Postgres), p.Date, p.CPUs) + lines.String() + "</svg>\n"
}
