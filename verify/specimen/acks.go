package specimen

import (
	"context"

	"github.com/rollcall-mq/rollcall/verify/fault"
)

// ackFirst acknowledges on receipt, as clients do by default (auto-commit,
// auto-ack): "it is fast, a slow job does not hold the queue, and failures are
// retried in the worker".
var ackFirst = Pattern{
	Name: "ack-first", Idea: "acknowledge, then work",
	Why: "a slow job does not hold the queue, and the worker retries by itself",
	// The place between the work and the settlement lies the other way round,
	// and there is no record.
	Nearest: map[fault.Moment]fault.Moment{fault.BeforeSettle: fault.AfterAck, fault.AfterRecord: fault.AfterEffect},
	handle: func(ctx context.Context, w *Worker, m Message) error {
		if err := w.Queue.Ack(ctx, m); err != nil {
			return err
		}
		if err := w.At(ctx, fault.AfterAck, m); err != nil {
			return err
		}
		return w.work(ctx, m, nil)
	},
}

// effectThenAck works and acknowledges afterwards: "at least once: nothing is
// lost, and a crash just then is rare".
var effectThenAck = Pattern{
	Name: "effect-then-ack", Idea: "work, then acknowledge",
	Why:     "nothing is lost, and a crash just between the two is rare",
	Nearest: map[fault.Moment]fault.Moment{fault.AfterRecord: fault.AfterEffect},
	handle: func(ctx context.Context, w *Worker, m Message) error {
		if err := w.work(ctx, m, nil); err != nil {
			return err
		}
		return w.ack(ctx, m)
	},
}

// ack is the last step of most patterns.
func (w *Worker) ack(ctx context.Context, m Message) error {
	if err := w.At(ctx, fault.BeforeSettle, m); err != nil {
		return err
	}
	return w.Queue.Ack(ctx, m)
}
