package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/rollcall-mq/rollcall/audit"
)

// live shows an audit while it goes on: on a terminal one line that changes, else a
// line for each thing that changed.
type live struct {
	app    *app
	follow bool
	shown  bool
	told   time.Time
}

func newLive(a *app, follow bool) *live { return &live{app: a, follow: follow} }

// show tells what changed, and how it stands.
func (l *live) show(r *audit.Report) error {
	for i := range r.Transitions {
		t := &r.Transitions[i]
		switch {
		case l.app.json && l.follow:
			if err := l.app.object(t.Object()); err != nil {
				return err
			}
		case l.follow:
			l.wipe()
			l.app.say("%s %s: %s", t.Time.UTC().Format(time.RFC3339), changeText(t), t.ID)
		}
	}
	l.status(r)
	return nil
}

func changeText(t *audit.Transition) string {
	from := string(t.From)
	if from == "" {
		from = "expected"
	}
	return fmt.Sprintf("at %s numbers %d-%d of lane %d, life %s: %s to %s", t.By, t.First, t.Last, t.Key.Lane, t.Key.Life, from, t.To)
}

// status rewrites the line on a terminal; elsewhere a line every few seconds.
func (l *live) status(r *audit.Report) {
	var parts []string
	for _, by := range r.Detectors {
		s := r.Totals[by]
		parts = append(parts, fmt.Sprintf("at %s: %d present, %d to go, %d open, %d suspected, %d lost", by, s.Present, s.ToGo, s.Open, s.Suspected, s.Lost))
	}
	text := strings.Join(parts, " | ")
	if !l.app.terminal {
		if time.Since(l.told) > progressEvery && !l.told.IsZero() {
			l.app.note("%s", text)
		}
		if l.told.IsZero() || time.Since(l.told) > progressEvery {
			l.told = time.Now()
		}
		return
	}
	if f, ok := l.app.err.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && len(text) >= width && width > 1 {
			text = text[:width-1]
		}
	}
	l.wipe()
	fmt.Fprint(l.app.err, text)
	l.shown = true
}

// wipe removes the line on a terminal.
func (l *live) wipe() {
	if l.shown {
		fmt.Fprint(l.app.err, "\r\x1b[2K")
		l.shown = false
	}
}

func (l *live) end() { l.wipe() }
