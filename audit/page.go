package audit

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("audit").Parse(pageText))

// Most lanes that a page has a picture of: those with findings first.
const mostPictures = 200

// Size of a picture, in pixels.
const (
	pictureWidth = 900
	pictureEdge  = 20
)

// Page writes a report as one HTML file that loads nothing.
func Page(w io.Writer, r *Report) error {
	view := pageView{Report: r, At: r.Time.UTC().Format(time.RFC3339)}
	for _, by := range r.Detectors {
		view.Columns = append(view.Columns, pageColumn{by, r.Totals[by]})
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		row := pageFinding{FindingObject: f.Object(), Numbers: f.Numbers()}
		if !f.Since.IsZero() {
			row.When = f.Since.UTC().Format(time.RFC3339)
		}
		view.Findings = append(view.Findings, row)
	}
	lanes := slices.Clone(r.Lanes)
	slices.SortStableFunc(lanes, func(x, y LaneReport) int { return int(y.trouble()) - int(x.trouble()) })
	for i := range lanes[:min(len(lanes), mostPictures)] {
		view.Pictures = append(view.Pictures, draw(&lanes[i], r.Findings))
	}
	view.Undrawn = len(lanes) - len(view.Pictures)
	return pageTemplate.Execute(w, view)
}

type pageView struct {
	*Report
	At       string
	Columns  []pageColumn
	Findings []pageFinding
	Pictures []picture
	Undrawn  int
}

type pageColumn struct {
	By   Detector
	Sums Sums
}

type pageFinding struct {
	FindingObject
	Numbers string
	When    string
}

// trouble orders lanes: what is missing first.
func (l *LaneReport) trouble() uint8 {
	switch {
	case l.Sums.Lost > 0:
		return 4
	case l.Sums.Missing > 0:
		return 3
	case l.Sums.Unknown+l.Sums.Late+l.Sums.Waived > 0:
		return 2
	case l.Sums.Duplicates+l.Sums.Void > 0:
		return 1
	}
	return 0
}

// picture is one lane from its first number to its highest, with the times at which
// the broker had acknowledged some.
type picture struct {
	Title string
	Bars  []bar
	Ticks []tick
	Width int
}

type bar struct {
	X, Width float64
	Class    string
	Text     string
}

type tick struct {
	X      float64
	Number uint64
	Time   string
}

func draw(l *LaneReport, findings []Finding) picture {
	p := picture{Width: pictureWidth + 2*pictureEdge,
		Title: fmt.Sprintf("lane %d at %s, %s, life %s: %s", l.Key.Lane, l.By, orUnnamed(l.Sender), l.Key.Life, l.State)}
	at := func(n uint64) float64 {
		return pictureEdge + pictureWidth*float64(n)/float64(max(l.High, 1))
	}
	p.Bars = append(p.Bars, bar{X: at(0), Width: at(l.High) - at(0), Class: "present", Text: fmt.Sprintf("1-%d: present", l.High)})
	for i := range findings {
		f := &findings[i]
		if f.Key != l.Key || f.By != l.By {
			continue
		}
		p.Bars = append(p.Bars, bar{X: at(f.First - 1), Width: max(2, at(f.Last)-at(f.First-1)), Class: string(f.Verdict),
			Text: fmt.Sprintf("%s: %s; %s", f.Numbers(), f.Verdict, f.Cause.Why())})
	}
	p.Ticks = ticks(l.Marks, at)
	return p
}

// ticks are marks with room for their texts between them.
func ticks(marks []rollcall.Mark, at func(uint64) float64) []tick {
	const room = 110
	var out []tick
	for _, m := range marks {
		x := at(m.Sequence)
		if len(out) > 0 && x-out[len(out)-1].X < room {
			continue
		}
		out = append(out, tick{x, m.Sequence, m.Time.UTC().Format("15:04:05.000")})
	}
	return out
}
