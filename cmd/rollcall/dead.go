package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
)

type deadOptions struct {
	config           string
	filter           deadFilter
	operator, reason string
	all, yes, group  bool
	max, rate        int
}

func newDead(a *app) *cobra.Command {
	var o deadOptions
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "the messages set aside: list, show, edit, redrive, discard",
		Long: `The messages set aside: dead (given up), parked (in doubt whether they took
effect) and waiting (to be tried again). Redrive makes dead and parked ones due
again; doing it twice, or in the middle of another, is harmless. Edit replaces one
by a corrected message. Discard gives them up for good. What would change many is
only shown, until --yes is added. All of it is written to the operator log, which
nothing changes: rollcall dead log.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usage(errors.New("what to do is missing"), "rollcall dead list, show, edit, redrive, discard, log or outbox")
		},
	}
	cmd.PersistentFlags().StringVar(&o.config, "config", defaultFile, "pipeline file")
	cmd.AddCommand(newDeadList(a, &o), newDeadShow(a, &o), newDeadEdit(a, &o),
		newDeadChange(a, &o, redriving), newDeadChange(a, &o, discarding), newDeadLog(a, &o), newDeadOutbox(a, &o), newDeadRecover(a, &o))
	return cmd
}

func (o *deadOptions) operationFlags(cmd *cobra.Command, reason string) {
	cmd.Flags().StringVar(&o.operator, "operator", "", "who does it, for the operator log (default: user@host)")
	cmd.Flags().StringVar(&o.reason, "reason", "", reason)
}

// operation is who does it, and why.
func (o *deadOptions) operation() rollcall.Operation {
	return rollcall.Operation{Operator: cmp.Or(o.operator, whoami()), Reason: o.reason, Time: time.Now()}
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
