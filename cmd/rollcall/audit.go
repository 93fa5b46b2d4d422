package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/pipeline"
)

const auditHelp = `Calls the roll: which messages are missing, which came twice, since when and why.

It lays side by side what senders say in their books (side destination _rollcall),
what lies in the destination (with --tap), and what took effect (the rolls of the
pipeline's group). It changes nothing and joins no group; consumers need not know
rollcall for --tap.

Instead of a pipeline file a destination may be named, which is then tapped:
kafka://HOST:PORT/TOPIC (see rollcall send --help), or embedded:FOLDER/DESTINATION.

A number is lost when the broker acknowledged it, everything behind it was looked
at, and it is not there. Every verdict can be revoked: what arrives later is late.
Exit 1 when something is lost, or suspected and nothing can clear it up.

  rollcall audit                               the group in rollcall.yaml
  rollcall audit --tap                         and what lies in its destination
  rollcall audit kafka://broker:9092/orders    a destination, without any group
  rollcall audit --until-sealed --timeout 5m   in a deployment: wait for all verdicts
  rollcall audit --follow                      go on; Ctrl-C ends it with a last report
  rollcall audit waive --finding ID --reason TEXT
                                               accept what is missing`

type auditOptions struct {
	side, since, html        string
	tap, follow, untilSealed bool
	lanes                    bool
	grace, timeout           time.Duration
	maxLanes                 int
	failOn, key              []string
}

func newAudit(a *app) *cobra.Command {
	var o auditOptions
	cmd := &cobra.Command{
		Use:   "audit [flags] [FILE|DESTINATION]",
		Short: "what is missing, doubled, late: which, since when, why",
		Long:  auditHelp,
		Args:  atMostOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && !o.untilSealed {
				return usage(errors.New("--timeout is for --until-sealed alone"), "add --until-sealed, or leave it out")
			}
			return o.run(cmd.Context(), a, fileArgument(args))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.tap, "tap", false, "read the destination itself, without touching any group")
	f.BoolVar(&o.follow, "follow", false, "go on until stopped, and tell what changes")
	f.BoolVar(&o.untilSealed, "until-sealed", false, "wait until everything that is there at the start has its verdict")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "longest wait of --until-sealed")
	f.DurationVar(&o.grace, "grace", 0, "how long a hole may be open before it is suspected (default: audit.grace of the file, 30s)")
	f.StringVar(&o.since, "since", "", "only what was acknowledged from then on: a duration such as 2h, or a time such as 2026-11-27T08:00:00Z")
	f.StringVar(&o.side, "side", "", "side destination with the books of senders (default: audit.side of the file, _rollcall)")
	f.StringVar(&o.html, "html", "", "write a page with a picture of every lane to this file")
	f.BoolVar(&o.lanes, "lanes", false, "list every lane, not only findings")
	f.StringSliceVar(&o.key, "key", nil, "what makes two messages without a stamp the same: id, key, content, header.NAME, payload.PATH, or several with commas (default: id)")
	f.IntVar(&o.maxLanes, "max-lanes", 0, "most lanes that are audited (default: 1,000,000)")
	f.StringSliceVar(&o.failOn, "fail-on", nil, "exit 1 also on: duplicate, unknown, late, dead")
	cmd.AddCommand(newAuditWaive(a))
	return cmd
}

func (o *auditOptions) check() error {
	for _, w := range o.failOn {
		if !slices.Contains([]string{"duplicate", "unknown", "late", "dead"}, w) {
			return usage(fmt.Errorf("--fail-on %q is not known", w), "use duplicate, unknown, late or dead, or several with commas")
		}
	}
	switch {
	case o.grace < 0:
		return usage(fmt.Errorf("--grace %v is not possible", o.grace), "use a duration such as 30s")
	case o.maxLanes < 0:
		return usage(fmt.Errorf("--max-lanes %d is not possible", o.maxLanes), "use 1 or more")
	case o.timeout <= 0:
		return usage(fmt.Errorf("--timeout %v is not possible", o.timeout), "use a duration such as 10m")
	case o.follow && o.untilSealed:
		return usage(errors.New("--follow and --until-sealed are both given"), "give one of the two")
	}
	return nil
}

