package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
)

// change is what redrive and discard differ in.
type change struct {
	verb, past, short string
	from              []rollcall.AsideState // rows that can be changed
	all               []rollcall.AsideState // rows that --all means without --state
	do                func(store, context.Context, string, []rollcall.Aside) (int, error)
}

var redriving = change{
	verb: "redrive", past: "redriven", short: "make dead and parked rows due again",
	from: []rollcall.AsideState{rollcall.AsideDead, rollcall.AsideParked},
	all:  []rollcall.AsideState{rollcall.AsideDead, rollcall.AsideParked},
	do:   store.Redrive,
}

var discarding = change{
	verb: "discard", past: "discarded", short: "give rows up for good; their bytes are gone",
	from: []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked},
	all:  []rollcall.AsideState{rollcall.AsideDead, rollcall.AsideParked},
	do:   store.Discard,
}

type changeSummary struct {
	Type    string `json:"type"`
	Verb    string `json:"verb"`
	Group   string `json:"group"`
	Matched int    `json:"matched"`
	Changed int    `json:"changed"`
	DryRun  bool   `json:"dry_run"`
}

func newDeadChange(a *app, o *deadOptions, c change) *cobra.Command {
	cmd := &cobra.Command{
		Use:   c.verb + " ID... | --all",
		Short: c.short,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.all && len(args) > 0:
				return usage(errors.New("--all and rows are both given"), "give one of the two")
			case !o.all && (o.state != "" || o.key != ""):
				return usage(errors.New("--state and --key choose among all"), "add --all")
			case !o.all:
				return someIDs(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.change(cmd.Context(), a, c, args) },
	}
	o.filterFlags(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "all dead and parked rows, or those of --state and --key")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do it, where more than one row is meant")
	return cmd
}

func someIDs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return nil
	}
	return usage(errors.New("no row is named"), "see: rollcall dead list")
}

func (o *deadOptions) change(ctx context.Context, a *app, c change, args []string) error {
	states, err := o.states(c.all...)
	if err != nil {
		return err
	}
	f, store, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	defer store.Close()
	sum := changeSummary{Type: "summary", Verb: "dead " + c.verb, Group: f.Name, DryRun: !o.yes && (o.all || len(args) > 1)}
	work := func(rows []rollcall.Aside) (bool, error) {
		able := slices.DeleteFunc(slices.Clone(rows), func(r rollcall.Aside) bool { return !slices.Contains(c.from, r.State) })
		sum.Matched += len(able)
		if sum.DryRun {
			return true, nil
		}
		n, err := c.do(store, ctx, f.Name, able)
		sum.Changed += n
		return true, err
	}
	if o.all {
		err = eachPage(ctx, store.Asides(), f.Name, rollcall.AsideFilter{States: states, Key: o.key}, work)
	} else {
		var rows []rollcall.Aside
		if rows, err = byID(ctx, store.Asides(), f.Name, args); err == nil {
			o.explain(a, c, rows)
			_, err = work(rows)
		}
	}
	if err != nil && sum.Changed > 0 {
		err = fmt.Errorf("%d rows were %s before: %w", sum.Changed, c.past, err)
	}
	if err != nil {
		return err
	}
	return sum.print(a, c)
}

// explain names the rows that cannot be changed, and why.
func (o *deadOptions) explain(a *app, c change, rows []rollcall.Aside) {
	for _, r := range rows {
		if !slices.Contains(c.from, r.State) {
			a.note("row %d is %s: it is not %s", r.ID, r.State, c.past)
		}
	}
}

func (s *changeSummary) print(a *app, c change) error {
	switch {
	case a.json:
		return a.object(s)
	case s.DryRun:
		a.say("would be %s: %d", c.past, s.Matched)
		a.note("nothing was changed; next: add --yes")
	default:
		a.say("%s: %d", c.past, s.Changed)
	}
	return nil
}
