package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/history"
)

// Moment is one thing that happened to an order.
type Moment struct {
	At   int64 // nanoseconds
	Text string
	Kind string // class of the mark: send, deliver, effect, fault
	PID  int
}

// worst is the order of a run that a timeline tells most with: one that was
// lost, else doubled, by more than a repeated send; else one that was hit.
func worst(r *check.Run, v *check.Verdict) string {
	for _, better := range []func(check.Finding) bool{
		func(f check.Finding) bool { return f.What == check.Lost },
		func(f check.Finding) bool { return !f.Sent },
		func(check.Finding) bool { return true },
	} {
		if i := slices.IndexFunc(v.Findings, better); i >= 0 {
			return v.Findings[i].Order
		}
	}
	for _, e := range r.Worker {
		if e.What == history.Kill && e.Target != "" {
			return e.Target
		}
	}
	return ""
}

// Timeline is what happened to an order, in time.
func Timeline(r *check.Run, order string) []Moment {
	var out []Moment
	for _, list := range [][]history.Event{r.Sender, r.Worker} {
		for _, e := range list {
			if slices.Contains(e.Orders, order) || e.Target == order {
				out = append(out, moment(e))
			}
		}
	}
	for _, e := range r.Effects {
		if e.ID == order {
			out = append(out, Moment{e.At, "effect", "effect", e.PID})
		}
	}
	slices.SortStableFunc(out, func(a, b Moment) int { return cmp.Compare(a.At, b.At) })
	return out
}

func moment(e history.Event) Moment {
	m := Moment{At: e.Time.UnixNano(), Text: string(e.What), Kind: "fault", PID: e.PID}
	switch e.What {
	case history.Send, history.Stored, history.Refused:
		m.Kind = "send"
	case history.Delivered:
		m.Kind = "deliver"
	case history.Kill:
		m.Text = "killed " + e.Step
	case history.Sleep:
		m.Text = "stopped " + e.Step
	case history.Wake:
		m.Text = "woken"
	default:
	}
	return m
}

// The geometry of a timeline, in units of its picture. Marks are a step apart:
// a run's pauses are a thousand times its work.
const (
	left, step, axis = 120, 122, 60
)

// mark is a Moment with its place.
type mark struct {
	Moment
	X, TextY int
	Time     string
}

func place(moments []Moment) []mark {
	out := make([]mark, len(moments))
	for i, m := range moments {
		y := axis - 18
		if i%2 == 1 {
			y = axis + 28 // texts of neighbours do not meet
		}
		out[i] = mark{m, left + i*step, y, fmt.Sprintf("+%.0f ms", float64(m.At-moments[0].At)/1e6)}
	}
	return out
}