// sinceTime reads --since.
func (o *auditOptions) sinceTime(now time.Time) (time.Time, error) {
	if o.since == "" {
		return time.Time{}, nil
	}
	if d, err := pipeline.ParseDuration(o.since); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, o.since)
	switch {
	case err != nil:
		return t, usage(fmt.Errorf("--since %q is no duration and no time", o.since), "write 90m, 2h, 14d or 2026-11-27T08:00:00Z")
	case t.After(now):
		return t, usage(fmt.Errorf("--since %s is still to come", o.since), "write a time that is over, or a duration such as 2h")
	}
	return t, nil
}

// audited is what an audit reads, open.
type audited struct {
	watch       *audit.Watch
	destination string
	group       string
	store       store                // nil: a tap alone
	books       rollcall.BooksConfig // as the pipeline file has them
	broker      *broker
	close       func() error
}

// open opens what is to be audited.
func (o *auditOptions) open(ctx context.Context, a *app, at string) (*audited, error) {
	since, err := o.sinceTime(time.Now())
	if err != nil {
		return nil, err
	}
	config := audit.Config{Grace: o.grace, Since: since, MaxLanes: o.maxLanes}
	if len(o.key) > 0 {
		if config.Key, err = rollcall.KeyFunc("", o.key...); err != nil {
			return nil, usage(fmt.Errorf("--key: %s", plain(err)), "use id, key, content, header.NAME or payload.PATH")
		}
	}
	if named(at) {
		return o.openNamed(ctx, a, at, config)
	}
	f, err := pipeline.Load(at, pipeline.Env{})
	if err != nil {
		return nil, err
	}
	a.redactor = f.Redactor()
	if config.Grace == 0 {
		config.Grace = f.Audit.Grace
	}
	if o.side == "" {
		o.side = f.Audit.Side
	}
	config.Group, config.Window = f.Name, f.Dedup.Window
	b, err := openToRead(ctx, a, f)
	if err != nil {
		return nil, err
	}
	s, err := openStore(ctx, f, false)
	if errors.Is(err, os.ErrNotExist) {
		err = noStoreYet(err)
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	out := &audited{destination: b.destination, group: f.Name, store: s, books: f.BooksConfig(), broker: b, close: func() error { return errors.Join(s.Close(), b.close()) }}
	return out, out.begin(ctx, o, audit.Inputs{Tap: o.tap, Store: s}, config)
}

// begin opens the books, and begins to watch.
func (in *audited) begin(ctx context.Context, o *auditOptions, inputs audit.Inputs, config audit.Config) error {
	side, err := in.broker.beside(ctx, cmp.Or(o.side, rollcall.SideDestination))
	if err == nil {
		inputs.Side = side
	} else if !errors.Is(err, rollcall.ErrNoDestination) {
		return errors.Join(err, in.close())
	}
	inputs.Log = in.broker.source
	if in.watch, err = audit.NewWatch(ctx, in.destination, inputs, config); err != nil {
		if errors.Is(err, rollcall.ErrConfig) {
			what, next := lastStep(err)
			err = usage(errors.New(what), next)
		}
		return errors.Join(err, in.close())
	}
	return nil
}

// named reports whether an argument is a destination and no file.
func named(at string) bool {
	return strings.HasPrefix(at, pipeline.KafkaScheme) || strings.HasPrefix(at, "embedded:")
}

// openNamed opens a destination that the command line names.
func (o *auditOptions) openNamed(ctx context.Context, a *app, at string, config audit.Config) (*audited, error) {
	b, err := openPlace(ctx, a, at)
	if err != nil {
		return nil, err
	}
	out := &audited{destination: b.destination, broker: b, close: b.close}
	return out, out.begin(ctx, o, audit.Inputs{Tap: true}, config)
}

// openPlace opens a destination that the command line names, as it is.
func openPlace(ctx context.Context, a *app, at string) (*broker, error) {
	if place, ok := strings.CutPrefix(at, "embedded:"); ok {
		folder, destination := filepath.Split(place)
		if destination == "" || folder == "" {
			return nil, usage(fmt.Errorf("%q names no folder and destination", at), "write embedded:FOLDER/DESTINATION")
		}
		return readLog(ctx, a, filepath.Clean(folder), destination)
	}
	return openTopic(ctx, a, at, "DESTINATION: ")
}

// run audits once, until sealed, or until stopped.
func (o *auditOptions) run(ctx context.Context, a *app, at string) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	in, err := o.open(ctx, a, at)
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() { err = errors.Join(err, in.watch.Close(), in.close()) }()
	page, err := openPage(o.html) // what is there is kept until there is something to read
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, page.close()) }()
	r, err := o.watch(ctx, a, in)
	if r == nil {
		return err
	}
	if page != nil {
		err = errors.Join(err, audit.Page(page.f, r))
	}
	holes, herr := in.watch.Holes(ctx)
	if err := o.print(a, in, r, holes); err != nil {
		return err
	}
	err = errors.Join(err, herr)
	return errors.Join(err, o.verdict(r))
}

