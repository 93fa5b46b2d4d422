//go:build linux

package rabbitmq_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

func TestMain(m *testing.M) {
	if workChild() {
		return
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}
