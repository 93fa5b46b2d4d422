package rollcall

import (
	"errors"
	"fmt"
	"time"
)

// Errors that answer "can it have happened?". Test with errors.Is.
var (
	// ErrInDoubt: it may have happened.
	ErrInDoubt = errors.New("rollcall: outcome in doubt")
	// ErrFenced: another owner holds the token now. It has not happened.
	ErrFenced = errors.New("rollcall: fenced, another owner has taken over")
	// ErrOutdated: what was read before, without a lock, is not so any more. It
	// has not happened; read again.
	ErrOutdated = errors.New("rollcall: read before, and changed since")
	// ErrStaleReceipt: the receipt is of an older session. The message was not
	// settled and comes again.
	ErrStaleReceipt = errors.New("rollcall: receipt of an older session")
	// ErrNotOwner: the partition is not ours.
	ErrNotOwner = errors.New("rollcall: partition is not owned here")
	// ErrNoDestination: the destination does not exist. Nothing was sent.
	ErrNoDestination = errors.New("rollcall: no such destination")
	// ErrTryAgain: it was surely not stored, or not run, and trying again may help: no
	// connection, too many requests. The Fate beside it is Unknown.
	ErrTryAgain = errors.New("rollcall: not stored, to be tried again")
	// ErrTooLarge: the message is larger than the broker takes. It was not sent
	// and has no number.
	ErrTooLarge = errors.New("rollcall: message too large")
	// ErrBadStamp: the stamp header cannot be read.
	ErrBadStamp = errors.New("rollcall: bad stamp")
	// ErrDamaged: stored bytes are not what was written. Nothing was skipped.
	ErrDamaged = errors.New("rollcall: damaged")
	// ErrMissed: messages went away before a Tap read them, or their log is another
	// one now. It goes on at what is there.
	ErrMissed = errors.New("rollcall: messages were not read")
	// ErrClosed: it was closed. It has not happened.
	ErrClosed = errors.New("rollcall: closed")
	// ErrNewerSchema: the file or database was written by a newer rollcall.
	ErrNewerSchema = errors.New("rollcall: written by a newer version")
	// ErrKeyReused: the key was used before, with other content. That is a
	// finding, not a repeat: it has not happened.
	ErrKeyReused = errors.New("rollcall: key used before with other content")
	// ErrInProgress: another call has the key now, or a process that died had it a
	// moment ago. This one did nothing. Call again later: to skip it would lose it
	// when the other fails.
	ErrInProgress = errors.New("rollcall: in progress elsewhere")
	// ErrParked: it may have happened, so it is not tried again by itself. Somebody
	// must ask the receiver and decide. Errors that are it are ErrInDoubt too.
	ErrParked = errors.New("rollcall: parked until somebody decides")
	// ErrAbort is the cause (context.WithCancelCause) that ends a Run at once,
	// without draining: what is in work is rolled back and comes again.
	ErrAbort = errors.New("rollcall: stopped without draining")
	// ErrConfig: the configuration cannot work. Nothing has happened.
	ErrConfig = errors.New("rollcall: configuration")
)

// Outcomes that a handler may return as values. nil means that the effect is
// in the transaction. Any other error is a failure: an attempt is spent, the
// message is retried and, after RetryConfig.Attempts, set aside dead.
var (
	// Stale: an older version or an earlier state, handled on purpose.
	Stale = errors.New("rollcall: stale")
	// Filtered: not for this consumer, handled on purpose.
	Filtered = errors.New("rollcall: filtered")
	// Repeated: the effect was there already (a unique key of the table said
	// so), and nothing was changed.
	Repeated = errors.New("rollcall: repeated")
	// Early: an earlier version or state of the same Key must come first. The
	// message waits, however often it is tried, up to RetryConfig.Early, and holds
	// nobody back.
	Early = errors.New("rollcall: early")
)

// Dead is returned by a handler to set a message aside at once, without more
// attempts.
func Dead(cause error) error { return &deadError{cause} }

type deadError struct{ cause error }

func (e *deadError) Error() string { return e.cause.Error() }
func (e *deadError) Unwrap() error { return e.cause }

// Again is returned by a handler to try again after a delay of its choice. It
// spends an attempt.
func Again(after time.Duration, cause error) error { return &againError{after, cause} }

type againError struct {
	after time.Duration
	cause error
}

func (e *againError) Error() string { return fmt.Sprintf("%v (again after %v)", e.cause, e.after) }
func (e *againError) Unwrap() error { return e.cause }

// NotDone is returned by the function of Record when surely nothing happened: no
// connection, a refusal. The key is free again. Any other error is in doubt.
func NotDone(cause error) error { return &notDoneError{cause} }

type notDoneError struct{ cause error }

func (e *notDoneError) Error() string { return e.cause.Error() }
func (e *notDoneError) Unwrap() error { return e.cause }

// configError names the field, the value and the next step.
func configError(field string, value any, next string) error {
	return fmt.Errorf("%w: %s: %v: %s", ErrConfig, field, value, next)
}
