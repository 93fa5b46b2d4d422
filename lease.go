package rollcall

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// leased is a claim that is renewed at thirds of its lease, until stop. It is
// lost when another has it, or when its time ran out without an answer: then
// another may have it.
type leased struct {
	claims Claims
	group  string
	key    DedupKey
	token  Token
	lease  time.Duration
	clock  Clock

	ended  context.CancelFunc
	wait   sync.WaitGroup
	lost   chan struct{}
	mu     sync.Mutex
	until  time.Time // by our clock, never later than by the store's
	why    error     // of the loss
	doubts error     // of the last renewal that failed
}

// keep begins to renew a claim that was asked for at since, by our clock: the
// store's lease began later, so ours is over first.
func (l *leased) keep(ctx context.Context, since time.Time) {
	ctx, l.ended = context.WithCancel(context.WithoutCancel(ctx))
	l.lost, l.until = make(chan struct{}), since.Add(l.lease)
	l.wait.Go(func() { l.watch(ctx) })
	l.wait.Go(func() { l.renew(ctx) })
}

// stop ends the renewals. The claim stays as it is.
func (l *leased) stop() {
	l.ended()
	l.wait.Wait()
}

// watch looks at the clock apart from the renewals: one that hangs must not hide
// that the time is over.
func (l *leased) watch(ctx context.Context) {
	for {
		left, doubts := l.left()
		if left <= 0 {
			l.lose(fmt.Errorf("the lease of %v ran out before it was renewed: %w", l.lease, orUnknown(doubts)))
			return
		}
		if l.clock.Sleep(ctx, left) != nil {
			return
		}
	}
}

func (l *leased) left() (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until.Sub(l.clock.Now()), l.doubts
}

func (l *leased) renew(ctx context.Context) {
	for pause := l.lease / 3; l.clock.Sleep(ctx, pause) == nil; {
		asked := l.clock.Now()
		left, _ := l.left()
		if left <= 0 {
			return // lost: what is renewed now may be another's to take at any time
		}
		rctx, cancel := context.WithTimeout(ctx, left)
		err := l.claims.Renew(rctx, l.group, l.key, l.token, l.lease)
		cancel()
		switch {
		case errors.Is(err, ErrFenced):
			l.lose(err)
			return
		case err != nil: // Renew may be repeated freely
			pause = l.lease / 12
		default:
			pause = l.lease / 3
		}
		l.note(asked, err)
	}
}

func (l *leased) note(asked time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubts = err; err == nil {
		l.until = asked.Add(l.lease)
	}
}

// lose says so once. A lease that was lost stays lost.
func (l *leased) lose(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		l.why = why
		close(l.lost)
	}
}

// err is nil while the claim is held.
func (l *leased) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}
