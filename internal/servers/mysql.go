//go:build linux

package servers

import (
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

var mysqlHome = filepath.Join(cache(), "mysql-8.0.31")

// MySQL and MariaDB: the user is root, without a password; there is a database
// test.
var (
	MySQL = &Spec{
		Name:    "mysql-8.0",
		Program: filepath.Join(mysqlHome, "bin/mysqld"),
		Settings: mysqlSettings(map[string]string{
			"basedir": mysqlHome, "mysqlx": "OFF", "innodb-redo-log-capacity": "16M", "secure-file-priv": "NULL",
		}),
		Template: func(dir string) []string {
			return []string{filepath.Join(mysqlHome, "bin/mysqld"), "--no-defaults", "--user=" + whoami(), "--basedir=" + mysqlHome,
				"--datadir=" + dir, "--initialize-insecure", "--innodb-redo-log-capacity=16M"}
		},
		Prepare: func(s *Server) error {
			// One server, one id; and without names, root@localhost is not who comes
			// from 127.0.0.1.
			if err := os.RemoveAll(filepath.Join(s.data(), "auto.cnf")); err != nil {
				return err
			}
			return prepareMySQL(s, "CREATE USER IF NOT EXISTS root@'127.0.0.1' IDENTIFIED WITH mysql_native_password BY '';\n"+
				"GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n")
		},
		Arguments: argumentsMySQL,
		Ready:     readyMySQL,
		URL:       urlMySQL,
		Quit:      syscall.SIGTERM,
	}
	MariaDB = &Spec{
		Name:    "mariadb-10.11",
		Program: "/usr/sbin/mariadbd",
		Settings: mysqlSettings(map[string]string{
			"innodb-log-file-size": "16M", "key-buffer-size": "1M", "aria-pagecache-buffer-size": "1M",
		}),
		Template: func(dir string) []string {
			return []string{"/usr/bin/mariadb-install-db", "--no-defaults", "--user=" + whoami(), "--datadir=" + dir, "--skip-test-db",
				"--skip-name-resolve", "--auth-root-authentication-method=normal", "--innodb-log-file-size=16M"}
		},
		Prepare:   func(s *Server) error { return prepareMySQL(s, "") },
		Arguments: argumentsMySQL,
		Ready:     readyMySQL,
		URL:       urlMySQL,
		Quit:      syscall.SIGTERM,
	}
)

// mysqlSettings are those of both, and some more.
func mysqlSettings(more map[string]string) map[string]string {
	both := map[string]string{
		"bind-address": "127.0.0.1", "skip-name-resolve": "ON",
		"innodb-flush-log-at-trx-commit": "1", "innodb-doublewrite": "ON",
		"innodb-buffer-pool-size": "32M", "performance-schema": "OFF", "max-allowed-packet": "16M",
		"character-set-server": "utf8mb4", "collation-server": "utf8mb4_bin", "max-connections": "300",
	}
	maps.Copy(both, more)
	return both
}

// prepareMySQL writes what the server runs before it serves anyone.
func prepareMySQL(s *Server, sql string) error {
	if err := os.Mkdir(filepath.Join(s.Dir, "tmp"), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, "init.sql"), []byte(sql+"CREATE DATABASE IF NOT EXISTS test;\n"), 0o600)
}

func argumentsMySQL(s *Server) []string {
	at := func(name string) string { return filepath.Join(s.Dir, name) }
	args := []string{"--no-defaults", "--user=" + whoami(), "--port=" + s.port(), "--datadir=" + s.data(), "--tmpdir=" + at("tmp"),
		"--socket=" + at("s"), "--pid-file=" + at("pid"), "--init-file=" + at("init.sql")}
	if _, set := s.Settings["log-bin"]; !set {
		args = append(args, "--skip-log-bin")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		args = append(args, "--"+name+"="+s.Settings[name])
	}
	return args
}

// whoami is the user's number: these servers take root only when told so.
func whoami() string { return fmt.Sprint(os.Getuid()) }

// readyMySQL reads the server's greeting, which it does not send before it has
// recovered.
func readyMySQL(c net.Conn) error {
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if head[4] != 10 { // the protocol's version; 255 is an error
		return fmt.Errorf("not a greeting: %q", head)
	}
	return nil
}

func urlMySQL(addr string) string { return "root@tcp(" + addr + ")/test" }
