package report

import (
	"html/template"
	"io"

	"github.com/rollcall-mq/rollcall/verify/check"
)

// Page writes the report as one HTML file that loads nothing.
func Page(w io.Writer, seed uint64, ideas map[string]string, runs []check.Run, verdicts []check.Verdict, objections []string) error {
	view := struct {
		Seed       uint64
		Objections []string
		Patterns   []pattern
	}{Seed: seed, Objections: objections}
	for i := range verdicts {
		p := pattern{Verdict: &verdicts[i], Idea: ideas[verdicts[i].Name], Order: worst(&runs[i], &verdicts[i])}
		p.Marks = place(Timeline(&runs[i], p.Order))
		p.Width = 2*left + step*max(0, len(p.Marks)-1)
		p.Groups = group(verdicts[i].Findings)
		for _, m := range verdicts[i].Marks {
			p.Cells = append(p.Cells, cell{string(m), class(m)})
		}
		view.Patterns = append(view.Patterns, p)
	}
	return page.Execute(w, view)
}

// pattern is what the page says of one.
type pattern struct {
	*check.Verdict
	Idea   string
	Order  string
	Marks  []mark
	Width  int
	Groups []grouped
	Cells  []cell
}

type cell struct{ Text, Class string }

func class(mark byte) string {
	switch mark {
	case check.MarkLost:
		return "lost"
	case check.MarkDoubled:
		return "doubled"
	case check.MarkRejected:
		return "aside"
	}
	return "once"
}

var page = template.Must(template.New("demo").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>rollcall demo, seed {{.Seed}}</title>
<style>
:root{color-scheme:light dark;--ink:#1c2733;--dim:#5f6b78;--paper:#fff;--line:#d4dae1;--ok:#2f8f5b;--lost:#c62f3b;--two:#b87300;--blue:#2f6fb3}
@media(prefers-color-scheme:dark){:root{--ink:#e5e9ee;--dim:#9aa6b3;--paper:#14191f;--line:#343d47;--ok:#58bb85;--lost:#f0707a;--two:#e5a93c;--blue:#74aee8}}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--paper)}
table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}td.lost,.t-lost{color:var(--lost);font-weight:600}td.doubled,.t-doubled{color:var(--two);font-weight:600}
.strip{display:flex;flex-wrap:wrap;gap:1px;margin:.4rem 0}.strip i{width:7px;height:11px;background:var(--ok);opacity:.45}
.strip i.lost{background:var(--lost);opacity:1}.strip i.doubled{background:var(--two);opacity:1}.strip i.aside{background:var(--dim);opacity:1}
.scroll{overflow-x:auto}svg{font:11px system-ui,sans-serif}svg text{fill:var(--ink);text-anchor:middle}svg .dim{fill:var(--dim)}
svg line{stroke:var(--line)}.send{fill:var(--blue)}.deliver{fill:var(--dim)}.effect{fill:var(--ok)}.fault{fill:var(--lost)}
.idea{color:var(--dim)}h2{margin:2rem 0 .2rem;font-size:1.05rem}ul{margin:.3rem 0;padding-left:1.2rem;color:var(--dim)}
.bad{border-left:4px solid var(--lost);padding-left:.7rem}
</style></head><body>
<h1>What the patterns made of the same faults</h1>
<p>Seed {{.Seed}}. Every pattern worked off the same log; workers and the sender were killed at chosen steps, deliveries and sends were repeated, one worker slept past its lease. Without faults each pattern passes.</p>
{{range .Objections}}<p class="bad">{{.}}</p>{{end}}
<table><tr><th>pattern<th>sent<th>effects<th>lost<th>doubled<th>in doubt<th>kills that bit</tr>
{{range .Patterns}}<tr><td>{{.Name}}<td>{{.Sent}}<td>{{.Effects}}<td{{if .Lost}} class="lost"{{end}}>{{.Lost}}<td{{if .Doubled}} class="doubled"{{end}}>{{.Doubled}}<td>{{.InDoubt}}<td>{{.Killed}}</tr>
{{end}}</table>
{{range .Patterns}}<h2>{{.Name}}</h2>{{with .Idea}}<div class="idea">{{.}}</div>{{end}}{{if .Problem}}<p class="bad">{{.Problem}}</p>{{end}}
<div class="strip" aria-hidden="true">{{range .Cells}}<i class="{{.Class}}"></i>{{end}}</div>
{{if .Marks}}<div>{{.Order}}</div><div class="scroll"><svg width="{{.Width}}" height="110" role="img" aria-label="timeline of {{.Order}}">
<line x1="20" x2="{{.Width}}" y1="60" y2="60"/>{{range .Marks}}
<g><title>{{.Text}}, process {{.PID}}, {{.Time}}</title><circle cx="{{.X}}" cy="60" r="6" class="{{.Kind}}"/><text x="{{.X}}" y="{{.TextY}}">{{.Text}}</text><text x="{{.X}}" y="100" class="dim">{{.Time}}</text></g>{{end}}
</svg></div>{{end}}
{{if .Groups}}<ul>{{range .Groups}}<li><span class="t-{{.What}}">{{.What}}</span> {{range .Orders}}{{.}} {{end}}: {{.Cause}}{{end}}</ul>{{end}}
{{end}}</body></html>
`))
