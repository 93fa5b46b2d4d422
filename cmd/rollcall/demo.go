package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

const demoHelp = `Ten seconds on this machine, no server. Generated orders go into an embedded
log. Then eight textbook patterns and rollcall work it off, each with a
database of its own, while the same faults hit all of them: workers and the
sender are killed at chosen steps, deliveries and sends are repeated, one
worker sleeps past its lease and wakes, answers are lost, one order is poison
and one customer fails twice.

A ledger of effects without a unique index says what came of it. Exit 1 if
rollcall lost or doubled an order, or if a pattern that must fail did not: then
the run proved nothing.

--kafka is the same over Kafka's protocol, still without an installation: the
broker runs in this process, the patterns read with the plain client franz-go
and commit their offsets, and rollcall reads with its Kafka driver. Whoever is
killed or sleeps keeps the partition for 3 s, so it takes half a minute.`

type demoOptions struct {
	messages int
	seed     uint64
	keep     string
	html     string
	kafka    bool
}

func newDemo(a *app) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "ten seconds, no server: textbook patterns against rollcall under kills",
		Long:  demoHelp,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				o.seed = uint64(rand.Uint32())
			}
			return o.run(a)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.messages, "messages", 300, fmt.Sprintf("how many orders, %d to %d", fault.Fewest, fault.Most))
	f.Uint64Var(&o.seed, "seed", 0, "the same faults on the same orders again (default: another each time)")
	f.StringVar(&o.keep, "keep", "", "leave log, databases and histories in this new or empty folder")
	f.StringVar(&o.html, "html", "", "write the report as a page, with a timeline of the worst order of each pattern")
	f.BoolVar(&o.kafka, "kafka", false, "over Kafka's protocol, on a broker in this process (half a minute)")
	return cmd
}

// again is how to have the same run once more.
func (o *demoOptions) again() string {
	text := fmt.Sprintf("rollcall demo --seed %d --messages %d", o.seed, o.messages)
	if o.kafka {
		text += " --kafka"
	}
	return text
}

func (o *demoOptions) check() error {
	if o.messages < fault.Fewest || o.messages > fault.Most {
		return usage(fmt.Errorf("--messages %d is not possible: %d to %d", o.messages, fault.Fewest, fault.Most),
			"leave --messages out for 300; rollcall bench is for large numbers")
	}
	return nil
}

func (o *demoOptions) run(a *app) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	ctx, stop := a.interruptible(context.Background())
	defer stop()
	page, err := openPage(o.html)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, page.close()) }()
	folder, leave, err := o.folder()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()

	started := time.Now()
	d := &demo{app: a, plan: fault.NewPlan(o.seed, o.messages), folder: folder}
	if o.kafka {
		broker, end, err := startDemoKafka()
		if err != nil {
			return err
		}
		defer end()
		d.kafka = broker
	}
	runs, err := d.run(ctx)
	if err != nil {
		if interrupted(ctx) {
			return &failure{exitInterrupted, errors.New("interrupted; nothing of it runs any more"), ""}
		}
		return err
	}
	verdicts := make([]check.Verdict, len(runs))
	for i := range runs {
		verdicts[i] = check.Judge(&runs[i])
	}
	wrong := objections(verdicts, d.unbitten)
	if err := page.write(o.seed, runs, verdicts, wrong); err != nil {
		return err
	}
	if err := a.printDemo(o, verdicts, wrong, time.Since(started)); err != nil {
		return err
	}
	return verdictOf(wrong)
}

// objection is a reason for exit code 1.
type objection struct {
	broken bool // rollcall is; else the run proved nothing
	text   string
}

// leastKills is how many kills must have hit each pattern, else it was not
// tried.
const leastKills = 3

// objections are what is wrong with rollcall, and with the run itself.
func objections(verdicts []check.Verdict, unbitten map[string]int) []objection {
	var out []objection
	for i := range verdicts {
		v := &verdicts[i]
		e := specimen.Expected(v.Name)
		add := func(broken bool, format string, args ...any) {
			out = append(out, objection{broken, v.Name + " " + fmt.Sprintf(format, args...)})
		}
		ours := v.Name == demoRollcall
		if v.Problem != "" {
			add(ours, "%s", v.Problem)
		}
		if v.Lost > 0 && !e.MayLose {
			add(ours, "lost %d", v.Lost)
		}
		if v.Doubled > 0 && !e.MayDouble {
			add(ours, "doubled %d", v.Doubled)
		}
		if ours && v.Rejected != 1 {
			add(true, "set %d orders aside, it had to be the poison order alone", v.Rejected)
		}
		if e.MustLose && v.Lost == 0 {
			add(false, "had to lose an order and did not")
		}
		if e.MustDouble && doubledByWorkers(v) == 0 {
			add(false, "had to double an order that was sent once and did not")
		}
		if v.Killed < leastKills {
			add(false, "was killed %d times with an order in hand, it had to be %d", v.Killed, leastKills)
		}
		if n := unbitten[v.Name]; n > 0 {
			add(false, "never came to the step of %d faults", n)
		}
		for _, f := range v.Findings {
			if f.Cause == check.Unexplained {
				add(ours, "%s %s: %s", f.What, f.Order, f.Cause)
			}
		}
	}
	return out
}

// doubledByWorkers leaves out what doubled because it was sent twice.
func doubledByWorkers(v *check.Verdict) (n int) {
	for _, f := range v.Findings {
		if f.What == check.Doubled && !f.Sent {
			n++
		}
	}
	return n
}

// verdictOf turns objections into the error of exit code 1.
func verdictOf(wrong []objection) error {
	for _, o := range wrong {
		if o.broken {
			return findings(errors.New(o.text), "this should never be: run it again with the seed and --keep, and report it")
		}
	}
	if len(wrong) > 0 {
		return findings(fmt.Errorf("the run proved nothing: %s", wrong[0].text), "run it again on a machine that is less busy; report it if it comes back with the same seed")
	}
	return nil
}
