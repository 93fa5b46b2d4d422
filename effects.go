package rollcall

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// Handler is the user's code for one message. It makes its effect through tx,
// the very transaction in which the message is recorded as done, and nowhere
// else: it may run several times for one delivery. nil means the effect is in
// tx; for other outcomes see Stale, Filtered, Repeated, Early, Dead, Again.
type Handler[X any] func(ctx context.Context, tx X, m Message) error

// BatchHandler is the user's code for many messages at once, for effects that
// are sets. It returns one outcome a message (nil: all took effect), and an
// error when the batch as a whole failed: then smaller batches are tried, and
// singles at last. A message whose outcome is not nil, Stale or Filtered must
// have left no trace in tx. Messages of one Key come in order and must take
// effect in order.
type BatchHandler[X any] func(ctx context.Context, tx X, messages []Message) ([]error, error)

// errHandlerFailed: at least one handler failed where there is no savepoint.
var errHandlerFailed = errors.New("rollcall: a handler failed")

// effects is step 5: it runs the handlers of items and returns what they said.
// What is not the messages' fault is an error instead.
func (t *transaction[X]) effects(ctx context.Context, w *protocol.Work, a protocol.Action) (event protocol.Event, err error) {
	if a.Savepoint {
		if t.undo, err = t.tx.Savepoint(ctx); err != nil {
			return event, err
		}
	}
	messages := make([]Message, len(a.Items))
	for i, item := range a.Items {
		messages[i] = t.subject.deliveries[w.Items[item].Index].Message
	}
	said, err := t.call(ctx, t.tx, messages)
	if gone := t.tx.Usable(); errors.Is(gone, ErrFenced) || errors.Is(gone, ErrOutdated) {
		return event, gone // what came with the handler's first statement; it knows nothing of it
	}
	alone := len(messages) == 1 && len(said) == 1
	if err != nil && !(errors.Is(err, errHandlerFailed) && alone) {
		if errors.Is(err, errHandlerFailed) {
			for _, outcome := range said { // none when they failed as one
				event.Outcomes = append(event.Outcomes, outcomeOf(outcome))
			}
			event.Broken = true
			return event, nil
		}
		return event, err
	}
	if gone := t.spoiled(ctx); gone != nil {
		event.Broken = true // carefully, to find which one it was
		if alone && said[0] == nil {
			said[0] = gone
		}
	}
	event.Outcomes = make([]protocol.Outcome, len(said))
	for i, outcome := range said {
		if err := t.environment(ctx, outcome); err != nil {
			return event, err
		}
		event.Outcomes[i] = outcomeOf(outcome)
	}
	return event, nil
}

// spoiled is why the transaction cannot commit although no handler says so.
func (t *transaction[X]) spoiled(ctx context.Context) error {
	if gone := t.tx.Usable(); gone != nil {
		return fmt.Errorf("rollcall: the handler ignored the error of a statement that ended its transaction: %w", gone)
	}
	if c, ok := t.tx.(Checker); ok {
		return c.Check(ctx)
	}
	return nil
}

// waits: the message failed, so the later ones of its Key must not have run.
func (e *engine[X]) waits(outcome error) bool {
	return outcome != nil && !errors.Is(outcome, Stale) && !errors.Is(outcome, Filtered) &&
		!errors.Is(outcome, Repeated) && !errors.Is(outcome, Early)
}

// environment returns the outcome if it is not the message's fault.
func (e *engine[X]) environment(ctx context.Context, outcome error) error {
	if outcome == nil || !e.waits(outcome) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // we are stopping: never a success, never an attempt
	}
	var dead *deadError
	if errors.As(outcome, &dead) || errors.Is(outcome, errDeadline) || errors.Is(outcome, context.Canceled) {
		return nil // our own context lives: what was cancelled is the handler's
	}
	if e.store.Classify(outcome) != ClassData {
		return outcome
	}
	return nil
}

