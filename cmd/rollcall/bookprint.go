package main

import "fmt"

type destinationObject struct {
	Type  string `json:"type"`
	Group string `json:"group"`
	book
}

// runSummary ends the output of run. What is in process are deliveries of this
// process alone; all else is of all processes since the beginning.
type runSummary struct {
	Type  string `json:"type"`
	Verb  string `json:"verb"`
	Group string `json:"group"`
	book
	Process     processCounts `json:"process"`
	Interrupted bool          `json:"interrupted"`
}

func printBook(a *app, group string, b *book, m *meter, stopped bool) error {
	p := m.counts()
	if a.json {
		if err := a.object(destinationObject{"destination", group, *b}); err != nil {
			return err
		}
		return a.object(runSummary{"summary", "run", group, *b, p, stopped})
	}
	a.say("%s, all processes since the beginning:", group)
	a.say("  %s", b.line())
	if b.Copies > 0 {
		a.say("  and %d further stored copies of these messages, absorbed", b.Copies)
	}
	a.say("this process: delivered %d, of which duplicates %d; applied %d, repeated %d, stale %d, filtered %d, set aside %d",
		p.Delivered, p.Duplicates, p.Applied, p.Repeated, p.Stale, p.Filtered, p.SetAside)
	return nil
}

// line is the conservation line with its verdict.
func (b *book) line() string {
	verdict := "balanced"
	switch {
	case b.Uncounted:
		return fmt.Sprintf("%s: finished %d = applied %d + repeated %d + stale %d + filtered %d + discarded %d + waiting %d + dead %d + parked %d; a queue does not tell how many it had: see rollcall audit",
			b.Destination, b.Stored, b.Applied, b.Repeated, b.Stale, b.Filtered, b.Discarded, b.Waiting, b.Dead, b.Parked)
	case b.ToGo > 0:
		verdict = fmt.Sprintf("not drained, %d to go", b.ToGo)
	case !b.Drained:
		verdict = "not drained, other processes are at work"
	case !b.Balanced:
		verdict = "NOT BALANCED"
	}
	return fmt.Sprintf("%s: stored %d = applied %d + repeated %d + stale %d + filtered %d + discarded %d + waiting %d + dead %d + parked %d + missing %d: %s",
		b.Destination, b.Stored, b.Applied, b.Repeated, b.Stale, b.Filtered, b.Discarded, b.Waiting, b.Dead, b.Parked, b.Missing, verdict)
}
