//go:build linux

package rocketmq_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// server is a RocketMQ of a test; what goes wrong with it fails the test.
type server struct {
	*servers.RocketMQ
	proxy   string // address
	version string // as asked from it
}

// slots bounds how many servers there are beside the shared ones: each is two or three
// JVMs.
var slots = make(chan struct{}, 2)

// start a server of the test's own. mode is that of its proxy.
func start(t testing.TB, mode string, settings map[string]string) *server {
	t.Helper()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	return serving(t, servers.StartRocketMQ(t, mode == "local", servers.Config{Settings: settings}))
}

func serving(t testing.TB, r *servers.RocketMQ) *server {
	t.Helper()
	s := &server{RocketMQ: r, proxy: r.Proxy.Addr, version: r.Version(t)}
	s.serves(t)
	return s
}

// sharedServer is the one of the mode that all tests use who do nothing to it.
func sharedServer(t testing.TB, mode string) *server {
	t.Helper()
	shared := servers.SharedRocketMQ
	if mode == "cluster" {
		shared = servers.SharedRocketMQCluster
	}
	s := serving(t, shared(t))
	t.Logf("RocketMQ %s, %s mode", s.version, mode)
	return s
}

// serves waits until a client is taken, or refused by name.
func (s *server) serves(t testing.TB) {
	t.Helper()
	wait(t, "the proxy to take clients", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c, err := rocketmq.Open(ctx, []string{s.proxy}, rocketmq.Config{Plaintext: true, Warn: func(string) {}})
		if err == nil {
			c.Close()
		}
		return err == nil || errors.Is(err, rocketmq.ErrRefused)
	})
}

// process by name: "proxy", with the broker in it in local mode, or "broker".
func (s *server) process(name string) *servers.Server {
	if name == "broker" {
		return s.Broker
	}
	return s.Proxy
}

// kill ends a process by SIGKILL, and says which it was.
func (s *server) kill(t testing.TB, name string) (pid int) {
	t.Helper()
	pid = s.process(name).Pid()
	if err := s.process(name).Kill(); err != nil {
		t.Fatal(err)
	}
	return pid
}

// restart runs what does not run, and waits until the proxy takes clients.
func (s *server) restart(t testing.TB) {
	t.Helper()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	s.serves(t)
}

// pause stops a process by SIGSTOP: connections stay, nothing answers.
func (s *server) pause(t testing.TB, name string) (resume func()) {
	t.Helper()
	if err := s.process(name).Pause(); err != nil {
		t.Fatal(err)
	}
	return func() { _ = s.process(name).Resume() }
}
