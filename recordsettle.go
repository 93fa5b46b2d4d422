package rollcall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
)

const (
	// parkedFor outlasts every window: what is in doubt must not become new by
	// itself.
	parkedFor = 10 * 365 * 24 * time.Hour
	// peekLease is how long looking for a decision keeps others from writing one,
	// should the one who looks die.
	peekLease = time.Second
)

// finish records the result of fn. A lost answer is asked for again: to complete
// twice is no error.
func (r *record) finish(ctx context.Context, h *held, row recordRow) (recordRow, error) {
	err := r.note(ctx, func(ctx context.Context) error {
		return r.claims.Complete(ctx, h.group, h.key, h.token, row.bytes(), r.config.Window)
	})
	if errors.Is(err, ErrFenced) && !r.config.Honours {
		// Who took over found the attempt and parked it, or will: that it happened is
		// a fact all the same.
		if err = r.decide(ctx, h.generation, row); err == nil {
			return row, nil
		}
	}
	if err != nil {
		return recordRow{}, fmt.Errorf("%w: record %s: it has happened, but that could not be recorded: call again: %v", ErrInDoubt, r.key, err)
	}
	return row, nil
}

// undo gives the key back: surely nothing happened.
func (r *record) undo(ctx context.Context, h *held) error {
	if h.attempt == 0 {
		return r.free(ctx, h.key, h.token)
	}
	// The attempt goes only under a fresh lease of the key, so that nobody takes
	// over in between and finds it.
	err := r.note(ctx, func(ctx context.Context) error {
		return r.claims.Renew(ctx, h.group, h.key, h.token, h.lease)
	})
	switch {
	case errors.Is(err, ErrFenced):
		// Another took over and parks it because of our attempt, which we keep: so
		// nobody has begun since, and what we say is about the last attempt.
		return r.decide(ctx, h.generation, recordRow{recordRedriven, r.content, nil})
	case err != nil:
		return fmt.Errorf("that could not be noted, the next call will find it in doubt: %w", err)
	}
	return errors.Join(r.free(ctx, r.at(roleAttempt, h.generation), h.attempt), r.free(ctx, h.key, h.token))
}

// doubt: it may have happened.
func (r *record) doubt(ctx context.Context, h *held, cause error) error {
	if r.config.Honours {
		_ = r.free(ctx, h.key, h.token) // else its lease runs out
		return fmt.Errorf("%w: record %s: it may have happened: call again, the receiver gets the same key: %w", ErrInDoubt, r.key, cause)
	}
	if err := r.park(ctx, h, cause.Error()); err != nil {
		cause = errors.Join(cause, err)
	}
	return r.parked([]byte(cause.Error()))
}

func (r *record) parked(cause []byte) error {
	return fmt.Errorf("%w: %w: record %s: ask the receiver, then SettleRecord or RedriveRecord: %s", ErrParked, ErrInDoubt, r.key, cause)
}

// park completes the key as parked. Fenced: another does so.
func (r *record) park(ctx context.Context, h *held, cause string) error {
	cause = r.config.Clock.Now().UTC().Format(time.RFC3339) + " " + cause[:min(len(cause), 2000)]
	row := recordRow{recordParked, r.content, []byte(cause)}
	err := r.note(ctx, func(ctx context.Context) error {
		return r.claims.Complete(ctx, h.group, h.key, h.token, row.bytes(), parkedFor)
	})
	if err != nil && !errors.Is(err, ErrFenced) {
		return fmt.Errorf("record %s: it is in doubt, and that could not be noted, so the next call will find it: %w", r.key, err)
	}
	return nil
}

// note tries until the claims answer, for a while also when ctx has ended: what
// is not noted is in doubt. f may be repeated freely.
func (r *record) note(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.Settle)
	defer cancel()
	for try := 0; ; try++ {
		err := f(ctx)
		if err == nil || errors.Is(err, ErrFenced) || errors.Is(err, ErrConfig) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrClosed) {
			return err
		}
		if r.config.Clock.Sleep(ctx, backoff.Delay(try, 20*time.Millisecond, time.Second)) != nil {
			return err
		}
	}
}

