//go:build linux

package servers

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// One node of RabbitMQ: 3.10 as Debian 12 has it, and 4.0 as Debian 13 has it, which
// runs in a root of its own and so needs a test that is root's. Settings are those of
// rabbitmq.conf; "plugins" and "advanced" are the text of enabled_plugins and
// advanced.config, "cookie" is what nodes of a cluster share.
var (
	RabbitMQ  = rabbitmq("rabbitmq-3.10")
	RabbitMQ4 = rabbitmq("rabbitmq-4.0")
)

func rabbitmq(name string) *Spec {
	return &Spec{
		Name: name, Program: filepath.Join(cache(), name, "server"),
		Settings: map[string]string{
			"plugins": "rabbitmq_management", "num_acceptors.tcp": "2", "vm_memory_high_watermark.absolute": "512MB",
			"disk_free_limit.absolute": "50MB", "raft.wal_max_size_bytes": "33554432", "log.console": "true", "log.console.level": "info",
		},
		Prepare: prepareRabbitMQ,
		Arguments: func(s *Server) []string {
			return []string{s.Dir, s.port(), s.Settings["dist"], s.Settings["epmd"]}
		},
		Ready: readyRabbitMQ,
		URL:   func(addr string) string { return "amqp://guest:guest@" + addr },
		Quit:  syscall.SIGTERM,
	}
}

// epmd tells the nodes of this process where the others are; it ends with the process.
var epmd = sync.OnceValues(func() (string, error) {
	s, err := start(&Spec{
		Name: "epmd", Program: "/usr/bin/epmd",
		Arguments: func(s *Server) []string { return []string{"-address", "127.0.0.1", "-port", s.port()} },
		Ready:     func(net.Conn) error { return nil },
		Quit:      syscall.SIGTERM,
	}, Config{})
	if err != nil {
		return "", err
	}
	return s.port(), nil
})

// rabbitmqOwn are settings that are not of rabbitmq.conf.
var rabbitmqOwn = []string{"plugins", "advanced", "cookie", "dist", "epmd"}

// prepareRabbitMQ writes what the node reads.
func prepareRabbitMQ(s *Server) error {
	if err := s.settleRabbitMQ(); err != nil {
		return err
	}
	var conf strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		if !slices.Contains(rabbitmqOwn, name) {
			fmt.Fprintf(&conf, "%s = %s\n", name, s.Settings[name])
		}
	}
	write := func(name, text string, mode os.FileMode) error {
		return os.WriteFile(filepath.Join(s.Dir, name), []byte(text), mode)
	}
	err := errors.Join(write("rabbitmq.conf", conf.String(), 0o600), write("env.conf", "", 0o600),
		write("enabled_plugins", "["+s.Settings["plugins"]+"].\n", 0o600), write(".erlang.cookie", s.Settings["cookie"], 0o400))
	if advanced := s.Settings["advanced"]; advanced != "" {
		err = errors.Join(err, write("advanced.config", advanced+"\n", 0o600))
	}
	return err
}

// settleRabbitMQ adds what differs from node to node.
func (s *Server) settleRabbitMQ() (err error) {
	set := func(name string, value func() (string, error)) {
		if s.Settings[name] == "" && err == nil {
			s.Settings[name], err = value()
		}
	}
	set("epmd", epmd)
	set("dist", freePort)
	set("management.tcp.port", freePort)
	set("cookie", func() (string, error) { return newCookie(), nil })
	s.Settings["management.tcp.ip"], s.Settings["listeners.tcp.1"] = "127.0.0.1", s.Addr
	return err
}

// newCookie is a secret of nodes that belong together.
func newCookie() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// readyRabbitMQ sends the header of AMQP 0-9-1. The answer begins with a method frame of
// channel 0.
func readyRabbitMQ(c net.Conn) error {
	if _, err := c.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return err
	}
	var head [3]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if head != [3]byte{1, 0, 0} {
		return fmt.Errorf("not an answer of RabbitMQ: %x", head)
	}
	return nil
}

// Manage asks the management plugin of the node, as guest: for what AMQP has no words.
// The path begins with /api. It fails the test on any answer but 2xx.
func (s *Server) Manage(t testing.TB, method, path, body string) []byte {
	t.Helper()
	answer, err := s.manage(method, path, body)
	if err != nil {
		t.Fatalf("%s at %s: %s %s: %v", s.spec.Name, s.Addr, method, path, err)
	}
	return answer
}

func (s *Server) manage(method, path, body string) ([]byte, error) {
	port := s.Settings["management.tcp.port"]
	req, err := http.NewRequest(method, "http://"+net.JoinHostPort("127.0.0.1", port)+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth("guest", "guest")
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return answer, err
}
