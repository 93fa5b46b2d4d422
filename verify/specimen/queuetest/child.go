//go:build linux

package queuetest

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the ledger

	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

const jobEnv = "ROLLCALL_QUEUETEST_JOB"

// workers of one process.
const workers = 2

// Job is what a worker process is told.
type Job struct {
	Addr, Queue   string        // where the broker and what the queue is
	Calm          bool          // nobody will be killed
	Pattern       string        // of package specimen
	Redis, Ledger string        // URL and file
	Stand         fault.Moment  // it says so, and stands, when a worker comes here; "": nowhere
	Ahead         bool          // it stands only with more messages received than the one in hand
	Charge        time.Duration // how long the outside check of an order takes
}

// Queue is a queue as the processes use it.
type Queue interface {
	specimen.Queue
	// Ahead are the ids of what was received beyond the message in hand.
	Ahead() []string
	Close() error
}

// stand is what a process says when a worker stands.
type stand struct {
	Moment fault.Moment
	ID     string
	Ahead  []string // received beyond it
	Beside []string // with the process's other workers, in hand and ahead
}

// Main is TestMain's part: in a worker process it works and ends, in others it does
// nothing.
func Main(open func(ctx context.Context, j Job) (Queue, error)) {
	text := os.Getenv(jobEnv)
	if text == "" {
		return
	}
	var j Job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = run(j, open)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// errEnough: the parent has closed our standard input.
var errEnough = errors.New("that is enough")

// process is a worker process.
type process struct {
	job   Job
	db    *sql.DB
	cache specimen.Cache
	stop  context.Context // ends when the parent has had enough; what is begun is finished
	// gate is held by who stands, and until it is killed: nobody else acknowledges then,
	// so that what is written of acknowledgements is true.
	gate sync.RWMutex

	mu   sync.Mutex
	with map[Queue][]string // what each worker has; only of processes that stand
}

// run works until the parent closes our standard input.
func run(j Job, open func(ctx context.Context, j Job) (Queue, error)) error {
	stop, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		cancel(errEnough)
	}()
	db, err := openLedger(j.Ledger)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	options, err := redis.ParseURL(j.Redis)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	p := &process{job: j, db: db, cache: cache{client, j.Queue + ":"}, stop: stop, with: make(map[Queue][]string)}
	done := make(chan error, workers)
	for range workers {
		go func() { done <- p.work(context.Background(), open) }()
	}
	for range workers {
		if err := <-done; stop.Err() == nil {
			return err // it ends the process
		}
	}
	return nil
}

// work is one worker, with a connection of its own.
func (p *process) work(ctx context.Context, open func(ctx context.Context, j Job) (Queue, error)) error {
	pattern, err := specimen.Find(p.job.Pattern)
	if err != nil {
		return err
	}
	q, err := open(ctx, p.job)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	fmt.Println("{}") // ready
	err = pattern.Run(ctx, &specimen.Worker{
		Queue: &written{q, p}, Cache: p.cache, DB: p.db, PID: os.Getpid(),
		Charge: func(context.Context, specimen.Message) error { return nil },
		At:     func(_ context.Context, at fault.Moment, m specimen.Message) error { return p.at(q, at, m) },
		Log:    func(format string, args ...any) { fmt.Fprintf(os.Stderr, p.job.Pattern+": "+format+"\n", args...) },
	})
	if err == nil {
		err = errors.New("the queue was worked off before its time")
	}
	return err
}

// at is called at each step.
func (p *process) at(q Queue, at fault.Moment, m specimen.Message) error {
	if at == fault.BeforeEffect {
		time.Sleep(p.job.Charge) // the order is looked at elsewhere
	}
	if at != p.job.Stand {
		return nil
	}
	said := stand{Moment: at, ID: m.ID, Ahead: q.Ahead()}
	if p.job.Ahead && len(said.Ahead) == 0 {
		return nil
	}
	p.gate.Lock() // for ever: the kill comes first, or the parent gives us up
	p.mu.Lock()
	for other, ids := range p.with {
		if other != q {
			said.Beside = append(said.Beside, ids...)
		}
	}
	p.mu.Unlock()
	text, err := json.Marshal(said)
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	<-p.stop.Done()
	return context.Cause(p.stop)
}

// written is a queue that writes down what was acknowledged.
type written struct {
	Queue
	process *process
}

// Receive waits for a message, unless the parent has had enough.
func (w *written) Receive(context.Context) (specimen.Message, error) {
	m, err := w.Queue.Receive(w.process.stop)
	if err == nil && w.process.job.Stand != "" {
		w.process.has(w.Queue, append([]string{m.ID}, w.Ahead()...))
	}
	return m, err
}

// has says what a worker has.
func (p *process) has(q Queue, ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.with[q] = ids
}

// Ack acknowledges, and writes it down.
func (w *written) Ack(ctx context.Context, m specimen.Message) error {
	w.process.gate.RLock()
	defer w.process.gate.RUnlock()
	if err := w.Queue.Ack(ctx, m); err != nil {
		return err
	}
	_, err := w.process.db.ExecContext(ctx, `INSERT INTO acked (id) VALUES (?)`, m.ID)
	return err
}

func openLedger(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_txlock=immediate")
}

// cache is Redis, with keys of one run.
type cache struct {
	client *redis.Client
	prefix string
}

func (c cache) Get(ctx context.Context, key string) (string, bool, error) {
	value, err := c.client.Get(ctx, c.prefix+key).Result()
	if errors.Is(err, redis.Nil) {
		return "", false, nil
	}
	return value, err == nil, err
}

func (c cache) Set(ctx context.Context, key, value string, ttl time.Duration) error {
	return c.client.Set(ctx, c.prefix+key, value, ttl).Err()
}

func (c cache) SetNX(ctx context.Context, key, value string, ttl time.Duration) (bool, error) {
	return c.client.SetNX(ctx, c.prefix+key, value, ttl).Result()
}

func (c cache) Del(ctx context.Context, key string) error {
	return c.client.Del(ctx, c.prefix+key).Err()
}

func (c cache) DelIf(ctx context.Context, key, value string) error {
	return c.client.Eval(ctx, `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`,
		[]string{c.prefix + key}, value).Err()
}