// Between two readings: soon again at first, for most audits end with the second one.
const (
	auditSoon  = 100 * time.Millisecond
	auditEvery = time.Second
)

// nextStep is the wait after one.
func nextStep(wait time.Duration) time.Duration { return min(2*wait, auditEvery) }

// watch reads until the question is answered, and returns the last report.
func (o *auditOptions) watch(ctx context.Context, a *app, in *audited) (*audit.Report, error) {
	began := time.Now()
	live := newLive(a, o.follow)
	defer live.end()
	var last *audit.Report
	for wait := auditSoon; ; wait = nextStep(wait) {
		r, err := in.watch.Step(ctx, time.Now())
		switch {
		case err != nil && last != nil && ctx.Err() != nil: // stopped while it read
			return last, o.ended(ctx)
		case err != nil:
			return last, stopped(ctx, err)
		}
		last = r
		if err := live.show(r); err != nil {
			return r, err
		}
		over := time.Since(began)
		switch {
		case o.follow:
		case o.untilSealed && in.watch.Sealed(r):
			return r, nil
		case o.untilSealed && over > o.timeout:
			return r, findings(fmt.Errorf("not sealed after %v: %s", o.timeout, unsealed(r)), "see that the group runs, or raise --timeout")
		case !o.untilSealed && in.watch.Answered(r):
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, o.ended(ctx)
		case <-time.After(wait):
		}
	}
}

// ended is how an audit ends that is stopped: --follow ends so, what still waited for
// verdicts does not.
func (o *auditOptions) ended(ctx context.Context) error {
	if o.follow {
		return nil
	}
	return stopped(ctx, context.Cause(ctx))
}

// stopped is the error of an audit, or what begins with one, that was stopped; another
// error stays what it is.
func stopped(ctx context.Context, err error) error {
	if !interrupted(ctx) {
		return err
	}
	return &failure{exitInterrupted, errors.New("stopped before everything had its verdict; nothing was changed"), "do it again; it begins anew and finds the same"}
}

// unsealed says what has no verdict yet.
func unsealed(r *audit.Report) string {
	var text []string
	for _, by := range r.Detectors {
		s := r.Totals[by]
		text = append(text, fmt.Sprintf("at %s %d offsets of the log not worked off, %d numbers to go, %d open, %d suspected", by, r.Behind[by], s.ToGo, s.Open, s.Suspected))
	}
	return strings.Join(text, "; ")
}

// verdict is the exit code.
func (o *auditOptions) verdict(r *audit.Report) error {
	if n := r.Lost(); n > 0 {
		return findings(fmt.Errorf("%d messages of %s are missing", n, r.Destination), "see the findings above: each names its numbers, its cause and what to do")
	}
	for _, n := range r.Notes {
		if n.Kind == audit.NoteLogBehind {
			return findings(errors.New(n.Text), n.Next)
		}
	}
	if n := r.Aside.Dead + r.Aside.Parked; n > 0 && slices.Contains(o.failOn, "dead") {
		return findings(fmt.Errorf("%d messages of %s are dead or parked (--fail-on dead)", n, r.Destination), "rollcall dead list")
	}
	for _, by := range r.Detectors {
		s := r.Totals[by]
		for _, f := range []struct {
			name string
			n    uint64
		}{{"duplicate", s.Duplicates}, {"unknown", s.Unknown}, {"late", s.Late}, {"duplicate", r.Traffic.Repeated}} {
			if f.n > 0 && slices.Contains(o.failOn, f.name) {
				return findings(fmt.Errorf("%d numbers of %s are %s (--fail-on %s)", f.n, r.Destination, f.name, f.name), "see the findings above")
			}
		}
	}
	return nil
}

// noStoreYet says what a missing store means.
func noStoreYet(err error) error {
	return usage(fmt.Errorf("%w", err), "if nothing was worked off yet, rollcall run makes it; else mend the store's path; or audit the destination alone: rollcall audit kafka://… or embedded:…")
}
