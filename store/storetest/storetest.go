// Package storetest is the acceptance test of store drivers: every driver
// passes it whole. It checks effects, in a ledger without a unique index,
// through the engine, and kills workers between any two steps of the protocol.
//
// The cases of the project's protocol-cases page carry its names. They run on
// broker/memory in the three shapes of partitions.
package storetest

import (
	"context"
	"testing"

	"github.com/rollcall-mq/rollcall"
)

// Storage is one empty storage, for one case.
type Storage[X any] struct {
	// Open connects as one more process would.
	Open func(t testing.TB) rollcall.Store[X]
	// Record adds a line to a ledger without a unique index, in the user's
	// transaction.
	Record func(ctx context.Context, tx X, line string) error
	// Ledger is the lines committed, in the order of recording.
	Ledger func(t testing.TB) []string
	// Slow is a writing statement that ends only with its context.
	Slow func(ctx context.Context, tx X) error
	// Writers: several transactions can be open at once, and rows are locked
	// one by one. Else writers queue for the whole store.
	Writers bool
	// UndoKeepsLocks: undoing to a savepoint keeps the locks of rows that were
	// taken since, so that nobody comes in between.
	UndoKeepsLocks bool
	// Deadlocks is how many the server has counted; nil where there can be none.
	Deadlocks func() int
	// LateCommit makes the next COMMIT lose its answer and happen later; nil
	// where the server cannot be made to.
	LateCommit func()
	// ShortDeadline makes the server end transactions that are idle for a
	// moment; nil where the server has no such deadline, which is then part of
	// its documentation.
	ShortDeadline func()
	// Kill cuts the connections of a store that Open returned, as the death of
	// its process does; nil: its open transactions are rolled back instead.
	Kill func(s rollcall.Store[X])
	// Results is the store's Results of a transaction; nil: it is not tested.
	Results func(s rollcall.Store[X], tx X) rollcall.Results
}

// Harness makes an empty storage.
type Harness[X any] func(t testing.TB) Storage[X]

// Case is one named test.
type Case[X any] struct {
	Name string
	Run  func(t *testing.T, h Harness[X])
}

// Run runs the whole kit.
func Run[X any](t *testing.T, h Harness[X]) {
	for _, c := range Cases[X]() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Run(t, h)
		})
	}
}

// Cases is the kit, by name.
func Cases[X any]() []Case[X] {
	var all []Case[X]
	all = append(all, contractCases[X]()...)
	all = append(all, logCases[X]()...)
	all = append(all, deadCases[X]()...)
	all = append(all, crashCases[X]()...)
	all = append(all, repeatCases[X]()...)
	all = append(all, ownerCases[X]()...)
	all = append(all, asideCases[X]()...)
	all = append(all, handlerCases[X]()...)
	all = append(all, keyCases[X]()...)
	all = append(all, workerCases[X]()...)
	return all
}
