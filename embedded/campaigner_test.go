package embedded_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// The children of the crash campaign: a sender, or a process with workers.

// job is what a child of the campaign is told to do. Role comes first: it
// tells these children from those of crash_test.go.
type job struct {
	Role        string // "send" or "work"
	Folder      string
	First, Last int    // send: the orders
	History     string // send: its append-only file
	Step        string // where to report and wait; for senders "stored"
	Or          string // another such step
	Nth         int64
	Status      string // work: a file that says where it is, for kills at any time
	Workers     int
	By          []rollcall.Strategy
	UntilEmpty  bool
}

func campaigner(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	db, err := open(j.Folder)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &breakpoint{step: j.Step, or: j.Or, nth: j.Nth, goOn: make(chan struct{})}
	go func() { // a line lets it go on, the end drains it
		in := bufio.NewReader(os.Stdin)
		if _, err := in.ReadString('\n'); err == nil {
			close(b.goOn)
			_, _ = in.ReadString('\n')
		}
		cancel()
	}()
	if j.Role == "send" {
		err = sendOrders(ctx, db, j, b)
	} else {
		err = workOrders(ctx, db, j, b)
	}
	return errors.Join(err, db.Close())
}

// breakpoint reports the nth time that a step is reached with work in hand, and
// waits there.
type breakpoint struct {
	step   string
	or     string // a second such step; empty: none
	nth    int64
	goOn   chan struct{}
	mu     sync.Mutex
	seen   int64
	status *os.File
}

func (b *breakpoint) at(_ context.Context, step string, n int) error {
	b.mu.Lock()
	if b.status != nil {
		_, _ = b.status.WriteAt(fmt.Appendf(nil, "%-20s %6d\n", step, n), 0)
	}
	if step != b.step && step != b.or || n == 0 {
		b.mu.Unlock()
		return nil
	}
	b.seen++
	nth := b.seen
	b.mu.Unlock()
	if nth == b.nth {
		fmt.Printf("at %s with %d in work\n", step, n)
	}
	if nth >= b.nth { // whoever comes to the step later waits there too
		<-b.goOn
	}
	return nil
}

// sendOrders sends what has no confirmation yet. An order is in the history
// before it is handed over, and again when the log has it.
func sendOrders(ctx context.Context, db *embedded.DB, j job, b *breakpoint) (err error) {
	_, stored, err := readHistory(j.History)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.History, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	p := rollcall.NewPublisher(stoppingSender{db.Sender(), b}, rollcall.PublisherConfig{})
	defer func() { err = errors.Join(err, p.Close(ctx), f.Close()) }()
	const chunk = 16
	for first := j.First; first <= j.Last; first += chunk {
		var messages []rollcall.Message
		for n := first; n <= min(first+chunk-1, j.Last); n++ {
			if stored[n] {
				continue
			}
			messages = append(messages, rollcall.Message{ID: rollcall.MessageID(fmt.Sprintf("order-%d", n)), Key: fmt.Sprint("k", n%29), Body: strconv.AppendInt(nil, int64(n), 10)})
			fmt.Fprintf(f, "send %d\n", n)
		}
		for i, r := range p.Publish(ctx, "orders", messages...) {
			if r.Fate != rollcall.Stored {
				return fmt.Errorf("order %s: %v: %w", messages[i].Body, r.Fate, r.Err)
			}
			fmt.Fprintf(f, "stored %s\n", messages[i].Body)
		}
	}
	return nil
}

// stoppingSender has a step after the log has stored and before the sender
// knows.
type stoppingSender struct {
	rollcall.Sender
	b *breakpoint
}

func (s stoppingSender) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	results := s.Sender.Publish(ctx, destination, messages)
	_ = s.b.at(ctx, "stored", len(messages))
	return results
}

// readHistory is what a sender began, and what it knows to be stored.
func readHistory(path string) (begun, stored map[int]bool, err error) {
	begun, stored = make(map[int]bool), make(map[int]bool)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return begun, stored, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var what string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &what, &n); err != nil {
			continue // torn by a kill: it was not begun for anybody
		}
		begun[n] = true
		stored[n] = stored[n] || what == "stored"
	}
	return begun, stored, nil
}

// Some orders fail the first time in every process, some always. They write
// their effect before they fail: it must not stay.
func failsOnce(n int) bool { return n%23 == 7 }
func poison(n int) bool    { return n%97 == 13 }

func workOrders(ctx context.Context, db *embedded.DB, j job, b *breakpoint) error {
	if j.Status != "" {
		f, err := os.OpenFile(j.Status, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		b.status = f
	}
	var mu sync.Mutex
	failed := make(map[int]bool)
	handler := func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
		n, err := strconv.Atoi(string(m.Body))
		if err != nil {
			return err
		}
		if err := recordOne(ctx, tx, m); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if poison(n) || failsOnce(n) && !failed[n] {
			failed[n] = true
			return fmt.Errorf("order %d fails", n)
		}
		return nil
	}
	ctx = failpoint.With(ctx, b.at)
	errs := make([]error, j.Workers)
	var wg sync.WaitGroup
	for i := range errs {
		c := rollcall.NewConsumer("ledger", db.Source("orders"), db.Store(), handler, rollcall.ConsumerConfig{
			Batch: 20, Dedup: rollcall.DedupConfig{By: j.By}, Worker: fmt.Sprint("worker", i), Observer: quiet{},
			Retry: rollcall.RetryConfig{Attempts: 12, First: 2 * time.Millisecond, Most: 20 * time.Millisecond}})
		wg.Go(func() {
			if j.UntilEmpty {
				errs[i] = c.RunUntilEmpty(ctx)
			} else {
				errs[i] = c.Run(ctx)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	return nil // told to end before it had joined
}

// quiet tells only what is waited out for long: what matters is in the ledger.
type quiet struct{}

func (quiet) Observe(e rollcall.Event) {
	if p, is := e.(rollcall.Paused); is && p.For > time.Second {
		fmt.Fprintln(os.Stderr, "paused:", p.Where, p.Err)
	}
}
