//go:build linux

package rabbitmq_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// node is a RabbitMQ of one test's own; what goes wrong with it fails the test.
type node struct {
	t testing.TB
	*servers.Server
}

// start a node. conf are lines of rabbitmq.conf, advanced the text of advanced.config.
func start(t testing.TB, conf, advanced string) *node {
	t.Helper()
	return startSettings(t, conf, map[string]string{"plugins": "", "advanced": advanced})
}

// startWith starts a node with plugins.
func startWith(t testing.TB, conf, plugins string) *node {
	t.Helper()
	return startSettings(t, conf, map[string]string{"plugins": plugins})
}

func startSettings(t testing.TB, conf string, settings map[string]string) *node {
	t.Helper()
	for line := range strings.Lines(conf) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			settings[name] = value
		}
	}
	return &node{t, servers.Start(t, servers.RabbitMQ, servers.Config{Settings: settings})}
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// Restart on the same folder and port; it answers when this returns.
func (n *node) Restart() { n.t.Helper(); n.must(n.Server.Restart()) }

// Kill is SIGKILL.
func (n *node) Kill() { n.t.Helper(); n.must(n.Server.Kill()) }

// Pause is SIGSTOP.
func (n *node) Pause() { n.t.Helper(); n.must(n.Server.Pause()) }

// Resume is SIGCONT.
func (n *node) Resume() { n.t.Helper(); n.must(n.Server.Resume()) }

// ctl runs rabbitmqctl.
func (n *node) ctl(args ...string) string {
	n.t.Helper()
	cmd := exec.Command("/usr/lib/rabbitmq/bin/rabbitmqctl", append([]string{"-n", n.Name()}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+n.Dir, "ERL_EPMD_PORT="+n.Settings["epmd"], "RABBITMQ_CONF_ENV_FILE="+filepath.Join(n.Dir, "env.conf"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatal(fmt.Errorf("rabbitmqctl %v: %w: %s", args, err, out))
	}
	return string(out)
}
