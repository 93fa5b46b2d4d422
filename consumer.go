package rollcall

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// The commit protocol. What comes next, and what becomes of each message, is
// decided by pure functions: internal/protocol/order.go has the order of the
// steps, top to bottom. This file carries out what a batch needs, perform.go
// what a transaction needs. Nothing here decides about once.
//
//	1 drop what is Known         protocol.Plan
//	2 BEGIN; token
//	3 keys
//	4 behind
//	5 effects
//	6 rolls, again               before 5 on partitions with one owner (ADR 0009)
//	7 aside rows
//	8 COMMIT
//	9 settle                     only when every part is durable

// process takes a batch from fetch to settle. It returns nil when the batch is
// durable, ErrFenced when the token of its fetch is no longer good (nothing was
// settled), or the error of ctx.
func (e *engine[X]) process(ctx context.Context, hold Hold, b *Batch, rolls *rollCache, suspects *int) error {
	s := e.subject(b, rolls)
	state := protocol.Batch{Config: e.batchRules(), Items: e.describe(s), Covered: covered(b), CoveredRoll: s.roll(rolls.partition), Budget: *suspects}
	var answer protocol.Answer
	for {
		var stage protocol.Stage
		var works []protocol.Work
		state, stage, works = state.Next(answer)
		*suspects = state.Budget
		answer = protocol.Answer{Works: works}
		var err error
		switch stage {
		case protocol.Load:
			answer.Rolls, err = e.load(ctx, s)
		case protocol.Suspect, protocol.Bump:
			works[0], err = e.transact(ctx, hold, s, works[0])
		case protocol.Complete:
			err = e.sideBySide(ctx, hold, s, works)
		case protocol.Settle:
			if err = failpoint.Hit(ctx, "settle", len(b.Deliveries)); err == nil {
				e.settle(ctx, b)
			}
		case protocol.Finished:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// rules is what the decisions depend on.
func (e *engine[X]) rules() protocol.Config {
	return protocol.Config{Attempts: e.config.Retry.Attempts, Chunk: chunk, Traces: e.batchHandler == nil, Hands: e.config.Parallel}
}

// batchRules: where a partition has one owner nobody else asks for its rolls, so
// they may be locked for longer. A queue's competing workers ask for the same
// ones, all of them in the same order, or they would deadlock.
func (e *engine[X]) batchRules() protocol.Config {
	c := e.rules()
	c.LockFirst = e.can.Exclusive && c.Hands <= 1
	return c
}

// chunk is how many messages share a savepoint once a handler has failed:
// measured best between one savepoint a message and redoing whole batches.
const chunk = 25

// sideBySide runs the transactions of a part and waits for all: the partition
// stands still until none of them is in doubt.
func (e *engine[X]) sideBySide(ctx context.Context, hold Hold, s *subject, works []protocol.Work) error {
	errs := make([]error, len(works))
	if len(works) == 1 {
		works[0], errs[0] = e.transact(ctx, hold, s, works[0])
		return errs[0]
	}
	var wg sync.WaitGroup
	for i := range works {
		wg.Go(func() { works[i], errs[i] = e.transact(ctx, hold, s, works[i]) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// transact runs a transaction until it is durable: it carries out what the
// protocol asks for and tells it the answer.
func (e *engine[X]) transact(ctx context.Context, hold Hold, s *subject, w protocol.Work) (protocol.Work, error) {
	t := &transaction[X]{engine: e, hold: hold, subject: s, started: e.config.Clock.Now()}
	defer t.rollback()
	var event protocol.Event
	var failure error
	for try := 0; ; {
		var action protocol.Action
		w, action = w.Next(event)
		switch action.Do {
		case protocol.Done:
			t.durable(&w)
			return w, nil
		case protocol.Gone:
			return w, errGone
		case protocol.Lost:
			e.observe(Fenced{s.partition, failure})
			return w, failure
		case protocol.Again:
			t.again(action)
			event = protocol.Event{}
			if !action.Wait {
				try = 0
			} else if err := e.pause(ctx, places[w.Kind], failure, try); err != nil {
				return w, err
			} else {
				try++
			}
			continue
		}
		event, failure = t.perform(ctx, &w, action)
		if failure == nil {
			continue
		}
		if ctx.Err() != nil && !errors.Is(failure, ErrFenced) {
			return w, context.Cause(ctx)
		}
		event = protocol.Event{Kind: e.kindOf(failure)}
		t.wrong = t.wrong || event.Kind == protocol.Outdated
		if event.Kind == protocol.InDoubt {
			// The roll, the key or the aside row tells: the redo waits on the
			// locks of the transaction in doubt and then finds what it left.
			e.observe(InDoubt{s.partition, failure})
		}
	}
}

// places are the names that Paused events give to kinds of transactions.
var places = map[protocol.Kind]string{protocol.OfBatch: "batch", protocol.OfRow: "aside", protocol.OfRowAttempt: "aside attempt",
	protocol.OfSuspects: "attempts", protocol.OfAlone: "attempt"}

// errGone: the row is not waiting any more.
var errGone = errors.New("rollcall: the row is not waiting any more")

// kindOf says what an error means for the protocol.
func (e *engine[X]) kindOf(err error) protocol.EventKind {
	switch {
	case errors.Is(err, ErrFenced):
		return protocol.Fenced
	case errors.Is(err, ErrInDoubt):
		return protocol.InDoubt
	case errors.Is(err, ErrOutdated):
		return protocol.Outdated
	case e.store.Classify(err) == ClassConflict:
		return protocol.Conflict
	}
	return protocol.Failed
}

// settle is step 9. It may fail: that is only another delivery, absorbed by
// step 1 or 6.
func (e *engine[X]) settle(ctx context.Context, b *Batch) {
	out := make([]Settlement, len(b.Deliveries))
	for i := range out {
		out[i] = Settlement{Partition: b.Partition, Receipt: b.Deliveries[i].Receipt, Verb: Ack}
	}
	failed := SettleFailed{Partition: b.Partition}
	for _, err := range e.subscription().Settle(ctx, out) {
		if err != nil {
			failed.Failed++
			failed.Err = err
		}
	}
	if failed.Failed > 0 {
		e.observe(failed)
	}
}

// pause waits before the same work is tried again. No attempt is spent: it is
// the environment's fault, or the outcome is in doubt.
func (e *engine[X]) pause(ctx context.Context, where string, cause error, try int) error {
	d := backoff.Delay(try, 10*time.Millisecond, 5*time.Second)
	e.observe(Paused{where, cause, d})
	e.trouble.Store(&cause)
	return e.config.Clock.Sleep(ctx, d)
}

// retry repeats something until it works: doing it twice is harmless. Being
// fenced and being stopped end it.
func (e *engine[X]) retry(ctx context.Context, where string, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		switch {
		case err == nil || errors.Is(err, ErrFenced):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err := e.pause(ctx, where, err, try); err != nil {
			return err
		}
	}
}
