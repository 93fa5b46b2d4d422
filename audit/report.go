package audit

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Sums are numbers of messages, of one lane or of all, as one detector sees them.
type Sums struct {
	Stored     uint64 `json:"stored"`     // acknowledged, as the books say
	Present    uint64 `json:"present"`    // found, also such as no book has yet
	Duplicates uint64 `json:"duplicates"` // further copies that lie in the destination; only at delivery
	Disorder   uint64 `json:"disorder"`   // found behind a higher number of its lane; only at delivery
	Missing    uint64 `json:"missing"`    // open + suspected + lost
	Open       uint64 `json:"open"`
	Suspected  uint64 `json:"suspected"`
	Lost       uint64 `json:"lost"`
	Late       uint64 `json:"late"`
	Void       uint64 `json:"void"`
	Unknown    uint64 `json:"unknown_numbers"`
	Waived     uint64 `json:"waived"`
	ToGo       uint64 `json:"to_go"`     // acknowledged and not looked at yet
	InFlight   uint64 `json:"in_flight"` // given out, without a fate yet
	// Before are numbers that are not audited: acknowledged before Config.Since, gone
	// before the tap, or the group, began, or older than the group's window.
	Before uint64 `json:"not_audited"`
}

func (s *Sums) add(o *Sums) {
	s.Stored += o.Stored
	s.Present += o.Present
	s.Duplicates += o.Duplicates
	s.Disorder += o.Disorder
	s.Missing += o.Missing
	s.Open += o.Open
	s.Suspected += o.Suspected
	s.Lost += o.Lost
	s.Late += o.Late
	s.Void += o.Void
	s.Unknown += o.Unknown
	s.Waived += o.Waived
	s.ToGo += o.ToGo
	s.InFlight += o.InFlight
	s.Before += o.Before
}

// count enters n numbers with a verdict.
func (s *Sums) count(v Verdict, n uint64) {
	switch v {
	case Open:
		s.Open += n
	case Suspected:
		s.Suspected += n
	case Lost:
		s.Lost += n
	case Void:
		s.Void += n
	case Unknown:
		s.Unknown += n
	case Waived:
		s.Waived += n
	}
	if v.missing() {
		s.Missing += n
	}
}

// LaneReport is one lane, as one detector sees it.
type LaneReport struct {
	Key    LaneKey
	Name   string
	Sender string
	State  SenderState
	By     Detector
	Sums   Sums
	High   uint64 // largest number given out, acknowledged or found
	Again  []Sighted
	Marks  []rollcall.Mark // some of its numbers, with when and where
}

// Aside are messages that a group has set aside: done for its rolls, without an effect
// yet.
type Aside struct {
	Waiting int64 `json:"waiting"`
	Dead    int64 `json:"dead"`
	Parked  int64 `json:"parked"`
}

// Report is one judgement.
type Report struct {
	Destination, Group string
	Time               time.Time
	Traffic            Traffic
	Lives              int
	Detectors          []Detector
	Totals             map[Detector]Sums
	Lanes              []LaneReport
	Findings           []Finding
	// Behind is how many offsets of the log each detector has still to pass, whoever
	// sent what lies there.
	Behind map[Detector]uint64
	// Aside are messages of the group that are set aside: present at effect.
	Aside Aside
	// Repeats are messages without a stamp that came twice: the first few.
	Repeats []Repeat
	// Untold are findings beyond Config.MaxFindings.
	Untold int
	// Transitions are what changed since the last judgement of this Audit.
	Transitions []Transition
	Notes       []Note
}

// Lost is how many numbers are lost, or suspected for good, by any detector: the
// larger of the two, since one message may be missing at both.
func (r *Report) Lost() uint64 {
	var most uint64
	for _, s := range r.Totals {
		most = max(most, s.Lost+s.Suspected)
	}
	return most
}

// Judge gives verdicts. Where something is missing it looks its place up in the
// source, by the powers that it has (rollcall.Explainer, Peeker); with nil it does
// not, and the verdict is Suspected at most.
func (a *Audit) Judge(ctx context.Context, now time.Time, source rollcall.Source) (*Report, error) {
	r, current := a.evaluate(now)
	for range mostLooks {
		if source == nil || len(a.wanted) == 0 {
			break
		}
		if err := a.look(ctx, source); err != nil {
			return nil, err
		}
		r, current = a.evaluate(now)
	}
	a.transitions(r, current)
	r.finish(a.config.MaxFindings)
	return r, nil
}

