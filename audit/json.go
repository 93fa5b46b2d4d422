package audit

import "time"

// FindingObject is a finding in JSON, with names that never change meaning.
type FindingObject struct {
	Type     string     `json:"type"`
	ID       string     `json:"id"`
	Detector Detector   `json:"detector"`
	Verdict  Verdict    `json:"verdict"`
	Sender   string     `json:"sender,omitempty"`
	Life     string     `json:"life"`
	Origin   string     `json:"origin"`
	Lane     uint32     `json:"lane"`
	LaneName string     `json:"lane_name,omitempty"`
	First    uint64     `json:"first"`
	Last     uint64     `json:"last"`
	Count    uint64     `json:"count"`
	Cause    Cause      `json:"cause,omitempty"`
	Why      string     `json:"why,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	Before   *Neighbour `json:"before,omitempty"`
	After    *Neighbour `json:"after,omitempty"`
	Lies     *Spot      `json:"lies,omitempty"`
	Next     string     `json:"next,omitempty"`
}

// Object is the finding for programs.
func (f *Finding) Object() FindingObject {
	o := FindingObject{Type: "finding", ID: f.ID, Detector: f.By, Verdict: f.Verdict, Sender: f.Sender, Life: f.Key.Life.String(),
		Origin: originText(f.Key.Origin), Lane: f.Key.Lane, LaneName: f.Lane, First: f.First, Last: f.Last, Count: f.Count(),
		Cause: f.Cause, Why: f.Cause.Why(), Before: f.Before, After: f.After, Lies: f.Lies, Next: f.Cause.Next()}
	if !f.Since.IsZero() {
		o.Since = &f.Since
	}
	return o
}

// TransitionObject is a transition in JSON.
type TransitionObject struct {
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Detector Detector  `json:"detector"`
	Life     string    `json:"life"`
	Origin   string    `json:"origin"`
	Lane     uint32    `json:"lane"`
	First    uint64    `json:"first"`
	Last     uint64    `json:"last"`
	From     Verdict   `json:"from,omitempty"`
	To       Verdict   `json:"to"`
}

// Object is the transition for programs.
func (t *Transition) Object() TransitionObject {
	return TransitionObject{Type: "transition", ID: t.ID, Time: t.Time, Detector: t.By, Life: t.Key.Life.String(), Origin: originText(t.Key.Origin),
		Lane: t.Key.Lane, First: t.First, Last: t.Last, From: t.From, To: t.To}
}

// LaneObject is one lane in JSON.
type LaneObject struct {
	Type     string      `json:"type"`
	Detector Detector    `json:"detector"`
	Sender   string      `json:"sender,omitempty"`
	State    SenderState `json:"state"`
	Life     string      `json:"life"`
	Origin   string      `json:"origin"`
	Lane     uint32      `json:"lane"`
	LaneName string      `json:"lane_name,omitempty"`
	High     uint64      `json:"high"`
	Sums
	Again []Sighted `json:"again,omitempty"`
}

// Object is the lane for programs.
func (l *LaneReport) Object() LaneObject {
	return LaneObject{Type: "lane", Detector: l.By, Sender: l.Sender, State: l.State, Life: l.Key.Life.String(), Origin: originText(l.Key.Origin),
		Lane: l.Key.Lane, LaneName: l.Name, High: l.High, Sums: l.Sums, Again: l.Again}
}
