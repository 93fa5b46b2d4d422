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
	"github.com/rollcall-mq/rollcall/internal/fingerprint"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// deadFilter chooses rows.
type deadFilter struct {
	state, key, destination string
	cause, fingerprint      string
	older, newer            string
	olderThan, newerThan    time.Duration
	rows                    rollcall.AsideFilter
}

func (d *deadFilter) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&d.state, "state", "", "only these: waiting, dead, parked, with commas between")
	f.StringVar(&d.key, "key", "", "only of this key")
	f.StringVar(&d.destination, "destination", "", "only of this destination")
	f.StringVar(&d.cause, "cause", "", "only those whose cause contains this")
	f.StringVar(&d.fingerprint, "fingerprint", "", "only of this fingerprint (see: dead list --group)")
	f.StringVar(&d.older, "older", "", "only those in their state for longer than this, such as 2h or 14d")
	f.StringVar(&d.newer, "newer", "", "only those in their state for less than this")
}

// given reports whether any flag chooses.
func (d *deadFilter) given() bool {
	return d.state+d.key+d.destination+d.cause+d.fingerprint+d.older+d.newer != ""
}

// read checks the flags; defaults are the states without --state.
func (d *deadFilter) read(defaults ...rollcall.AsideState) error {
	states, err := d.states(defaults...)
	if err != nil {
		return err
	}
	if d.olderThan, err = age("--older", d.older); err != nil {
		return err
	}
	if d.newerThan, err = age("--newer", d.newer); err != nil {
		return err
	}
	if id := d.fingerprint; id != "" && (len(id) != 12 || strings.Trim(id, "0123456789abcdef") != "") {
		return usage(fmt.Errorf("--fingerprint %q is none: it has 12 digits of 0 to 9 and a to f", id), "see: rollcall dead list --group")
	}
	d.rows = rollcall.AsideFilter{States: states, Key: d.key, Destination: d.destination}
	return nil
}

func age(flag, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	long, err := pipeline.ParseDuration(text)
	if err == nil && long <= 0 {
		err = errors.New("it is not longer than nothing")
	}
	if err != nil {
		return 0, usage(fmt.Errorf("%s %q: %w", flag, text, err), "write such as 30m, 2h or 14d")
	}
	return long, nil
}

// states reads --state; none means the defaults.
func (d *deadFilter) states(defaults ...rollcall.AsideState) ([]rollcall.AsideState, error) {
	if d.state == "" {
		return defaults, nil
	}
	known := []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked}
	var out []rollcall.AsideState
	for _, s := range strings.Split(d.state, ",") {
		if !slices.Contains(known, rollcall.AsideState(s)) {
			return nil, usage(fmt.Errorf("--state %q is not known", s), "use waiting, dead, parked, or several with commas")
		}
		out = append(out, rollcall.AsideState(s))
	}
	return out, nil
}

// misses reports whether a row is none of those that are meant.
func (d *deadFilter) misses(row *rollcall.Aside, now time.Time) bool {
	since := now.Sub(row.Updated)
	return !strings.Contains(row.Cause, d.cause) ||
		d.fingerprint != "" && fingerprintOf(row).ID() != d.fingerprint ||
		d.olderThan > 0 && since <= d.olderThan || d.newerThan > 0 && since >= d.newerThan
}

func fingerprintOf(row *rollcall.Aside) fingerprint.Fingerprint {
	return fingerprint.Of(row.Cause, row.Message.Destination)
}

// page is how many rows are read, or changed in one transaction.
const page = 500

// each calls do with the rows that are meant, page by page, until it says stop.
func (d *deadFilter) each(ctx context.Context, asides rollcall.Asides, group string, do func([]rollcall.Aside) (bool, error)) error {
	filter, now := d.rows, time.Now()
	filter.Max = page
	for {
		rows, err := asides.List(ctx, group, filter)
		if err != nil || len(rows) == 0 {
			return err
		}
		read, last := len(rows), rows[len(rows)-1].ID
		rows = slices.DeleteFunc(rows, func(r rollcall.Aside) bool { return d.misses(&r, now) })
		more, err := do(rows)
		if err != nil || !more || read < page {
			return err
		}
		filter.After = last
	}
}
