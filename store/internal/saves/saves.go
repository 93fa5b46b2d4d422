// Package saves keeps the savepoints of one transaction, whose names no handler
// may use.
package saves

import "fmt"

// Saves are the savepoints of one transaction. The zero value has none.
type Saves struct {
	last int
	open []int // numbers of those that can still be undone
}

// New is the number of the next savepoint.
func (s *Saves) New() int {
	s.last++
	return s.last
}

// Name is a savepoint's name in SQL.
func Name(n int) string { return fmt.Sprintf("rollcall_%d", n) }

// Taken notes that it was taken.
func (s *Saves) Taken(n int) { s.open = append(s.open, n) }

// Find says where among the open ones it is, for Undone. It is an error when it
// was undone before, or one taken before it was.
func (s *Saves) Find(n int) (at int, err error) {
	for at, have := range s.open {
		if have == n {
			return at, nil
		}
	}
	return 0, fmt.Errorf("savepoint %d was undone before, or one taken before it was; nothing was changed", n)
}

// Undone closes it, and those taken since.
func (s *Saves) Undone(at int) { s.open = s.open[:at] }
