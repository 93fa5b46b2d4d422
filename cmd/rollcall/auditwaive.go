package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
)

const waiveHelp = `Accepts numbers as missing: they are counted as waived from then on, with who did it
and why, in the operator log (rollcall dead log). Nothing else changes: a message that
arrives after all takes effect.`

type waiveOptions struct {
	finding, numbers, reason, operator string
}

type waiveSummary struct {
	Type     string `json:"type"`
	Verb     string `json:"verb"`
	Group    string `json:"group"`
	Finding  string `json:"finding"`
	Life     string `json:"life"`
	Lane     uint32 `json:"lane"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Operator string `json:"operator"`
	Reason   string `json:"reason"`
}

func newAuditWaive(a *app) *cobra.Command {
	var o waiveOptions
	cmd := &cobra.Command{
		Use:   "waive --finding ID --reason TEXT [FILE]",
		Short: "accept what is missing, with a reason",
		Long:  waiveHelp,
		Args:  atMostOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), a, fileArgument(args))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.finding, "finding", "", "id of the finding, as rollcall audit prints it")
	f.StringVar(&o.numbers, "numbers", "", "only these of it: N or FIRST-LAST")
	f.StringVar(&o.reason, "reason", "", "why it may stay missing; kept in the operator log")
	f.StringVar(&o.operator, "operator", "", "who does it (default: user@host)")
	return cmd
}

func (o *waiveOptions) run(ctx context.Context, a *app, file string) (err error) {
	if strings.TrimSpace(o.reason) == "" {
		return usage(errors.New("--reason is missing: numbers are not waived without one"), `add --reason "…"`)
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	in, f, err := findFinding(ctx, a, file, o.finding, o.numbers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.watch.Close(), in.close()) }()
	if v := f.Verdict; v != audit.Lost && v != audit.Suspected && v != audit.Open {
		return usage(fmt.Errorf("finding %s is %s, and not missing", f.ID, f.Verdict), "waive what is open, suspected or lost: see rollcall audit")
	}
	entry := rollcall.OperatorEntry{Time: time.Now(), Operator: cmp.Or(o.operator, whoami()), Verb: rollcall.OperatorWaive, Reason: o.reason,
		Destination: in.destination, Scope: senderScope(f), Numbers: rollcall.NumberRange{First: f.First, Last: f.Last}}
	if err := in.store.Operations().Note(ctx, in.group, entry); err != nil {
		return fmt.Errorf("%w; see rollcall audit whether it counts as waived", err)
	}
	if a.json {
		return a.object(waiveSummary{"summary", "audit waive", in.group, f.ID, f.Key.Life.String(), f.Key.Lane, f.First, f.Last, entry.Operator, o.reason})
	}
	a.say("waived: %s of lane %s, %s", numbersText(f), laneText(f.Key.Lane, f.Lane), senderText(f.Sender, f.Key))
	return nil
}

func senderScope(f *audit.Finding) rollcall.Scope {
	return rollcall.Scope{Kind: rollcall.ScopeSender, ID: f.Key.Life, Origin: f.Key.Origin, Number: f.Key.Lane}
}

func numbersText(f *audit.Finding) string {
	if f.Count() == 1 {
		return "number " + f.Numbers()
	}
	return fmt.Sprintf("%d numbers, %s", f.Count(), f.Numbers())
}

// findFinding audits the group of a pipeline file until the finding is there, and
// returns it, or those of its numbers that are asked for.
func findFinding(ctx context.Context, a *app, file, id, numbers string) (*audited, *audit.Finding, error) {
	if id == "" {
		return nil, nil, usage(errors.New("--finding is missing"), "rollcall audit prints the id of each finding")
	}
	if named(file) {
		return nil, nil, usage(errors.New("a destination has no store in which that could be kept"), "name the pipeline file of the group")
	}
	o := auditOptions{}
	in, err := o.open(ctx, a, file)
	if err != nil {
		return nil, nil, stopped(ctx, err)
	}
	for wait := auditSoon; ; wait = nextStep(wait) {
		r, err := in.watch.Step(ctx, time.Now())
		if err == nil {
			for i := range r.Findings {
				if f := &r.Findings[i]; in.watch.Named(f, id) {
					if err = clip(f, numbers); err != nil {
						break
					}
					f.ID = id // as it was asked for
					return in, f, nil
				}
			}
			if err == nil && in.watch.Answered(r) {
				err = usage(fmt.Errorf("--finding %q: there is none now: it was brought back, has more numbers, or never was", id), "rollcall audit prints the findings that there are, with their ids")
			}
		}
		if err != nil {
			return nil, nil, errors.Join(stopped(ctx, err), in.watch.Close(), in.close())
		}
		select {
		case <-ctx.Done():
			return nil, nil, errors.Join(stopped(ctx, context.Cause(ctx)), in.watch.Close(), in.close())
		case <-time.After(wait):
		}
	}
}

// clip leaves those numbers of a finding that are asked for: N, FIRST-LAST, or all.
func clip(f *audit.Finding, numbers string) error {
	if numbers == "" {
		return nil
	}
	from, to, isRange := strings.Cut(numbers, "-")
	if !isRange {
		to = from
	}
	first, ferr := strconv.ParseUint(from, 10, 64)
	last, lerr := strconv.ParseUint(to, 10, 64)
	if errors.Join(ferr, lerr) != nil || first > last || first < f.First || last > f.Last {
		return usage(fmt.Errorf("--numbers %q is none of the finding's", numbers), fmt.Sprintf("write N or FIRST-LAST within %d-%d", f.First, f.Last))
	}
	f.First, f.Last = first, last
	return nil
}
