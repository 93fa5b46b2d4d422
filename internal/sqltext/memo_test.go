package sqltext

import (
	"fmt"
	"strings"
	"testing"
)

func TestMemo(t *testing.T) {
	var m Memo[int]
	asked := 0
	length := func(text string) int { asked++; return len(text) }
	for range 3 {
		if n := m.Of("SELECT 1", length); n != 8 || asked != 1 {
			t.Fatalf("%d, asked %d times, want 8, once", n, asked)
		}
	}
	long := strings.Repeat("x", memoText+1)
	for i := range 3 * memoTexts {
		text := fmt.Sprint("SELECT ", i)
		if n := m.Of(text, length); n != len(text) {
			t.Fatalf("%q: %d", text, n)
		}
		m.Of(long, length)
	}
	if n := len(m.said); n > memoTexts {
		t.Fatalf("%d texts are kept", n)
	}
}