// mostLooks is how often one Judge looks: what was found missing first, then why.
const mostLooks = 3

// evaluate gives verdicts by what is known now.
func (a *Audit) evaluate(now time.Time) (*Report, map[laneOf]map[Verdict]*interval.Set) {
	r := &Report{Destination: a.destination, Group: a.config.Group, Time: now, Traffic: a.counts, Repeats: a.repeats, Totals: make(map[Detector]Sums)}
	a.wanted = nil
	if a.tap.on {
		r.Detectors = append(r.Detectors, AtDelivery)
	}
	if a.group.on {
		r.Detectors = append(r.Detectors, AtEffect)
	}
	lives := make(map[rollcall.Life]bool)
	current := make(map[laneOf]map[Verdict]*interval.Set)
	for _, l := range a.lanes {
		lives[l.key.Life] = true
		for _, by := range r.Detectors {
			a.judgeLane(r, l, by, current)
		}
	}
	r.Lives = len(lives)
	r.Behind = a.behind(r.Detectors)
	return r, current
}

// behind counts what lies in the log and was not passed.
func (a *Audit) behind(detectors []Detector) map[Detector]uint64 {
	out := make(map[Detector]uint64)
	for _, by := range detectors {
		j := judging{a: a, by: by}
		for n, x := range a.log.extents {
			out[by] += uint64(max(0, x.End-max(x.First, j.next(bracket{partition: n, first: x.First}))))
		}
	}
	return out
}

// finish sums up, sorts for people, and bounds.
func (r *Report) finish(most int) {
	for _, by := range r.Detectors {
		var total Sums
		for i := range r.Lanes {
			if r.Lanes[i].By == by {
				total.add(&r.Lanes[i].Sums)
			}
		}
		r.Totals[by] = total
	}
	slices.SortFunc(r.Lanes, func(x, y LaneReport) int {
		return cmp.Or(cmp.Compare(x.By, y.By), cmp.Compare(x.Sender, y.Sender), x.Key.compare(y.Key))
	})
	slices.SortFunc(r.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Verdict.rank(), y.Verdict.rank()), cmp.Compare(x.By, y.By), x.Key.compare(y.Key), cmp.Compare(x.First, y.First))
	})
	if len(r.Findings) > most {
		r.Untold = len(r.Findings) - most
		r.Findings = r.Findings[:most]
	}
}

// judgeLane adds one lane as one detector sees it.
func (a *Audit) judgeLane(r *Report, l *lane, by Detector, current map[laneOf]map[Verdict]*interval.Set) {
	have := &l.done
	if by == AtDelivery {
		have = &interval.Set{}
		if l.seen != nil {
			have = &l.seen.numbers
		}
	}
	if l.books == nil && have.High() == 0 {
		return // only the other detector knows it
	}
	row := LaneReport{Key: l.key, By: by, State: a.state(l.key.Life, r.Time), High: have.High()}
	if s := a.senders[l.key.Life]; s != nil {
		row.Sender = s.name
	}
	if l.books != nil {
		row.Name, row.Marks = l.books.name, l.books.all().marks
		row.High = max(row.High, l.books.all().given, l.books.all().stored.High())
	}
	if by == AtDelivery && l.seen != nil {
		row.Again = l.seen.again
	}
	c := &collector{a: a, lane: l, by: by, sender: row.Sender, name: row.Name}
	j := judging{a: a, l: l, by: by, have: have, now: r.Time, sum: &row.Sums, out: c}
	j.judge()
	if len(c.states) > 0 {
		current[laneOf{l.key, by}] = c.states
	}
	r.Lanes = append(r.Lanes, row)
	r.Findings = append(r.Findings, c.done()...)
}

// rank: the worst first.
func (v Verdict) rank() int {
	return slices.Index([]Verdict{Lost, Suspected, Open, Unknown, Void, Waived}, v)
}
