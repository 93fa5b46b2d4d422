package rollcall

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall/internal/failpoint"
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

// chunk is how many messages share a savepoint once a handler has failed:
// measured best between one savepoint a message and redoing whole batches.
const chunk = 25

// againDelay is a delay that a handler asked for.
type againDelay struct {
	set   bool
	after time.Duration
}

// errHandlerFailed: at least one handler failed where there is no savepoint.
var errHandlerFailed = errors.New("rollcall: a handler failed")

// runEffects is step 5. Handlers run without savepoints first, since nearly
// all batches succeed; when one fails, all is undone and done again carefully.
func (e *engine[X]) runEffects(ctx context.Context, tx Tx[X], w *work) error {
	behindPlanned(w.items)
	items := runnable(w.items)
	if len(items) == 0 {
		return nil
	}
	if w.careful || len(items) == 1 {
		return e.runCarefully(ctx, tx, w, items)
	}
	err := e.runTogether(ctx, tx, items)
	if errors.Is(err, errHandlerFailed) {
		w.careful = true
		return errRedo
	}
	return err
}

// runTogether runs all handlers and decides the fate of each if none failed.
func (e *engine[X]) runTogether(ctx context.Context, tx Tx[X], items []*item) error {
	outcomes, err := e.call(ctx, tx.User(), items)
	if err != nil {
		return err
	}
	if err := tx.Usable(); err != nil {
		return errHandlerFailed // and ignored it: run carefully to find which one
	}
	for i := range items {
		if err := e.environment(ctx, outcomes[i]); err != nil {
			return err
		}
		if e.tracesLeft(outcomes[i]) || e.waits(outcomes[i]) {
			return errHandlerFailed
		}
	}
	for i, it := range items {
		e.decide(it, outcomes[i])
	}
	return nil
}

