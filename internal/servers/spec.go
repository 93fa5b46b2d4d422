//go:build linux

package servers

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// Spec is what differs from one kind of server to another. It knows the
// server's protocol just so far as to see that it is ready.
type Spec struct {
	// Name of the kind and version, in messages and folders.
	Name string
	// Program is the server's binary.
	Program string
	// User runs the server when the test is root's. Default: root does.
	User string
	// Settings of every server of this kind, by the server's own names.
	Settings map[string]string
	// Template is the command that makes a data folder in an empty folder. It
	// runs once a machine and version; servers get a copy, as their data folder.
	// Default: the server needs none.
	Template func(dir string) []string
	// Prepare writes what a new server's folder needs besides. Default: nothing.
	Prepare func(s *Server) error
	// Environment is what the program needs besides the usual. Default: nothing.
	Environment func(s *Server) []string
	// Arguments of the program.
	Arguments func(s *Server) []string
	// Ready asks on a fresh connection whether the server serves clients.
	Ready func(c net.Conn) error
	// URL is the address as the standard Go client wants it.
	URL func(addr string) string
	// Quit is the signal after which the server finishes in good order.
	Quit syscall.Signal
}

// Config of one server.
type Config struct {
	// Settings by the server's own names; they replace the Spec's. Default none.
	Settings map[string]string
}

// cache is the folder of scripts/servers, and of the templates. Root has a
// folder of its own because PostgreSQL runs as another user, who cannot enter
// root's home.
func cache() string {
	if dir := os.Getenv("ROLLCALL_SERVERS"); dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return "/var/cache/rollcall-servers"
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "rollcall-servers")
}
