//go:build linux

package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/redis"
)

// The environment of a worker process.
const (
	workerAddr    = "ROLLCALL_REDIS_WORKER"
	workerLedger  = "ROLLCALL_REDIS_LEDGER"  // a line an effect
	workerTrouble = "ROLLCALL_REDIS_TROUBLE" // a line an error
)

const (
	loadKeys    = 50_000
	loadBatch   = 100
	loadWorkers = 2 // a process

	// The lease outlasts a restart of Redis on a busy machine, by far: two
	// effects by a holder that was only slow would be the documented limit, not a
	// bug. What nobody knows to be his is free again after it.
	loadLease = 10 * time.Second
)

// tally is what a worker process prints in the end.
type tally struct {
	Done              int64 // effects that it made
	Completed         int64 // of these, recorded
	Again             int64 // of these, only when asked again
	Fenced            int64 // of these, another took the key meanwhile
	ClaimsInDoubt     int64 // keys of claims without an answer
	CompletionsDoubt  int64 // keys of completions without an answer
	Refused           int64 // calls that surely did nothing
	OthersAlreadyDone int64 // keys that it found done
}

// worker goes through all keys until all are done, by it or by another.
type worker struct {
	store           *redis.Store
	name            string
	ledger, trouble *os.File
	sum             *tally
}

func workerMain() int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	s, err := redis.Open(ctx, redis.Config{Addr: os.Getenv(workerAddr), Timeout: 10 * time.Second})
	var files [2]*os.File
	for i, path := range []string{os.Getenv(workerLedger), os.Getenv(workerTrouble)} {
		if err == nil {
			files[i], err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var sum tally
	var failed atomic.Bool
	var wait sync.WaitGroup
	for n := range loadWorkers {
		w := &worker{s, fmt.Sprintf("%d/%d", os.Getpid(), n), files[0], files[1], &sum}
		wait.Go(func() {
			if err := w.run(ctx, n); err != nil {
				fmt.Fprintln(os.Stderr, w.name, err)
				failed.Store(true)
			}
		})
	}
	wait.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(&sum); err != nil || failed.Load() {
		return 1
	}
	return 0
}

func (w *worker) run(ctx context.Context, n int) error {
	var todo []rollcall.DedupKey
	for i := range loadKeys { // the same order, so that all want the same keys at the same time
		todo = append(todo, key(i))
	}
	for len(todo) > 0 {
		batch := todo[:min(loadBatch, len(todo))]
		claims, err := w.store.ClaimAll(ctx, group, batch, loadLease)
		if err != nil {
			if err := w.failed(ctx, "claim", err, &w.sum.ClaimsInDoubt, len(batch)); err != nil {
				return err
			}
			continue
		}
		fresh, busy := w.sort(batch, claims)
		if err := w.work(ctx, fresh); err != nil {
			return err
		}
		if todo = append(todo[len(batch):], busy...); len(fresh) == 0 && len(busy) == len(batch) {
			time.Sleep(time.Duration(5+n) * time.Millisecond) // others are at it
		}
	}
	return nil
}

// sort splits what was claimed: ours to do, and what others have at the moment.
func (w *worker) sort(batch []rollcall.DedupKey, claims []rollcall.Claim) (fresh []redis.Completion, busy []rollcall.DedupKey) {
	for i, c := range claims {
		switch c.State {
		case rollcall.ClaimFresh:
			fresh = append(fresh, redis.Completion{Key: batch[i], Token: c.Token, Result: []byte(w.name)})
		case rollcall.ClaimInProgress:
			busy = append(busy, batch[i])
		case rollcall.ClaimDone:
			atomic.AddInt64(&w.sum.OthersAlreadyDone, 1)
		}
	}
	return fresh, busy
}

// work makes the effects, and completes them until there is an answer.
func (w *worker) work(ctx context.Context, fresh []redis.Completion) error {
	if len(fresh) == 0 {
		return nil
	}
	var lines []byte
	for _, f := range fresh {
		lines = fmt.Appendf(lines, "%s %d %s\n", f.Key[:], f.Token, w.name)
	}
	if _, err := w.ledger.Write(lines); err != nil { // appended whole
		return err
	}
	atomic.AddInt64(&w.sum.Done, int64(len(fresh)))
	asked := 0
	for ; len(fresh) > 0; asked++ {
		var open []redis.Completion
		var last error
		for i, err := range w.store.CompleteAll(ctx, group, fresh, time.Hour) {
			switch {
			case err == nil && asked > 0:
				atomic.AddInt64(&w.sum.Again, 1)
				fallthrough
			case err == nil:
				atomic.AddInt64(&w.sum.Completed, 1)
			case errors.Is(err, rollcall.ErrFenced):
				atomic.AddInt64(&w.sum.Fenced, 1)
			default:
				open, last = append(open, fresh[i]), err
			}
		}
		if len(open) > 0 {
			if err := w.failed(ctx, "complete", last, &w.sum.CompletionsDoubt, len(open)); err != nil {
				return err
			}
		}
		fresh = open
	}
	return nil
}

// failed counts an error of the server and waits a little; only the end of the
// time is an error.
func (w *worker) failed(ctx context.Context, what string, err error, doubt *int64, keys int) error {
	if ctx.Err() != nil {
		return fmt.Errorf("not finished in time: %s: %w", what, err)
	}
	kind := "refused"
	if errors.Is(err, rollcall.ErrInDoubt) {
		kind = "in doubt"
		atomic.AddInt64(doubt, int64(keys))
	} else {
		atomic.AddInt64(&w.sum.Refused, 1)
	}
	if _, err := fmt.Fprintf(w.trouble, "%s %s %s\n", w.name, what, kind); err != nil {
		return err
	}
	time.Sleep(10 * time.Millisecond)
	return nil
}
