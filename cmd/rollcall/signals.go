package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interruptible returns a context that ends with errInterrupted at the first
// Ctrl-C or SIGTERM: what is in hand is finished. The second one ends the
// process at once. Both leave nothing lost.
func (a *app) interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE) // a reader that has gone is no reason to leave work or files behind
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			a.note("stopping: finishing what is in hand; once more stops at once")
			cancel(errInterrupted)
		case <-done:
			return
		}
		select {
		case <-signals:
			a.exit(exitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// interrupted reports whether ctx ended by a signal.
func interrupted(ctx context.Context) bool { return context.Cause(ctx) == errInterrupted }
