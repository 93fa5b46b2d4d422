package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// OpenClaims connects a worker process to the claims of a place: a schema, a
// prefix. It is asked again until it succeeds: the server may just be dead.
type OpenClaims func(ctx context.Context, url, place string) (c rollcall.Claims, close func() error, err error)

// recordJob is what a process that does business by rollcall.Record is told.
type recordJob struct {
	URL, Place string
	Receiver   string // its URL
	Honours    bool
	Keys       int
	Said       string // a file: a line for each key that was done or parked
}

const (
	recordEnv     = "ROLLCALL_CRASHTEST_RECORD"
	recordWorkers = 2 // of each process
	// recordLease is what a killed process keeps the others waiting.
	recordLease = 500 * time.Millisecond
)

// RecordChild runs the job of a process of RunRecord and reports that it was one.
// A driver's TestMain calls it first.
func RecordChild(open OpenClaims) bool {
	text := os.Getenv(recordEnv)
	if text == "" {
		return false
	}
	var j recordJob
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = recordWork(open, j)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func recordWork(open OpenClaims, j recordJob) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var claims rollcall.Claims
	closing := func() error { return nil }
	for claims == nil {
		c, end, err := open(ctx, j.URL, j.Place)
		if err == nil {
			claims, closing = c, end
		} else if sleepFor(ctx, 20*time.Millisecond) != nil {
			return err
		}
	}
	said, err := os.OpenFile(j.Said, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	errs := make([]error, recordWorkers)
	var all sync.WaitGroup
	for n := range errs {
		all.Go(func() { errs[n] = (&customer{j, claims, said}).run(ctx, uint64(n)) })
	}
	all.Wait()
	return errors.Join(append(errs, closing(), said.Close())...)
}

func sleepFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// customer does all the business, in an order of its own, until each key is
// done or parked, by it or by another.
type customer struct {
	job    recordJob
	claims rollcall.Claims
	said   *os.File
}

func (c *customer) run(ctx context.Context, n uint64) error {
	for todo := rand.New(rand.NewPCG(n, uint64(os.Getpid()))).Perm(c.job.Keys); len(todo) > 0; todo = todo[1:] {
		key := todo[0]
		config := rollcall.RecordConfig{Lease: recordLease, Honours: c.job.Honours}
		receipt, err := rollcall.Record(ctx, c.claims, recordKey(key), config, func(ctx context.Context, a rollcall.RecordAttempt) (string, error) {
			return c.pay(ctx, key, a)
		})
		line := fmt.Sprintf("done %d %s\n", key, receipt)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("waited %v for %d keys: %w", patience, len(todo), err)
		case errors.Is(err, rollcall.ErrParked):
			line = fmt.Sprintf("parked %d\n", key)
		case err != nil: // somebody is at it, it was refused, the store was away: later
			todo = append(todo, key)
			time.Sleep(2 * time.Millisecond)
			continue
		}
		if _, err := c.said.WriteString(line); err != nil {
			return err
		}
	}
	return nil
}

func recordKey(key int) rollcall.OnceKey { return rollcall.OnceKey{Scope: group, Key: fmt.Sprint(key)} }

// pay calls the receiver. What it refuses has surely not happened.
func (c *customer) pay(ctx context.Context, key int, a rollcall.RecordAttempt) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/%d", c.job.Receiver, key), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Key", a.Key) // net/http would repeat a request with Idempotency-Key by itself
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		err = rollcall.NotDone(errors.New("refused"))
	}
	return string(text), err
}

// bank is the receiver: it writes each effect into a ledger without any unique
// index, unless it honours the key. Some calls it refuses, some it leaves
// without an answer.
type bank struct {
	honours bool
	mu      sync.Mutex
	calls   int
	ledger  map[string][]string // receipts of each key of the business
	known   map[string]string   // receipt of each key of the attempts
	absorbs int                 // repeats that the key kept from taking effect
	inside  int                 // calls between their effect and their answer
}

func (b *bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call, receipt := b.take(r.URL.Path, r.Header.Get("X-Key"))
	if receipt == "" {
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	time.Sleep(8 * time.Millisecond) // to be killed in
	b.mu.Lock()
	b.inside--
	b.mu.Unlock()
	if call%50 == 13 {
		panic(http.ErrAbortHandler) // no answer
	}
	_, _ = io.WriteString(w, receipt)
}

func (b *bank) take(key, attempt string) (call int, receipt string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.calls%17 == 5 {
		return b.calls, ""
	}
	b.inside++
	if receipt, known := b.known[attempt]; known && b.honours {
		b.absorbs++
		return b.calls, receipt
	}
	receipt = fmt.Sprintf("receipt-%d", b.calls)
	b.ledger[key] = append(b.ledger[key], receipt)
	b.known[attempt] = receipt
	return b.calls, receipt
}

func (b *bank) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inside > 0
}

func (b *bank) effects(key int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ledger[fmt.Sprint("/", key)]
}

// said reads what all processes said of the keys: the receipt of each, or that
// it is parked. Two receipts of one key are an error.
func said(folder string) (receipts map[int]string, parked map[int]bool, err error) {
	receipts, parked = make(map[int]string), make(map[int]bool)
	file, err := os.Open(filepath.Join(folder, "said"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }()
	for {
		var what, receipt string
		var key int
		if _, err = fmt.Fscan(file, &what, &key); errors.Is(err, io.EOF) {
			return receipts, parked, nil
		} else if err == nil && what == "done" {
			_, err = fmt.Fscan(file, &receipt)
		}
		switch {
		case err != nil:
			return nil, nil, err
		case what == "parked":
			parked[key] = true
		case receipts[key] != "" && receipts[key] != receipt:
			return nil, nil, fmt.Errorf("key %d has the receipts %s and %s", key, receipts[key], receipt)
		default:
			receipts[key] = receipt
		}
	}
}
