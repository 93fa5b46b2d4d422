package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
)

type deadOptions struct {
	config, state, key string
	all, yes           bool
	max                int
}

func newDead(a *app) *cobra.Command {
	var o deadOptions
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "the messages set aside: list, show, redrive, discard",
		Long: `The messages set aside: dead (given up), parked (in doubt whether they took
effect) and waiting (to be tried again). Redrive makes dead and parked ones due
again; doing it twice is harmless. Discard gives them up for good. What would
change many is only shown, until --yes is added.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usage(errors.New("what to do is missing"), "rollcall dead list, show, redrive, discard or outbox")
		},
	}
	cmd.PersistentFlags().StringVar(&o.config, "config", defaultFile, "pipeline file")
	cmd.AddCommand(newDeadList(a, &o), newDeadShow(a, &o),
		newDeadChange(a, &o, redriving), newDeadChange(a, &o, discarding), newDeadOutbox(a, &o), newDeadRecover(a, &o))
	return cmd
}

// openAsides opens the store of the pipeline file, which must be there.
func (o *deadOptions) open(ctx context.Context, a *app) (*pipeline.File, store, error) {
	f, err := pipeline.Load(o.config, pipeline.Env{})
	if err != nil {
		return nil, nil, err
	}
	a.redactor = f.Redactor()
	s, err := openStore(ctx, f, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, usage(fmt.Errorf("%w: nothing was set aside yet", err), "rollcall run makes it; or mend store.sqlite.path")
	}
	return f, s, err
}

// states reads --state; none means the defaults.
func (o *deadOptions) states(defaults ...rollcall.AsideState) ([]rollcall.AsideState, error) {
	if o.state == "" {
		return defaults, nil
	}
	known := []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked}
	var out []rollcall.AsideState
	for _, s := range strings.Split(o.state, ",") {
		if !slices.Contains(known, rollcall.AsideState(s)) {
			return nil, usage(fmt.Errorf("--state %q is not known", s), "use waiting, dead, parked, or several with commas")
		}
		out = append(out, rollcall.AsideState(s))
	}
	return out, nil
}

// page is how many rows are read, or changed in one transaction.
const page = 500

// eachPage calls do with the rows of a filter, page by page, until it says stop.
func eachPage(ctx context.Context, asides rollcall.Asides, group string, filter rollcall.AsideFilter, do func([]rollcall.Aside) (bool, error)) error {
	filter.Max = page
	for {
		rows, err := asides.List(ctx, group, filter)
		if err != nil || len(rows) == 0 {
			return err
		}
		more, err := do(rows)
		if err != nil || !more || len(rows) < page {
			return err
		}
		filter.After = rows[len(rows)-1].ID
	}
}

// everyState are the states in which a row can be found.
var everyState = []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked,
	rollcall.AsideAttempt, rollcall.AsideDone, rollcall.AsideDiscarded}

// byID reads rows in whatever state; a number that no row has is an error.
func byID(ctx context.Context, asides rollcall.Asides, group string, args []string) ([]rollcall.Aside, error) {
	var rows []rollcall.Aside
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return nil, usage(fmt.Errorf("%q is no number of a row", arg), "see: rollcall dead list")
		}
		if slices.ContainsFunc(rows, func(r rollcall.Aside) bool { return r.ID == id }) {
			continue
		}
		found, err := asides.List(ctx, group, rollcall.AsideFilter{IDs: []int64{id}, States: everyState, Max: 1})
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, usage(fmt.Errorf("there is no row %d in group %s", id, group), "see: rollcall dead list")
		}
		rows = append(rows, found...)
	}
	return rows, nil
}
