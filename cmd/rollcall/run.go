package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
)

const runHelp = `Runs the pipeline: each message takes effect once, in the transaction in which
it is recorded as done. Any number of processes may run the same file; they
share the partitions. Ctrl-C finishes what is in hand; a second one stops at
once. Neither loses anything.

At the end it prints what became of all messages, and whether that adds up:

  stored = applied + repeated + stale + filtered + discarded
         + waiting + dead + parked + missing

It is judged when everything stored is finished; otherwise how much is to go.`

type runOptions struct {
	untilEmpty bool
	failOn     string
	parallel   int
	acceptLost bool
}

func newRun(a *app) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] [FILE]",
		Short: "run the pipeline: source to effect, until stopped",
		Long:  runHelp,
		Args:  atMostOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), a, fileArgument(args))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.untilEmpty, "until-empty", false, "stop when what lies in the source at the start is finished")
	f.StringVar(&o.failOn, "fail-on", "", "dead: exit 1 when messages are dead or parked")
	f.BoolVar(&o.acceptLost, "accept-lost", false, "Kafka: go on behind messages that were removed before they were worked off; they count as missing")
	f.IntVar(&o.parallel, "parallel", 0, "transactions of one partition side by side (default: the pipeline file's)")
	return cmd
}

func (o *runOptions) check() error {
	if o.failOn != "" && o.failOn != "dead" {
		return usage(fmt.Errorf("--fail-on %q is not known", o.failOn), "use --fail-on dead")
	}
	if o.parallel < 0 {
		return usage(fmt.Errorf("--parallel %d is not possible", o.parallel), "use 1 or more")
	}
	return nil
}

// pipe is a pipeline with its drivers open.
type pipe struct {
	file    *pipeline.File
	broker  *broker
	store   store
	consume newConsumer
}

func (o *runOptions) openPipe(ctx context.Context, a *app, path string) (*pipe, error) {
	f, err := pipeline.Load(path, pipeline.Env{})
	if err != nil {
		return nil, err
	}
	a.redactor = f.Redactor()
	if o.acceptLost {
		if !f.AcceptLost() {
			return nil, usage(errors.New("--accept-lost is for a topic of Kafka, or a stream of RabbitMQ"),
				"leave it out: what the embedded log removed is counted as missing anyway, and a queue removes nothing by age")
		}
	}
	store, err := openStore(ctx, f, true)
	if err != nil {
		return nil, err
	}
	consume, err := store.Effects(ctx, f)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	b, err := openBroker(ctx, a, f, store.(claimer).Claims())
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &pipe{f, b, store, consume}, nil
}

func (p *pipe) close() error { return errors.Join(p.broker.close(), p.store.Close()) }

// run works until it is stopped or the source is empty, and prints the books.
func (o *runOptions) run(ctx context.Context, a *app, path string) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if ctx == nil {
		ctx = context.Background()
	}
	p, err := o.openPipe(ctx, a, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	ctx, stop := a.interruptible(ctx)
	defer stop()

	meter := newMeter(a)
	config := o.config(p.file)
	config.Observer = meter
	consumer := p.consume(p.broker.source, config)
	requests, err := newRelaying(ctx, a, p, meter)
	if err != nil {
		return err
	}
	meter.begin()
	requests.begin(ctx)
	if o.untilEmpty {
		err = consumer.RunUntilEmpty(ctx)
	} else {
		err = consumer.Run(ctx)
	}
	err = errors.Join(err, requests.end(ctx, o.untilEmpty && err == nil))
	meter.end()
	if errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled) && interrupted(ctx) {
		err = nil // it ended because it was to end; the books say how far it came
	}
	if err != nil {
		return ended(p.file, err)
	}
	return o.account(context.WithoutCancel(ctx), a, p, requests, meter, interrupted(ctx))
}

// config is the consumer's settings: the file's, and what flags change.
func (o *runOptions) config(f *pipeline.File) rollcall.ConsumerConfig {
	config := f.ConsumerConfig()
	if o.parallel > 0 {
		config.Parallel = o.parallel
	}
	return config
}

// account prints what became of the messages and says what the exit code is.
func (o *runOptions) account(ctx context.Context, a *app, p *pipe, requests *relaying, m *meter, stopped bool) error {
	measurer, _ := p.broker.source.(rollcall.Measurer)
	if !p.broker.source.Capabilities().Positions {
		measurer = nil
	}
	b, err := p.store.Book(ctx, p.file.Name, measurer, p.broker.destination)
	if err != nil {
		return err
	}
	kept, err := requests.account(ctx, a, p.file.Name)
	if err != nil {
		return err
	}
	if err := printBook(a, p.file.Name, &b, m, stopped); err != nil {
		return err
	}
	switch {
	case b.Stored < 0:
		return findings(fmt.Errorf("%s holds less than this group has done: it is another log, or a new one", b.Destination),
			"see that the folder, or the cluster, is the right one; if it was made again on purpose, use a new name for the group: its books count what was before")
	case b.Drained && !b.Balanced:
		return findings(errors.New(b.difference()), "this should never be: keep the log and the store, and report it")
	case b.Drained && b.Missing > 0:
		return findings(fmt.Errorf("%d messages of %s were removed by retention before they were worked off", b.Missing, b.Destination),
			"make "+retentionOf(p.file)+" longer than the longest time that no run is at work; rollcall audit names them")
	case o.failOn == "dead" && b.Dead+b.Parked > 0:
		return findings(fmt.Errorf("%d messages are dead and %d parked", b.Dead, b.Parked), "rollcall dead list")
	case o.failOn == "dead" && kept.Refused+kept.Parked > 0:
		return kept.finding()
	case stopped:
		return errInterrupted
	}
	return nil
}

// retentionOf is where it is said how long messages are kept.
func retentionOf(f *pipeline.File) string {
	switch {
	case f.Source.Kafka != nil:
		return "retention.ms of the topic"
	case f.Source.RabbitMQ != nil:
		return "x-max-age of the stream"
	}
	return "source.embedded.retention"
}
