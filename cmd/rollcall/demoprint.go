package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/report"
)

// demoPattern is a line of --json.
type demoPattern struct {
	Type    string          `json:"type"`
	Name    string          `json:"name"`
	Safe    bool            `json:"safe"`
	Sent    int             `json:"sent"`
	Effects int             `json:"effects"`
	Lost    int             `json:"lost"`
	Doubled int             `json:"doubled"`
	InDoubt int             `json:"in_doubt"`
	Kills   int             `json:"kills"`
	Dead    int             `json:"dead"`
	Orders  []check.Finding `json:"orders"`
}

type demoSummary struct {
	Type       string   `json:"type"`
	Verb       string   `json:"verb"`
	Broker     string   `json:"broker"` // embedded, or kafka: the one in this process
	Seed       uint64   `json:"seed"`
	Messages   int      `json:"messages"`
	Seconds    float64  `json:"seconds"`
	Safe       bool     `json:"safe"`   // rollcall lost and doubled nothing
	Proved     bool     `json:"proved"` // every pattern that had to fail did
	Objections []string `json:"objections"`
}

// printDemo prints the result.
func (a *app) printDemo(o *demoOptions, verdicts []check.Verdict, wrong []objection, took time.Duration) error {
	s := demoSummary{Type: "summary", Verb: "demo", Broker: "embedded", Seed: o.seed, Messages: o.messages, Seconds: float64(took.Milliseconds()) / 1000,
		Safe: true, Proved: true, Objections: []string{}}
	if o.kafka {
		s.Broker = "kafka"
	}
	for _, w := range wrong {
		s.Objections = append(s.Objections, w.text)
		s.Safe = s.Safe && !w.broken
		s.Proved = s.Proved && w.broken
	}
	if a.json {
		return a.demoJSON(verdicts, s)
	}
	text := report.Text{Width: columns(a.out), Colour: isTerminal(a.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		Ideas: patternIdeas()}
	var b strings.Builder
	if err := text.Write(&b, verdicts); err != nil {
		return err
	}
	a.mu.Lock()
	_, err := a.out.Write([]byte(b.String()))
	a.mu.Unlock()
	if err != nil {
		return err
	}
	for _, w := range wrong {
		a.say("\n! %s", w.text)
	}
	a.say("\nThe same run again: %s (%.0f s)", o.again(), took.Seconds())
	if o.keep != "" {
		kept := "Ledgers, log and histories"
		if o.kafka {
			kept = "Ledgers and histories" // the log was in this process
		}
		a.say("%s: %s", kept, o.keep)
	}
	if o.html != "" {
		a.say("Page with timelines: %s", o.html)
	}
	return nil
}

func (a *app) demoJSON(verdicts []check.Verdict, s demoSummary) error {
	for i := range verdicts {
		v := &verdicts[i]
		line := demoPattern{"pattern", v.Name, v.Safe(), v.Sent, v.Effects, v.Lost, v.Doubled, v.InDoubt, v.Killed, v.Rejected, v.Findings}
		if line.Orders == nil {
			line.Orders = []check.Finding{}
		}
		if err := a.object(line); err != nil {
			return err
		}
	}
	return a.object(s)
}

// columns is how wide a stream is; where it is no terminal, COLUMNS or 80.
func columns(stream any) int {
	if f, ok := stream.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	if width, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && width > 0 {
		return width
	}
	return 80
}