// free releases. Fenced: it was released before, and the answer was lost, or
// another has it by now.
func (r *record) free(ctx context.Context, key DedupKey, token Token) error {
	err := r.note(ctx, func(ctx context.Context) error { return r.claims.Release(ctx, r.key.Scope, key, token) })
	if errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// notRun is about the claims only: whatever is in doubt there, fn was not run.
func (r *record) notRun(err error) error {
	switch {
	case errors.Is(err, ErrConfig), errors.Is(err, ErrDamaged), errors.Is(err, ErrClosed): // to try again does not help
		return fmt.Errorf("record %s: fn was not run: %w", r.key, err)
	case errors.Is(err, ErrInDoubt), errors.Is(err, ErrFenced):
		return fmt.Errorf("%w: record %s: fn was not run: %v", ErrTryAgain, r.key, err)
	}
	return fmt.Errorf("%w: record %s: fn was not run: %w", ErrTryAgain, r.key, err)
}

// decision is what became of a parked row, or the error that it is parked.
func (r *record) decision(ctx context.Context, generation int, parked recordRow) (recordRow, error) {
	key := r.at(roleDecision, generation)
	c, err := r.claims.Claim(ctx, r.key.Scope, key, peekLease)
	switch {
	case err != nil:
		return recordRow{}, r.notRun(err)
	case c.State == ClaimDone:
		return r.recorded(c.Result)
	case c.State == ClaimFresh:
		_ = r.free(ctx, key, c.Token) // else its short lease runs out
	}
	return recordRow{}, r.parked(parked.data)
}

// decide writes what became of a parked row, once: the first word stays.
func (r *record) decide(ctx context.Context, generation int, row recordRow) error {
	key := r.at(roleDecision, generation)
	return r.note(ctx, func(ctx context.Context) error {
		c, err := r.claims.Claim(ctx, r.key.Scope, key, peekLease)
		switch {
		case err != nil:
			return err
		case c.State == ClaimInProgress:
			return fmt.Errorf("%w: record %s: another looks for a decision, or makes one", ErrInProgress, r.key)
		case c.State == ClaimDone:
			if had, err := r.recorded(c.Result); err != nil || had.kind != row.kind {
				return fmt.Errorf("%w: record %s: it was decided otherwise before: %v", ErrFenced, r.key, err)
			}
			return nil
		}
		if err = r.claims.Complete(ctx, r.key.Scope, key, c.Token, row.bytes(), parkedFor); errors.Is(err, ErrFenced) {
			err = errors.New("it took longer than its lease") // and is tried again
		}
		return err
	})
}

// RedriveRecord lets the next call of a parked key run fn again. It is your word
// that the receiver has not done it, and does it no more: ask it first.
//
// An error says that nothing was changed: ErrInProgress, a call is at it; nothing
// is parked; or it was decided otherwise before.
func RedriveRecord(ctx context.Context, claims Claims, key OnceKey, config RecordConfig) error {
	r, err := newRecord(claims, key, config)
	if err != nil {
		return err
	}
	return r.decideParked(ctx, recordRow{recordRedriven, r.content, nil})
}

// SettleRecord records the result of a parked key: every later call returns it.
// It is your word that the receiver has done it. Errors are those of RedriveRecord.
func SettleRecord[R any](ctx context.Context, claims Claims, key OnceKey, config RecordConfig, result R) error {
	r, err := newRecord(claims, key, config)
	if err != nil {
		return err
	}
	row := r.happened(result)
	if row.kind != recordResult {
		return fmt.Errorf("record %s: the result cannot be recorded, nothing was: %s", key, row.data)
	}
	return r.decideParked(ctx, row)
}

// decideParked decides on the last generation. One that died and that nobody has
// asked for since is parked first.
func (r *record) decideParked(ctx context.Context, row recordRow) error {
	h, _, err := r.take(ctx)
	nothing := fmt.Errorf("record %s: nothing is parked: nothing was changed", r.key)
	switch {
	case h.token != 0:
		open, err := r.open(ctx, h)
		if err == nil && open {
			err = errors.Join(nothing, r.undo(ctx, h))
		} else if err == nil {
			err = r.park(ctx, h, "a process began it, and died before it noted what came of it")
		}
		if err != nil {
			return err
		}
	case err == nil:
		return nothing
	case !errors.Is(err, ErrParked):
		return err
	}
	return r.decide(ctx, h.generation, row)
}
