package slab

import (
	"bytes"
	"testing"
)

// TestStrings: what was made stays as it is, whatever is made later and becomes of the
// bytes that it was made of.
func TestStrings(t *testing.T) {
	var s Strings
	var made, want []string
	for i := range 10_000 {
		b := bytes.Repeat([]byte{byte('a' + i%26)}, i%700)
		want = append(want, string(b))
		made = append(made, s.Of(b))
		clear(b)
	}
	for i := range made {
		if made[i] != want[i] {
			t.Fatalf("string %d is %q, want %q", i, made[i], want[i])
		}
	}
	in := []byte("0123456789abcdef")
	if n := testing.AllocsPerRun(1000, func() { s.Of(in) }); n > 0.1 {
		t.Fatalf("%v allocations a string", n)
	}
}