// runCarefully runs handlers in chunks with a savepoint each, and the messages
// of a chunk in which one failed singly. A failed message never takes its
// batch with it; the later ones of its Key are set aside behind it.
func (e *engine[X]) runCarefully(ctx context.Context, tx Tx[X], w *work, items []*item) error {
	blocked := make(map[string]bool)
	for first := 0; first < len(items); first += chunk {
		part := notBlocked(items[first:min(first+chunk, len(items))], blocked)
		if len(part) > 1 && !w.singly {
			undo, err := tx.Savepoint(ctx)
			if err != nil {
				return err
			}
			err = e.runTogether(ctx, tx, part)
			if err == nil {
				continue
			}
			if !errors.Is(err, errHandlerFailed) {
				return err
			}
			if undo(ctx) != nil {
				// The failure took the whole transaction with it. Which message
				// it was is found one by one.
				w.singly = true
				return errRedo
			}
		}
		for _, it := range part {
			if err := e.runSingle(ctx, tx, it, blocked); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *engine[X]) runSingle(ctx context.Context, tx Tx[X], it *item, blocked map[string]bool) error {
	if blocked[it.delivery.Key] {
		it.fate, it.cause = fateBehind, causeBehind
		return nil
	}
	undo, err := tx.Savepoint(ctx)
	if err != nil {
		return err
	}
	outcomes, err := e.call(ctx, tx.User(), []*item{it})
	if err != nil && !errors.Is(err, errHandlerFailed) {
		return err
	}
	outcome := outcomes[0]
	if gone := tx.Usable(); outcome == nil && gone != nil {
		outcome = fmt.Errorf("rollcall: the handler ignored the error of a statement that ended its transaction: %w", gone)
	}
	if err := e.environment(ctx, outcome); err != nil {
		return err
	}
	e.decide(it, outcome)
	if outcome != nil && it.fate != fateStale && it.fate != fateFiltered {
		if undo(ctx) != nil {
			// The failure took the whole transaction with it (SQLite does so when
			// a statement is interrupted). What was decided stays decided.
			it.planned = it.fate
			return errRedo
		}
	}
	if it.fate == fateWaiting && it.delivery.Key != "" {
		blocked[it.delivery.Key] = true
	}
	return nil
}

// behindPlanned sets aside what comes after a message that failed in an earlier
// try of this very batch.
func behindPlanned(items []*item) {
	blocked := make(map[string]bool)
	for _, it := range items {
		switch {
		case it.delivery.Key == "":
		case it.fate == fateWaiting:
			blocked[it.delivery.Key] = true
		case it.fate == fateRun && blocked[it.delivery.Key]:
			it.fate, it.cause = fateBehind, causeBehind
		}
	}
}

// notBlocked sets the messages of blocked Keys aside and returns the others.
func notBlocked(items []*item, blocked map[string]bool) []*item {
	out := make([]*item, 0, len(items))
	for _, it := range items {
		if blocked[it.delivery.Key] {
			it.fate, it.cause = fateBehind, causeBehind
			continue
		}
		out = append(out, it)
	}
	return out
}

// tracesLeft: the outcome may have left something in the transaction that must
// not stay. A batch handler promises that it has not.
func (e *engine[X]) tracesLeft(outcome error) bool {
	if e.batchHandler != nil {
		return false
	}
	return errors.Is(outcome, Early) || errors.Is(outcome, Repeated)
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

// decide turns the outcome of a handler into the message's fate.
func (e *engine[X]) decide(it *item, outcome error) {
	var dead *deadError
	var again *againError
	switch {
	case outcome == nil:
		it.fate = fateApplied
	case errors.Is(outcome, Stale):
		it.fate = fateStale
	case errors.Is(outcome, Filtered):
		it.fate = fateFiltered
	case errors.Is(outcome, Repeated):
		it.fate = fateRepeated
	case errors.Is(outcome, Early):
		it.fate, it.cause = fateEarly, outcome.Error()
	case errors.As(outcome, &dead):
		it.fate, it.cause = fateDead, outcome.Error()
	case it.attempts+1 >= e.config.Retry.Attempts:
		it.fate, it.cause = fateDead, outcome.Error()
	default:
		it.fate, it.cause = fateWaiting, outcome.Error()
		if errors.As(outcome, &again) {
			it.again = againDelay{true, again.after}
		}
	}
}

// call runs the handler of each item and returns an outcome each. Without a
// batch handler or Gather it stops at the first one that failed.
func (e *engine[X]) call(ctx context.Context, tx X, items []*item) ([]error, error) {
	if err := failpoint.Hit(ctx, "effect", len(items)); err != nil {
		return nil, err
	}
	switch {
	case e.batchHandler != nil:
		return e.callBatch(ctx, tx, items)
	case e.config.Gather && len(items) > 1:
		return e.callGathered(ctx, tx, items)
	}
	outcomes := make([]error, len(items))
	for i, it := range items {
		outcomes[i] = e.callOne(ctx, tx, it)
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

func (e *engine[X]) callOne(ctx context.Context, tx X, it *item) (outcome error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.HandlerTimeout)
	defer cancel()
	defer e.recovered(ctx, &outcome)
	return e.handler(ctx, tx, it.delivery.Message)
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

func (e *engine[X]) callBatch(ctx context.Context, tx X, items []*item) (outcomes []error, err error) {
	messages := make([]Message, len(items))
	for i, it := range items {
		messages[i] = it.delivery.Message
	}
	hctx, cancel := context.WithTimeout(ctx, e.config.HandlerTimeout)
	defer cancel()
	func() {
		defer e.recovered(hctx, &err)
		outcomes, err = e.batchHandler(hctx, tx, messages)
	}()
	switch {
	case err != nil && len(items) == 1:
		return []error{err}, nil
	case err != nil:
		return nil, e.failed(ctx, err)
	case outcomes == nil:
		return make([]error, len(items)), nil
	case len(outcomes) != len(items):
		return nil, fmt.Errorf("rollcall: the batch handler returned %d outcomes for %d messages; it must return none or one each", len(outcomes), len(items))
	}
	return outcomes, nil
}

// callGathered runs the handlers of different Keys side by side and those of
// one Key one after the other. Messages without a Key have no order.
func (e *engine[X]) callGathered(ctx context.Context, tx X, items []*item) ([]error, error) {
	outcomes := make([]error, len(items))
	lanes := make(map[string][]int)
	for i, it := range items {
		key := it.delivery.Key
		if key == "" {
			key = fmt.Sprint("\x00", i)
		}
		lanes[key] = append(lanes[key], i)
	}
	var wg sync.WaitGroup
	for _, lane := range lanes {
		wg.Go(func() {
			for _, i := range lane {
				outcomes[i] = e.callOne(ctx, tx, items[i])
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
