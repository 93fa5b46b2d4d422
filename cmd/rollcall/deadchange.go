package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
)

// change is what redrive and discard differ in.
type change struct {
	verb, past, short, reason string
	from                      []rollcall.AsideState // rows that can be changed
	all                       []rollcall.AsideState // rows that --all means without --state
	needsReason               bool
	do                        func(operations, context.Context, string, []rollcall.Aside, rollcall.Operation) (int, error)
}

var redriving = change{
	verb: "redrive", past: "redriven", short: "make dead and parked rows due again",
	reason: "why, for the operator log",
	from:   []rollcall.AsideState{rollcall.AsideDead, rollcall.AsideParked},
	all:    []rollcall.AsideState{rollcall.AsideDead, rollcall.AsideParked},
	do:     operations.Redrive,
}

var discarding = change{
	verb: "discard", past: "discarded", short: "give rows up for good; the operator log keeps their bodies",
	reason: "why, for the operator log; required", needsReason: true,
	from: []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked},
	all:  []rollcall.AsideState{rollcall.AsideDead, rollcall.AsideParked},
	do:   operations.Discard,
}

type changeSummary struct {
	Type        string `json:"type"`
	Verb        string `json:"verb"`
	Group       string `json:"group"`
	Matched     int    `json:"matched"`
	Changed     int    `json:"changed"`
	DryRun      bool   `json:"dry_run"`
	Interrupted bool   `json:"interrupted,omitempty"`
}

func newDeadChange(a *app, o *deadOptions, c change) *cobra.Command {
	cmd := &cobra.Command{
		Use:   c.verb + " ID... | --all",
		Short: c.short,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.all && len(args) > 0:
				return usage(errors.New("--all and rows are both given"), "give one of the two")
			case !o.all && o.filter.given():
				return usage(errors.New("--state, --key, --cause and their like choose among all"), "add --all")
			case !o.all && o.rate != 0:
				return usage(errors.New("--rate is the pace of many"), "add --all")
			case o.rate < 0:
				return usage(fmt.Errorf("--rate %d is not possible", o.rate), "use 1 or more rows a second, or leave it out")
			case !o.all:
				return someIDs(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.change(cmd.Context(), a, c, args) },
	}
	o.filter.flags(cmd)
	o.operationFlags(cmd, c.reason)
	cmd.Flags().BoolVar(&o.all, "all", false, "all dead and parked rows, or those that the other flags choose")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do it, where more than one row is meant")
	cmd.Flags().IntVar(&o.rate, "rate", 0, "with --all: so many rows a second (default: as fast as it goes)")
	return cmd
}

func someIDs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return nil
	}
	return usage(errors.New("no row is named"), "see: rollcall dead list")
}

func (o *deadOptions) change(ctx context.Context, a *app, c change, args []string) error {
	if err := o.filter.read(c.all...); err != nil {
		return err
	}
	w := &changing{options: o, app: a, change: c, op: o.operation(),
		sum: changeSummary{Type: "summary", Verb: "dead " + c.verb, DryRun: !o.yes && (o.all || len(args) > 1)}}
	if c.needsReason && !w.sum.DryRun && strings.TrimSpace(o.reason) == "" {
		return usage(errors.New("--reason is missing: what is discarded is gone, and the operator log says why; nothing was discarded"), `add --reason "…"`)
	}
	if ctx == nil {
		ctx = context.Background()
	}
	f, store, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	defer store.Close()
	ctx, stop := a.interruptible(ctx)
	defer stop()
	w.sum.Group, w.operations, w.said = f.Name, store.Operations(), time.Now()
	if o.all {
		err = o.filter.each(ctx, store.Asides(), f.Name, func(rows []rollcall.Aside) (bool, error) { return w.work(ctx, rows) })
	} else {
		var rows []rollcall.Aside
		if rows, err = byID(ctx, store.Asides(), f.Name, args); err == nil {
			o.explain(a, c, rows)
			_, err = w.work(ctx, rows)
		}
	}
	return w.end(ctx, err)
}

// changing is a redrive or a discard under way. Each piece is a transaction of its
// own, with its entries of the operator log: it can be killed at any moment.
type changing struct {
	options    *deadOptions
	app        *app
	change     change
	op         rollcall.Operation
	operations operations
	sum        changeSummary
	said       time.Time // when it was last said how far it is
}

// work changes the rows that can be, a piece at a time, until it is stopped.
func (w *changing) work(ctx context.Context, rows []rollcall.Aside) (bool, error) {
	able := slices.DeleteFunc(slices.Clone(rows), func(r rollcall.Aside) bool { return !slices.Contains(w.change.from, r.State) })
	w.sum.Matched += len(able)
	for len(able) > 0 && !w.sum.DryRun {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		n := min(len(able), w.piece())
		began := time.Now()
		changed, err := w.change.do(w.operations, context.WithoutCancel(ctx), w.sum.Group, able[:n], w.op)
		w.sum.Changed += changed
		if err != nil {
			return false, err
		}
		able = able[n:]
		w.tell()
		if w.options.rate > 0 {
			rest := time.Duration(n)*time.Second/time.Duration(w.options.rate) - time.Since(began)
			select {
			case <-time.After(rest):
			case <-ctx.Done():
			}
		}
	}
	return true, nil
}

// piece is how many rows go into one transaction: with --rate about five a second.
func (w *changing) piece() int {
	if w.options.rate == 0 {
		return page
	}
	return min(page, max(1, w.options.rate/5))
}

func (w *changing) tell() {
	if time.Since(w.said) >= progressEvery {
		w.said = time.Now()
		w.app.note("%s so far: %d", w.change.past, w.sum.Changed)
	}
}

// end says how far it came.
func (w *changing) end(ctx context.Context, err error) error {
	if w.sum.Interrupted = interrupted(ctx); w.sum.Interrupted {
		if err := w.sum.print(w.app, w.change); err != nil {
			return err
		}
		return errInterrupted
	}
	if err != nil && w.sum.Changed > 0 {
		err = fmt.Errorf("%d rows were %s before; running it again goes on: %w", w.sum.Changed, w.change.past, err)
	}
	if err != nil {
		return err
	}
	return w.sum.print(w.app, w.change)
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
