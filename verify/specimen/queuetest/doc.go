// Package queuetest shows the textbook patterns on a real queue: right while nothing
// happens, and wrong when worker processes are killed between two steps. What they did
// is counted in a ledger without a unique index.
package queuetest
