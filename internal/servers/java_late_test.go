//go:build linux

package servers

import (
	"strings"
	"testing"
	"time"
)

// TestJavaLate: a program that does not end is killed.
func TestJavaLate(t *testing.T) {
	_, err := runJava(3*time.Second, `class Late { public static void main(String[] a) throws Exception { Thread.sleep(60_000); } }`)
	if err == nil || !strings.Contains(err.Error(), "did not end in 3s") {
		t.Fatalf("%v, want that it did not end in 3s", err)
	}
}
