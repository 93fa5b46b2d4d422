// Package slab makes many short strings with few allocations.
package slab

import "strings"

// Strings makes strings of byte slices, many in one piece of memory: one allocation
// for each was a third of the time of reading messages. The zero value is ready.
type Strings struct{ b strings.Builder }

// size is what one piece holds, and what one string may keep in memory.
const size = 4 << 10

// Of copies b.
func (s *Strings) Of(b []byte) string {
	if len(b) > size/8 {
		return string(b)
	}
	if s.b.Cap()-s.b.Len() < len(b) {
		s.b.Reset()
		s.b.Grow(size)
	}
	at := s.b.Len()
	s.b.Write(b)
	return s.b.String()[at:]
}
