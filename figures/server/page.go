package server

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// Table is the figures as text, a line each.
func (p Page) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d cores, %s\n\n", p.servers(), p.Go, p.CPUs, p.Date)
	if len(p.Figures) > 0 {
		fmt.Fprintf(&b, "%-34s %7s %9s %11s %9s  %s\n", "", "workers", "", "a second", "share", "of")
	}
	for _, f := range p.Figures {
		fmt.Fprintf(&b, "%-34s %7d %9s %11.0f %9s  %s\n", f.Name, f.Workers, profile(f), f.Rate, share(f), f.Of)
	}
	return b.String() + p.rest()
}

// servers are what was measured.
func (p Page) servers() string {
	all := slices.Clone(p.MySQL)
	if p.Kafka != "" {
		all = append(all, "Kafka "+p.Kafka)
	}
	if p.Postgres != "" {
		all = append(all, "PostgreSQL "+p.Postgres)
	}
	if p.Redis != "" {
		all = append(all, "Redis "+p.Redis)
	}
	return strings.Join(all, ", ")
}

// verdict is the word beside a target.
func verdict(reached bool) string {
	if reached {
		return "reached"
	}
	return "missed"
}

// Markdown is docs/figures-postgres.md, docs/figures-mysql.md or docs/figures-kafka.md.
func (p Page) Markdown() string {
	var b strings.Builder
	text := postgresText
	switch {
	case p.Kafka != "":
		text = kafkaText
	case len(p.MySQL) > 0:
		text = mysqlText
	}
	fmt.Fprintf(&b, text.head, p.servers(), p.Go, p.CPUs, p.Date, repetitions)
	server := ""
	for i, f := range p.Figures {
		if i == 0 || f.Server != server {
			server = f.Server
			if server != "" {
				b.WriteString("\n**" + server + "**\n")
			}
			b.WriteString("\n| what | workers | profile | deliveries/s | share | of | target | | turns |\n|---|---|---|---|---|---|---|---|---|\n")
		}
		target, word := "", ""
		if f.Target > 0 {
			target, word = amount(f.Target), verdict(f.Reached())
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %.0f | %s | %s | %s | %s | %s |\n", f.Name, f.Workers, profile(f), f.Rate, share(f), f.Of, target, word, turns(f))
	}
	b.WriteString(p.rest() + text.tail)
	return b.String()
}

// rest is what is no share of F.
func (p Page) rest() string {
	var b strings.Builder
	if c := p.Commits; c != nil {
		fmt.Fprintf(&b, `
**Transactions.** %d deliveries by stamp with one worker: the server counted %d (pg_stat_database.xact_commit), those of connecting
and of the tables included; at most %d are wanted: %s.
`, c.Deliveries, c.Transactions, c.Limit, verdict(c.Reached()))
	}
	if p.Kafka != "" && p.Deliveries > 0 {
		fmt.Fprintf(&b, "\nSet-based ways had %d deliveries, a fifth of them with the network's delay; handlers and the textbook had fewer.\n", p.Deliveries)
	}
	b.WriteString(p.members() + p.residents())
	for _, g := range p.Growth {
		fmt.Fprintf(&b, "\n**Growth, %s keys.** An Inbox with one worker: %.0f deliveries/s and %.0f bytes of log each in an empty table, %.0f/s and %.0f\n"+
			"bytes with %d keys in it: %s of the rate, without the sweep that workers do once an hour", g.Kind, g.Empty, g.EmptyWAL, g.Full, g.FullWAL, g.Keys, amount(g.Share))
		if g.Target > 0 {
			fmt.Fprintf(&b, " (target %s: %s)", amount(g.Target), verdict(g.Reached()))
		}
		b.WriteString(".\n")
		if g.Swept > 0 {
			over := ""
			if g.Over {
				over = ", then no more were left"
			}
			fmt.Fprintf(&b, "While old keys were swept beside it (%d in that time%s): %.0f deliveries/s, at most %.0f ms without a commit (%.0f ms without the\n"+
				"sweep).\n", g.Swept, over, g.Sweeping, g.LongestBy, g.Longest)
		}
		if g.Look > 0 {
			fmt.Fprintf(&b, "A sweep that finds nothing old reads the table: %.1f s.\n", g.Look)
		}
	}
	return b.String()
}

// members is what it costs that they come and go.
func (p Page) members() string {
	c := p.Churn
	if c == nil {
		return ""
	}
	return fmt.Sprintf(`
**Members that come and go.** Gathered handlers, 4 partitions. A second member joins the group, leaves after %.0f s, and another
joins %.0f s later (%d moves, %d members got work): %.0f deliveries/s, undisturbed %.0f/s: %s of the rate (target %s: %s). A partition that changed hands stood still,
between the last commit of its old owner and the first batch of the new one, for %.0f ms (median of %d), %.0f ms at most; %d
deliveries were copies of something done, those of the load included.
`, c.Every, c.Every, c.Moves, c.Members, c.Disturbed, c.Alone, amount(c.Share), amount(c.Target), verdict(c.Reached()), c.Half, c.Stops, c.Longest, c.Copies)
}

// residents is the memory.
func (p Page) residents() string {
	r := p.Resident
	if r == nil {
		return ""
	}
	return fmt.Sprintf(`
**Memory.** The process that consumes, over %d messages in %d partitions (%s, %.0f deliveries/s): at most %.0f MiB resident
(target %.0f MiB: %s); %.1f MiB in the second tenth of the run, %.1f MiB in the last: a slope of %+.2f MiB a million messages.
`, r.Messages, residentLanes, tablesName, r.Rate, r.Most, r.Target, verdict(r.Reached()), r.First, r.Last, r.Slope)
}

func profile(f Figure) string {
	if f.Network {
		return "network"
	}
	return "local"
}

// share does not look as if a target that is missed was reached.
func share(f Figure) string {
	if !f.Reached() && amount(f.Share) == amount(f.Target) {
		return fmt.Sprintf("%.2f %%", 100*f.Share)
	}
	return amount(f.Share)
}

func turns(f Figure) string {
	switch {
	case f.Turns == 0:
		return ""
	case f.Turns < 100:
		return fmt.Sprintf("%.1f", f.Turns)
	}
	return fmt.Sprintf("%.0f", f.Turns)
}

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
	const left, width, step = 360, 400, 22
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
			left-10, y+12, html.EscapeString(strings.TrimPrefix(fmt.Sprintf("%s: %s, %d, %s", f.Server, f.Name, f.Workers, profile(f)), ": ")), left, y, max(1, long), colour, left+long+6, y+12, share(f))
		if f.Target > 0 {
			x := left + width*f.Target
			fmt.Fprintf(&lines, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#0f172a" stroke-width="2"/>`+"\n", x, x, y-1, y+15)
		}
		y += step
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 %d" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Shares of F">
<rect width="860" height="%d" fill="#f8fafc"/>
<text x="20" y="26" font-size="15" font-weight="700" fill="#0f172a">Share of the fastest batched write (F), %s</text>
<text x="20" y="44" fill="#475569">way, workers, profile; the line is the target; %s, %d cores</text>
`, y+10, y+10, html.EscapeString(p.servers()), p.Date, p.CPUs) + lines.String() + "</svg>\n"
}
