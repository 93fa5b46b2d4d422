package rollcall

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// RecordConfig is the settings of Record. The zero value is safe: what is in
// doubt is parked. All calls of a Scope have the same.
type RecordConfig struct {
	// Clock is where time comes from, for renewing the lease. Default: the system's.
	Clock Clock
	// Honours: the receiver recognises RecordAttempt.Key, for Window at least: a
	// second request with it changes nothing there and gets the first one's answer.
	// What is in doubt is then done again. Default: false, it is parked.
	Honours bool
	// Lease is how long a key stays taken when the process that has it dies. It is
	// renewed at thirds of it while fn runs. At least 10 ms. Default: 30 s.
	Lease time.Duration
	// Settle is how long the outcome of fn is tried to be noted while the store does
	// not answer. Default: Lease.
	Settle time.Duration
	// Window is how long a result is kept, and the longest that fn may run: its
	// context ends then. A repeat that comes later is new. What is parked is kept
	// for ten years. At least Lease. Default: 14 days.
	Window time.Duration
}

// RecordAttempt is what fn gives the receiver.
type RecordAttempt struct {
	// Key is the same for every attempt of this business, 32 hexadecimal digits: an
	// Idempotency-Key.
	Key string
	// Token is higher than that of every earlier attempt, as long as the claims keep
	// their memory: a receiver that refuses lower ones than it saw is safe from an
	// owner that slept. It is zero in no attempt.
	Token Token
}

// Record runs fn for the first call of a key and records what it returns, where
// the effect of fn lies outside of any transaction of ours: a request, a mail.
// Every later call, of whatever process, returns that result and does not run
// fn:
//
//	receipt, err := rollcall.Record(ctx, store.Claims(), rollcall.OnceKey{Scope: "pay", Key: id}, rollcall.RecordConfig{Honours: true},
//		func(ctx context.Context, a rollcall.RecordAttempt) (Receipt, error) { return bank.Pay(ctx, a.Key, order) })
//
// Where the effect can be in a transaction use Once: it has none of what follows.
//
// The key is claimed first, for a lease that is renewed while fn runs. fn's
// context ends when the lease is lost, when ctx does, and after Window. What fn
// returns decides:
//
//   - nil: it has happened, whatever became of the context. The result is recorded.
//   - NotDone(cause): surely nothing happened. The key is free, cause is returned.
//   - any other error, a panic: in doubt. The next call does it again with the
//     same Key if the receiver honours it; else it is parked: no call runs fn any
//     more, until RedriveRecord or SettleRecord.
//
// In doubt is also what a process left that died or slept longer than its lease
// with fn begun. One that died before that leaves nothing.
//
// What is promised: once, with a receiver that honours the key; once or parked,
// never twice, with one that does not. On SQL claims that holds as long as the
// database does. On Redis claims it holds as long as Redis keeps what it answered:
// a flush, a failover, an eviction makes a key new, and fn runs again. Only a
// receiver that honours Key (or compares Token) is safe from that.
//
// Errors: ErrInProgress, call again later; ErrParked and ErrInDoubt, the text
// says which key and why; ErrInDoubt alone, it may have happened: call again;
// ErrTryAgain, the claims did not answer and fn was not run; ErrKeyReused,
// ErrConfig, fn was not run. An error that is none of these and says "it has
// happened" is about the result only.
//
// The result is as with Once; one that cannot be recorded is reported as such by
// every call: it is too late to undo it.
func Record[R any](ctx context.Context, claims Claims, key OnceKey, config RecordConfig, fn func(context.Context, RecordAttempt) (R, error)) (result R, err error) {
	r, err := newRecord(claims, key, config)
	if err != nil {
		return result, err
	}
	row, err := r.do(ctx, func(ctx context.Context, a RecordAttempt) (recordRow, error) {
		got, err := fn(ctx, a)
		if err != nil {
			return recordRow{}, err
		}
		return r.happened(got), nil
	})
	if err != nil {
		return result, err
	}
	if row.kind == recordBare {
		return result, fmt.Errorf("record %s: it has happened, but its result was not recorded: %s", key, row.data)
	}
	if result, err = decodeResult[R](row.data); err != nil {
		err = fmt.Errorf("record %s: it has happened, but its result of %d bytes is no %T: read it as the type it was recorded with: %w",
			key, len(row.data), result, err)
	}
	return result, err
}

// record is one call.
type record struct {
	claims  Claims
	key     OnceKey
	base    DedupKey
	content Fingerprint
	config  RecordConfig
}

