package rollcall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// unrepeatable: a second copy of a message would take effect there.
func (r *Relay[X]) unrepeatable(destination string) bool {
	u, ok := r.sender.(Unrepeatable)
	return ok && u.Unrepeatable(destination)
}

// sendOnce sends a row to a destination that does not absorb a second copy: the
// attempt is durable before the request, so whoever finds an attempt without an
// outcome knows that it may have been sent, and parks it. One row at a time:
// after a crash at most that one is in doubt.
func (r *Relay[X]) sendOnce(ctx context.Context, hold Hold, row OutboxRow) error {
	attempts, ok := r.store.Outbox().(Attempts)
	if !ok {
		return fmt.Errorf("%w: outbox row %d: %s does not absorb a second copy, and this store's outbox remembers no attempts: use another store",
			ErrConfig, row.ID, row.Message.Destination)
	}
	if row.Attempt != 0 {
		r.noteFates([]OutboxRow{row}, nil)
		row.Doubt = "the relay that sent it ended, or was taken over, before it noted the answer"
		return r.settle(ctx, attempts, row, Unknown)
	}
	one := []OutboxRow{row}
	if err := attempts.Open(ctx, hold, one); err != nil {
		return err
	}
	row.Attempt = hold.Token
	if err := failpoint.Hit(ctx, "relay-opened", 1); err != nil {
		return err
	}
	// A request that has begun is not cut by our own end: its outcome would be in
	// doubt for nothing. The sender bounds its time.
	results := r.sender.Publish(context.WithoutCancel(ctx), row.Message.Destination, []Message{row.Message})
	if err := failpoint.Hit(ctx, "relay-answered", 1); err != nil {
		return err
	}
	result := PublishResult{Err: errors.New("the sender gave no result")}
	if len(results) == 1 {
		result = results[0]
	}
	r.noteFates([]OutboxRow{row}, []PublishResult{result})
	switch {
	case result.Fate == Refused:
		row.Refusal = orUnknown(result.Err).Error()
	case result.Fate == Unknown && errors.Is(result.Err, ErrTryAgain):
		return errors.Join(notStored(row, result.Err), r.settle(ctx, attempts, row, Unknown))
	case result.Fate == Unknown:
		row.Doubt = orUnknown(result.Err).Error()
	}
	return r.settle(ctx, attempts, row, result.Fate)
}

// settle notes an outcome, and tries until it is noted: forgotten, it would be in
// doubt. When ctx has ended it is tried once.
func (r *Relay[X]) settle(ctx context.Context, attempts Attempts, row OutboxRow, fate Fate) error {
	for try := 0; ; try++ {
		wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		noted, err := attempts.Settle(wctx, row, fate)
		cancel()
		if err == nil {
			if noted {
				r.tell(row)
			}
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		d := backoff.Delay(try, 20*time.Millisecond, 5*time.Second)
		r.config.Observer.Observe(Paused{"relay", err, d})
		_ = r.config.Clock.Sleep(ctx, d)
	}
}

// tell says that a row is kept for an operator.
func (r *Relay[X]) tell(row OutboxRow) {
	state, cause := AsideParked, row.Doubt
	if row.Refusal != "" {
		state, cause = AsideDead, row.Refusal
	}
	if cause != "" {
		r.config.Observer.Observe(SetAside{row.Message.ID, row.Message.Destination, state, 1, cause})
	}
}
