// Package crashtest is the acceptance test of store drivers whose server is a
// process of its own: worker processes and the server are killed with SIGKILL
// while tens of thousands of messages are worked off, connections are cut and
// workers stopped, and every effect is counted in a ledger without a unique
// index.
package crashtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Storage is the server as both sides of the test see it: the processes that
// work, and the one that kills and judges.
type Storage[X any] struct {
	// Open connects a worker process to the server. It is asked again until it
	// succeeds: the server may just be dead.
	Open func(ctx context.Context, url, schema string) (s rollcall.Store[X], close func() error, err error)
	// Log opens the embedded log of a folder: what a driver's test may link.
	Log func(folder string) (rollcall.Source, rollcall.Sender, func() error, error)
	// Record writes a line into the ledger, in the handler's transaction.
	Record func(ctx context.Context, tx X, schema string, number int64) error
	// Ledger counts the lines of each number.
	Ledger func(ctx context.Context, url, schema string) (map[int64]int, error)
	// CutAll ends every connection of workers at the server; nil: not tested.
	CutAll func(ctx context.Context, url string) error
}

// job is what a worker process is told.
type job struct {
	Folder, URL, Schema string
	Workers             int
	By                  []rollcall.Strategy
	Gather              bool
	Until               bool   // until empty; else until stdin ends
	Status              string // a file that says at which step it is, with how many in work
}

const jobEnv = "ROLLCALL_CRASHTEST_JOB"

// Child runs the job of a worker process and reports that it was one. A driver's
// TestMain calls it first.
func Child[X any](s Storage[X]) bool {
	text := os.Getenv(jobEnv)
	if text == "" {
		return false
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = work(s, j)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// destination and group of every run.
const (
	destination = "orders"
	group       = "ledger"
)

// patience is how long a process may take for anything.
const patience = 2 * time.Minute
