//go:build linux

package rocketmq_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// sideBySide is how many tests run together: they wait for redeliveries most of the time,
// not for a processor.
const sideBySide = "10"

func TestMain(m *testing.M) {
	if workChild() || quietChild() {
		return
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	flag.Parse()
	_ = flag.Set("test.parallel", sideBySide)
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
