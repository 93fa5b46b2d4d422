package kafka_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
)

func TestMain(m *testing.M) {
	if crashtest.Child(onPostgres) || sendChild() {
		return
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}