func newRecord(claims Claims, key OnceKey, c RecordConfig) (*record, error) {
	base, content, err := key.hash()
	if err != nil {
		return nil, err
	}
	c.Lease = orDefault(c.Lease, 30*time.Second)
	c.Settle = orDefault(c.Settle, c.Lease)
	c.Window = orDefault(c.Window, 14*24*time.Hour)
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	if c.Lease < 10*time.Millisecond {
		return nil, configError("RecordConfig.Lease", c.Lease, "give it time for a renewal, 10 ms at least; fn was not run")
	}
	if c.Window < c.Lease {
		return nil, configError("RecordConfig.Window", c.Window, "keep results for the lease at least; fn was not run")
	}
	return &record{claims, key, base, content, c}, nil
}

// held is a claim in hand: of the key in its generation, and of its attempt.
type held struct {
	leased
	generation int
	attempt    Token // 0: the receiver honours the key, and no attempt is noted
}

// do answers from the record, or runs.
func (r *record) do(ctx context.Context, run func(context.Context, RecordAttempt) (recordRow, error)) (recordRow, error) {
	for {
		h, row, err := r.take(ctx)
		if h.token == 0 {
			return row, err
		}
		h.keep(ctx, h.until)
		open, err := r.open(ctx, h)
		if err != nil {
			h.stop()
			return row, err
		}
		if open {
			return r.run(ctx, h, run)
		}
		// An earlier owner had begun, and nobody knows how it ended. What is decided
		// about that already is seen when the key is asked for again.
		err = r.park(ctx, h, "a process began it, and died or was taken over before it noted what came of it")
		h.stop()
		if err != nil {
			return row, err
		}
	}
}

// take asks for the key. A generation ends when it is parked and redriven.
// Without a token it is not ours: the row or the error is the answer.
func (r *record) take(ctx context.Context) (*held, recordRow, error) {
	h := new(held)
	for ; ; h.generation++ {
		h.leased = leased{claims: r.claims, group: r.key.Scope, key: r.at(roleRecord, h.generation), lease: r.config.Lease,
			clock: r.config.Clock, until: r.config.Clock.Now()}
		c, err := r.claims.Claim(ctx, h.group, h.key, h.lease)
		if err != nil {
			return h, recordRow{}, r.notRun(err)
		}
		switch c.State {
		case ClaimFresh:
			h.token = c.Token
			return h, recordRow{}, nil
		case ClaimInProgress:
			return h, recordRow{}, fmt.Errorf("%w: record %s: fn was not run: call again later, within %v if that process died",
				ErrInProgress, r.key, r.config.Lease)
		case ClaimDone:
		default:
			return h, recordRow{}, fmt.Errorf("record %s: the claims answer state %d, which this version does not know: fn was not run", r.key, c.State)
		}
		row, err := r.recorded(c.Result)
		if err == nil && row.kind == recordParked {
			row, err = r.decision(ctx, h.generation, row)
		}
		if err != nil || row.kind != recordRedriven {
			return h, row, err
		}
	}
}

// open notes, durable, that fn is about to run. Where the receiver honours the
// key nobody needs to know. False: a note is there already.
func (r *record) open(ctx context.Context, h *held) (bool, error) {
	if r.config.Honours {
		return true, nil
	}
	c, err := r.claims.Claim(ctx, h.group, r.at(roleAttempt, h.generation), r.config.Window)
	if err != nil {
		r.free(ctx, h.key, h.token)
		return false, r.notRun(err)
	}
	h.attempt = c.Token
	return c.State == ClaimFresh, nil
}

// run runs fn with the key in hand, and settles what came of it, also when fn
// panics or ends its goroutine.
func (r *record) run(ctx context.Context, h *held, run func(context.Context, RecordAttempt) (recordRow, error)) (row recordRow, err error) {
	defer h.stop()
	if gone := errors.Join(context.Cause(ctx), h.err()); gone != nil { // it took too long to come here
		return row, errors.Join(r.notRun(gone), r.undo(ctx, h))
	}
	returned := false
	defer func() {
		if !returned {
			_ = r.doubt(ctx, h, errors.New("fn did not return"))
		}
	}()
	fctx, cancel := context.WithTimeout(ctx, r.config.Window)
	defer cancel()
	fctx, end := context.WithCancelCause(fctx)
	defer end(nil)
	go func() {
		select {
		case <-h.lost:
			end(h.err())
		case <-fctx.Done():
		}
	}()
	row, err = run(fctx, RecordAttempt{fmt.Sprintf("%x", r.at(roleReceiver, 0)), h.token})
	returned = true
	var not *notDoneError
	switch {
	case err == nil:
		return r.finish(ctx, h, row)
	case errors.As(err, &not):
		return row, errors.Join(fmt.Errorf("record %s: surely not done: %w", r.key, err), r.undo(ctx, h))
	}
	if cause := h.err(); cause != nil {
		err = fmt.Errorf("%w (%v)", err, cause)
	}
	return row, r.doubt(ctx, h, err)
}
