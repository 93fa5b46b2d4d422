package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/history"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// demoTask is what a child process of demo is told to do.
type demoTask struct {
	Pattern  string `json:"pattern"` // or demoSender
	Folder   string `json:"folder"`
	Seed     uint64 `json:"seed"`
	Messages int    `json:"messages"`
	Left     []int  `json:"left"` // faults that have not bitten yet
	Calm     bool   `json:"calm"` // nothing goes wrong
	// Kafka is where the orders are; nil: in the embedded log of the folder.
	Kafka *demoKafka `json:"kafka,omitempty"`
}

const (
	demoChildVerb = "demo-child"
	demoSender    = "sender"
	demoRollcall  = "rollcall"
)

// newDemoChild is the hidden verb under which demo starts its workers and its
// sender. They talk over stdin and stdout.
func newDemoChild(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    demoChildVerb + " TASK",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var t demoTask
			if err := json.Unmarshal([]byte(args[0]), &t); err != nil {
				return usage(fmt.Errorf("the task: %w", err), "this verb is for demo alone: rollcall demo")
			}
			return newDemoWorker(a, t).run(context.Background())
		},
	}
}

// demoWorker is a child process at work.
type demoWorker struct {
	task    demoTask
	app     *app
	plan    *fault.Plan
	link    *fault.Link
	inject  *fault.Injector
	history *history.Writer
	sending atomic.Pointer[[]string] // the sender's chunk in hand
}

func newDemoWorker(a *app, t demoTask) *demoWorker {
	w := &demoWorker{task: t, app: a, plan: fault.NewPlan(t.Seed, t.Messages)}
	if t.Calm {
		w.plan.Calm()
	}
	w.link = fault.NewLink(a.in, a.out, func() { a.exit(exitInterrupted) }) // the parent is gone
	w.inject = fault.NewInjector(w.link, demoFaults(w.plan, t.Pattern), t.Left)
	return w
}

// demoFaults are the faults of a pattern, or of the sender.
func demoFaults(plan *fault.Plan, pattern string) []fault.Fault {
	if pattern == demoSender {
		return plan.ForSender()
	}
	p, err := specimen.Find(pattern)
	if err != nil {
		return plan.For(nil) // rollcall has every moment
	}
	return plan.For(p.Nearest)
}

func (w *demoWorker) run(ctx context.Context) (err error) {
	if w.history, err = history.Create(w.task.Folder, demoHistory(w.task.Pattern, os.Getpid())); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.history.Close()) }()
	switch w.task.Pattern {
	case demoRollcall:
		return w.consume(ctx)
	case demoSender:
		return w.send(ctx)
	}
	return w.runSpecimen(ctx)
}

// openBroker opens the broker of the run with rollcall's driver.
func (w *demoWorker) openBroker(ctx context.Context) (*broker, error) {
	if w.task.Kafka != nil {
		return w.task.Kafka.open(ctx, w.app)
	}
	log, err := openDemoLog(w.task.Folder)
	if err != nil {
		return nil, err
	}
	return &broker{sender: log.Sender(), source: log.Source(specimen.Topic), destination: specimen.Topic, close: log.Close}, nil
}

// demoHistory is the name of a history. The @ keeps one pattern's name from
// being the beginning of another's.
func demoHistory(pattern string, pid int) string { return fmt.Sprintf("%s@%d", pattern, pid) }

// charge is the outside check of an order: it fails for ever for the poison
// order, and for a while for the shaky customer.
func (w *demoWorker) charge(ctx context.Context, m specimen.Message) error {
	if m.ID == w.plan.Poison {
		return fmt.Errorf("%w: it has no delivery address", specimen.ErrBusiness)
	}
	if m.Customer != w.plan.Shaky {
		return nil
	}
	r, err := w.link.Ask(ctx, fault.Request{Op: fault.OpCharge, Key: m.Customer})
	if err == nil && !r.OK {
		err = fmt.Errorf("%w: the bank of %s does not answer", specimen.ErrBusiness, m.Customer)
	}
	return err
}
