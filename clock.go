package rollcall

import (
	"context"
	"time"
)

// Clock is where time comes from. It decides only when something is tried
// again, never whether it may take effect: tokens do that.
type Clock interface {
	Now() time.Time
	// Sleep waits, or returns the error of ctx when that ends first.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
