//go:build linux

package servers

import (
	"errors"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
)

// shared are the servers of this test binary.
var shared struct {
	sync.Mutex
	of map[*Spec]*Server
}

// Shared is the test binary's server of the kind with its usual settings,
// started when it is first asked for. It is for tests that do nothing to the
// server: no Kill, no Pause. It ends with the binary, or by Close.
func Shared(t testing.TB, spec *Spec) *Server {
	t.Helper()
	return sharedWith(t, spec, Config{})
}

// sharedWith is Shared, with settings for when it is started.
func sharedWith(t testing.TB, spec *Spec, config Config) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if s := shared.of[spec]; s != nil {
		return s
	}
	s, err := lent(spec), error(nil)
	if s == nil {
		s, err = start(spec, config)
	}
	if err != nil {
		if s != nil {
			err = errors.Join(err, s.remove())
		}
		t.Fatalf("%s: %v", spec.Name, err)
	}
	if shared.of == nil {
		shared.of = make(map[*Spec]*Server)
	}
	shared.of[spec] = s
	return s
}

// lendEnv, with the name of a spec, says where a server is.
const lendEnv = "ROLLCALL_SERVER_"

// Lend is what the environment of a test binary needs to take this server for the one
// that Shared starts: for who runs many binaries one after the other.
func Lend(s *Server) string { return lendEnv + s.spec.Name + "=" + s.Addr }

// lent is the server that this binary was lent, or nil.
func lent(spec *Spec) *Server {
	addr, port, more := strings.Cut(os.Getenv(lendEnv+spec.Name), " ")
	if addr == "" {
		return nil
	}
	s := &Server{Addr: addr, Settings: maps.Clone(spec.Settings), spec: spec}
	if more { // the broker of a RocketMQ
		s.Settings = map[string]string{"listenPort": port}
	}
	return s
}

// Close ends the shared servers and removes the folder of this process. Call it
// in TestMain after the tests; without it, the kernel does the first and the
// next test process the second.
func Close() error {
	shared.Lock()
	defer shared.Unlock()
	var errs []error
	for _, s := range shared.of {
		errs = append(errs, s.Kill())
	}
	shared.of = nil
	dir, err := home()
	return errors.Join(append(errs, err, os.RemoveAll(dir))...)
}
