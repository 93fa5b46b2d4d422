package report_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/history"
	"github.com/rollcall-mq/rollcall/verify/report"
)

func verdicts() []check.Verdict {
	marks := []byte(strings.Repeat(".", 5000))
	marks[10], marks[4000] = check.MarkLost, check.MarkDoubled
	return []check.Verdict{
		{Name: "rollcall", Sent: 5000, Effects: 5000, Killed: 8, Marks: []byte(strings.Repeat(".", 5000))},
		{Name: "offset-unconditional", Sent: 5000, Effects: 5000, Lost: 1, Doubled: 1, Killed: 8, Marks: marks, Findings: []check.Finding{
			{Order: "order-0010", What: check.Lost, Cause: "worker 1 was killed"},
			{Order: "order-4000", What: check.Doubled, Cause: "sender 2 & <others>"}, {Order: "order-4001", What: check.Doubled, Cause: "sender 2 & <others>"}}},
	}
}

func TestFitsTheTerminal(t *testing.T) {
	for _, width := range []int{0, 60, 80, 100} {
		var b strings.Builder
		if err := (report.Text{Width: width, Ideas: map[string]string{"offset-unconditional": "in a few words"}}).Write(&b, verdicts()); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > max(width, 60) {
				t.Errorf("at %d columns a line has %d: %s", width, n, line)
			}
		}
		for _, want := range []string{"(in a few words)", "order-0010 lost: worker 1 was killed", "order-4000 order-4001 doubled:", "x", "2"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("at %d columns there is no %q in\n%s", width, want, b.String())
			}
		}
		if strings.Contains(b.String(), "\x1b") {
			t.Error("colour that was not asked for")
		}
	}
}

func TestColour(t *testing.T) {
	var b strings.Builder
	if err := (report.Text{Colour: true}).Write(&b, verdicts()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "\x1b[31mx\x1b[0m") {
		t.Error("a lost order is not red")
	}
}

func TestPage(t *testing.T) {
	at := time.Now()
	order := []string{"order-0010"}
	runs := []check.Run{{Name: "rollcall"}, {Name: "offset-unconditional",
		Sender:  []history.Event{{Time: at, What: history.Send, Orders: order}, {Time: at.Add(time.Second), What: history.Stored, Orders: order}},
		Worker:  []history.Event{{Time: at.Add(2 * time.Second), What: history.Kill, PID: 7, Step: "inside the effect", Orders: order}},
		Effects: []check.Effect{{ID: "order-0010", At: at.Add(3 * time.Second).UnixNano()}}}}
	moments := report.Timeline(&runs[1], "order-0010")
	if len(moments) != 4 || moments[2].Text != "killed inside the effect" || moments[3].Kind != "effect" {
		t.Errorf("the timeline: %+v", moments)
	}
	var b strings.Builder
	if err := report.Page(&b, 5, map[string]string{"rollcall": "a roll"}, runs, verdicts(), []string{"<objection>"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "a roll", "killed inside the effect", "2000 ms", "&lt;objection&gt;", "sender 2 &amp; &lt;others&gt;"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %q in the page", want)
		}
	}
	if strings.Contains(b.String(), "http") {
		t.Error("the page loads something")
	}
}
