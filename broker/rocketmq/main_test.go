package rocketmq_test

import (
	"flag"
	"os"
	"testing"
)

// sideBySide is how many tests run together: they wait for redeliveries most of the time,
// not for a processor.
const sideBySide = "24"

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", sideBySide)
	os.Exit(m.Run())
}