// outcomeOf is what a handler said, as far as the protocol looks at it.
func outcomeOf(outcome error) protocol.Outcome {
	if outcome == nil {
		return protocol.Outcome{Kind: protocol.TookEffect}
	}
	var dead *deadError
	var again *againError
	switch {
	case errors.Is(outcome, Stale):
		return protocol.Outcome{Kind: protocol.SaysStale}
	case errors.Is(outcome, Filtered):
		return protocol.Outcome{Kind: protocol.SaysFiltered}
	case errors.Is(outcome, Repeated):
		return protocol.Outcome{Kind: protocol.SaysRepeated}
	case errors.Is(outcome, Early):
		return protocol.Outcome{Kind: protocol.SaysEarly, Cause: outcome.Error()}
	case errors.As(outcome, &dead):
		return protocol.Outcome{Kind: protocol.SaysDead, Cause: outcome.Error()}
	}
	o := protocol.Outcome{Kind: protocol.Fails, Cause: outcome.Error()}
	if errors.As(outcome, &again) {
		o.Again = protocol.Delay{Set: true, After: again.after}
	}
	return o
}

// call runs the handler of each item and returns an outcome each. Without a
// batch handler or Gather it stops at the first one that failed.
func (e *engine[X]) call(ctx context.Context, in Tx[X], messages []Message) ([]error, error) {
	if err := failpoint.Hit(ctx, "effect", len(messages)); err != nil {
		return nil, err
	}
	if e.batchHandler == nil && e.config.Gather && len(messages) > 1 {
		return e.callGathered(ctx, in, messages)
	}
	tx := in.User()
	if e.batchHandler != nil {
		return e.callBatch(ctx, tx, messages)
	}
	outcomes := make([]error, len(messages))
	for i := range messages {
		outcomes[i] = e.callOne(ctx, tx, messages[i])
		if e.waits(outcomes[i]) {
			return outcomes, e.failed(ctx, outcomes[i])
		}
	}
	return outcomes, nil
}

// failed is what a failing handler means for those it ran together with.
func (e *engine[X]) failed(ctx context.Context, outcome error) error {
	if err := e.environment(ctx, outcome); err != nil {
		return err
	}
	return errHandlerFailed
}

// errDeadline: the handler was still at work at its deadline. That is never a
// success, whatever it returned.
var errDeadline = errors.New("rollcall: handler exceeded its deadline")

func (e *engine[X]) callOne(ctx context.Context, tx X, m Message) (outcome error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.HandlerTimeout)
	defer cancel()
	defer e.recovered(ctx, &outcome)
	return e.handler(ctx, tx, m)
}

// recovered turns a panic and a missed deadline into an outcome.
func (e *engine[X]) recovered(ctx context.Context, outcome *error) {
	if p := recover(); p != nil {
		*outcome = fmt.Errorf("rollcall: handler panicked: %v", p)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		*outcome = fmt.Errorf("%w of %v (it returned: %v)", errDeadline, e.config.HandlerTimeout, *outcome)
	}
}

func (e *engine[X]) callBatch(ctx context.Context, tx X, messages []Message) (outcomes []error, err error) {
	hctx, cancel := context.WithTimeout(ctx, e.config.HandlerTimeout)
	defer cancel()
	func() {
		defer e.recovered(hctx, &err)
		outcomes, err = e.batchHandler(hctx, tx, messages)
	}()
	switch {
	case err != nil && len(messages) == 1:
		return []error{err}, nil
	case err != nil:
		return nil, e.failed(ctx, err)
	case outcomes == nil:
		return make([]error, len(messages)), nil
	case len(outcomes) != len(messages):
		return nil, fmt.Errorf("rollcall: the batch handler returned %d outcomes for %d messages; it must return none or one each", len(outcomes), len(messages))
	}
	return outcomes, nil
}

// callGathered runs the handlers of different Keys side by side and those of
// one Key one after the other. Messages without a Key have no order.
func (e *engine[X]) callGathered(ctx context.Context, in Tx[X], messages []Message) ([]error, error) {
	outcomes := make([]error, len(messages))
	lanes := make(map[string][]int)
	for i := range messages {
		key := messages[i].Key
		if key == "" {
			key = fmt.Sprint("\x00", i)
		}
		lanes[key] = append(lanes[key], i)
	}
	side := func() (X, func()) { return in.User(), func() {} }
	if g, ok := in.(Gatherer[X]); ok {
		side = g.Gather(ctx, len(lanes))
	}
	var wg sync.WaitGroup
	for _, lane := range lanes {
		tx, done := side()
		wg.Go(func() {
			defer done()
			for _, i := range lane {
				outcomes[i] = e.callOne(ctx, tx, messages[i])
				if e.waits(outcomes[i]) {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, outcome := range outcomes {
		if e.waits(outcome) {
			return outcomes, e.failed(ctx, outcome)
		}
	}
	return outcomes, nil
}
