// Package queue holds the figures of RabbitMQ and RocketMQ: rollcall beside the bare
// client on the same queue in one run. They are measured by its benchmark, which starts
// the servers:
//
//	go test -run '^$' -bench Figures -benchtime 1x -timeout 30m -v ./figures/queue
//
// With UPDATE=1 it writes docs/figures-queues.json and .md.
package queue

import (
	"fmt"
	"slices"
	"strings"
)

// Figure is one comparison, in messages a second: the median of the rounds.
type Figure struct {
	Name   string
	Bare   float64
	Ours   float64
	Share  float64 // Ours of Bare, the median of the rounds' own shares
	Target float64 // of Share
	// Lowest and Highest share of a round.
	Lowest, Highest float64
}

// Reached says that the target is met.
func (f Figure) Reached() bool { return f.Share >= f.Target }

// Page is one run.
type Page struct {
	Servers  []string // as asked from them
	Messages int
	Rounds   int
	Figures  []Figure
	Notes    []string // what is measured otherwise
}

// summed is the figure of the rounds' rates.
func summed(name string, target float64, bare, ours []float64) Figure {
	shares := make([]float64, len(bare))
	for i := range bare {
		shares[i] = ours[i] / bare[i]
	}
	return Figure{name, median(bare), median(ours), median(shares), target, slices.Min(shares), slices.Max(shares)}
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// Markdown is the page for people.
func (p Page) Markdown() string {
	var b strings.Builder
	b.WriteString("# Figures: RabbitMQ and RocketMQ\n\nWritten by `UPDATE=1 go test -run '^$' -bench Figures -benchtime 1x -timeout 30m -v ./figures/queue`; ")
	b.WriteString("`TestPage` there compares this page with its figures. Read the shares: rollcall and the bare client take turns on one machine, two cores, ")
	b.WriteString("with the server and the database beside them.\n\n")
	fmt.Fprintf(&b, "Servers, as asked from them: %s. %d messages of 200 bytes, %d rounds, medians.\n\n", strings.Join(p.Servers, "; "), p.Messages, p.Rounds)
	b.WriteString("| | bare, messages/s | rollcall, messages/s | share | of the rounds | asked | |\n|---|---|---|---|---|---|---|\n")
	for _, f := range p.Figures {
		verdict := "missed"
		if f.Reached() {
			verdict = "reached"
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %.0f %% | %.0f to %.0f %% | %.0f %% | %s |\n", f.Name, f.Bare, f.Ours, 100*f.Share, 100*f.Lowest, 100*f.Highest, 100*f.Target, verdict)
	}
	for _, n := range p.Notes {
		b.WriteString("\n- " + n)
	}
	if len(p.Notes) > 0 {
		b.WriteString("\n")
	}
	return b.String()
}
