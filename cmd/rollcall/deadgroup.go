package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// deadGroup is the rows of one fingerprint.
type deadGroup struct {
	Type        string         `json:"type"`
	Fingerprint string         `json:"fingerprint"`
	Class       string         `json:"class"`
	Code        string         `json:"code,omitempty"`
	Place       string         `json:"place,omitempty"`
	Destination string         `json:"destination"`
	Count       int            `json:"count"`
	ByState     map[string]int `json:"by_state"`
	First       time.Time      `json:"first"` // when the first of them was set aside
	Last        time.Time      `json:"last"`  // when the last of them got into its state
	Example     int64          `json:"example"`
	Cause       string         `json:"cause"` // of the example
	Next        string         `json:"next"`
}

type groupSummary struct {
	deadSummary
	Groups int `json:"groups"`
}

// groups lists what was set aside by fingerprint, the largest first.
func (o *deadOptions) groups(ctx context.Context, a *app, asides rollcall.Asides, name string) error {
	by := make(map[string]*deadGroup)
	sum := groupSummary{deadSummary: deadSummary{Type: "summary", Verb: "dead list", Group: name, ByState: make(map[string]int)}}
	err := o.filter.each(ctx, asides, name, func(rows []rollcall.Aside) (bool, error) {
		for i := range rows {
			sum.Listed++
			sum.ByState[string(rows[i].State)]++
			join(by, &rows[i])
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	sum.Groups = len(by)
	all := slices.SortedFunc(maps.Values(by), func(x, y *deadGroup) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Example, y.Example))
	})
	for _, g := range all {
		g.Next = g.next()
		if err := g.print(a); err != nil {
			return err
		}
	}
	if a.json {
		return a.object(sum)
	}
	a.say("%d set aside in %d groups: %d dead, %d parked, %d waiting", sum.Listed, sum.Groups, sum.ByState["dead"], sum.ByState["parked"], sum.ByState["waiting"])
	return nil
}

func join(by map[string]*deadGroup, row *rollcall.Aside) {
	f := fingerprintOf(row)
	g := by[f.ID()]
	if g == nil {
		g = &deadGroup{Type: "group", Fingerprint: f.ID(), Class: f.Class, Code: f.Code, Place: f.Place, Destination: f.Destination,
			ByState: make(map[string]int), First: row.Created.UTC(), Example: row.ID, Cause: row.Cause}
		by[f.ID()] = g
	}
	g.Count++
	g.ByState[string(row.State)]++
	if row.Created.Before(g.First) {
		g.First = row.Created.UTC()
	}
	if row.Updated.After(g.Last) {
		g.Last = row.Updated.UTC()
	}
}

// next is what to do about them.
func (g *deadGroup) next() string {
	redrive := "rollcall dead redrive --all --fingerprint " + g.Fingerprint
	switch {
	case g.ByState["parked"] > 0:
		return "nobody knows whether they took effect: look where they would have; then " + redrive + ", or discard them"
	case g.ByState["dead"] == 0:
		return "wait: they are tried again by themselves"
	}
	return "mend the cause, then: " + redrive + "; or edit or discard them"
}

func (g *deadGroup) print(a *app) error {
	if a.json {
		return a.object(g)
	}
	states := make([]string, 0, len(g.ByState))
	for _, s := range slices.Sorted(maps.Keys(g.ByState)) {
		states = append(states, fmt.Sprintf("%d %s", g.ByState[s], s))
	}
	what := []string{"of " + oneLine(g.Destination)}
	for _, s := range []string{g.Code, g.Place} {
		if s != "" {
			what = append(what, oneLine(s))
		}
	}
	a.say("%s  %s, %s", g.Fingerprint, strings.Join(states, ", "), strings.Join(what, ", "))
	a.say("  first %s, last %s", g.First.Format(time.RFC3339), g.Last.Format(time.RFC3339))
	a.say("  such as row %d: %s", g.Example, oneLine(g.Cause))
	a.say("  next: %s", g.Next)
	return nil
}
