package crashtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// Some messages fail the first time in every process. They write their line
// before they fail: it must not stay.
func failsOnce(n int64) bool { return n%997 == 7 }

// work is a worker process.
func work[X any](s Storage[X], j job) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !j.Until {
		go func() { // the end of stdin drains it
			_, _ = bufio.NewReader(os.Stdin).ReadByte()
			cancel()
		}()
	}
	store, closeStore, err := openStore(ctx, s, j)
	if ctx.Err() != nil && err != nil {
		return nil // told to end before the server was there
	}
	if err != nil {
		return err
	}
	source, _, closeLog, err := s.Log(j.Folder)
	if err != nil {
		return err
	}
	status, err := newStatus(j.Status)
	if err != nil {
		return err
	}
	ctx = failpoint.With(ctx, status.at)
	errs := make([]error, j.Workers)
	var wg sync.WaitGroup
	handler := newHandler(s, j)
	for i := range errs {
		c := rollcall.NewConsumer(group, source, store, handler, rollcall.ConsumerConfig{
			Batch: 100, Dedup: rollcall.DedupConfig{By: j.By}, Gather: j.Gather, Worker: fmt.Sprint("worker", i), Observer: quiet{j.Status},
			// A kill spends an attempt of what was in work.
			Retry: rollcall.RetryConfig{Attempts: 50, First: 2 * time.Millisecond, Most: 20 * time.Millisecond}})
		wg.Go(func() {
			if j.Until {
				errs[i] = c.RunUntilEmpty(ctx)
			} else {
				errs[i] = c.Run(ctx)
			}
		})
	}
	wg.Wait()
	err = errors.Join(errs...)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // told to end before it had joined
	}
	return errors.Join(err, closeStore(), closeLog())
}

func openStore[X any](ctx context.Context, s Storage[X], j job) (rollcall.Store[X], func() error, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		store, closing, err := s.Open(ctx, j.URL, j.Schema)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return store, closing, err
		}
	}
}

func newHandler[X any](s Storage[X], j job) rollcall.Handler[X] {
	var mu sync.Mutex
	failed := make(map[int64]bool)
	return func(ctx context.Context, tx X, m rollcall.Message) error {
		n, err := strconv.ParseInt(string(m.Body), 10, 64)
		if err != nil {
			return err
		}
		if err := s.Record(ctx, tx, j.Schema, n); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if failsOnce(n) && !failed[n] {
			failed[n] = true
			return fmt.Errorf("message %d fails", n)
		}
		return nil
	}
}

// status is a file that says at which step the process is: it is read while the
// process is stopped, to see whether a kill would bite.
type status struct {
	mu   sync.Mutex
	file *os.File
}

func newStatus(path string) (*status, error) {
	if path == "" {
		return &status{}, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	return &status{file: f}, err
}

func (s *status) at(_ context.Context, step string, n int) error {
	if s.file == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.file.WriteAt(fmt.Appendf(nil, "%-24s %6d\n", step, n), 0)
	return err
}

// quiet tells only what is waited out for long, and how often it was fenced: what
// matters is in the ledger.
type quiet struct{ status string }

// Observe implements rollcall.Observer.
func (q quiet) Observe(e rollcall.Event) {
	switch e := e.(type) {
	case rollcall.Paused:
		if e.For > 5*time.Second {
			fmt.Fprintln(os.Stderr, "paused:", e.Where, e.Err)
		}
	case rollcall.Fenced:
		if err := q.fenced(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

func (q quiet) fenced() error {
	if q.status == "" {
		return nil
	}
	f, err := os.OpenFile(q.status+fencedSuffix, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString("f")
	return errors.Join(err, f.Close())
}
