//go:build linux

package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// TestOpenRefuses: what is wrong is named, with the next step.
func TestOpenRefuses(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		first, _ := fresh(t, server, mysql.Config{})
		if !strings.Contains(strings.ToLower(server.Version()), first.Version()[:3]) {
			t.Fatalf("version %q of %q", first.Version(), server.Version())
		}
		nobody := "nobody_" + schema()
		exec(t, first, "CREATE USER "+nobody+"@'%' IDENTIFIED BY 'secret-word'")
		t.Cleanup(func() {
			last := open(t, server, mysql.Config{NoMigrate: true})
			exec(t, last, "DROP USER "+nobody+"@'%'")
		})
		for what, c := range map[string]struct {
			dsn    string
			config mysql.Config
			says   []string
			bad    bool // ErrConfig
		}{
			"dsn":      {dsn: "nonsense", says: []string{"dsn", "user:password@tcp"}, bad: true},
			"schema":   {dsn: server.URL(), config: mysql.Config{Schema: "a`b"}, says: []string{"Schema", "letters"}, bad: true},
			"password": {dsn: nobody + ":wrong-word@tcp(" + server.Addr + ")/", says: []string{"1045", "check the dsn"}},
			"database": {dsn: "root@tcp(" + server.Addr + ")/missing", says: []string{"1049", "create the database"}},
			"rights":   {dsn: nobody + ":secret-word@tcp(" + server.Addr + ")/", says: []string{"1044", "roles.sql"}},
			"no one":   {dsn: "root@tcp(127.0.0.1:1)/", says: []string{"refused", "127.0.0.1:1"}},
			"TLS":      {dsn: "root@tcp(" + server.Addr + ")/?tls=true", says: []string{"TLS", "certificate"}},
		} {
			c.config.Schema = max(c.config.Schema, "x"+schema()[2:])
			if what == "schema" {
				c.config.Schema = "a`b"
			}
			s, err := mysql.Open(context.Background(), c.dsn, c.config)
			if err == nil {
				_ = s.Close()
				t.Fatalf("%s: opened", what)
			}
			some := slices.ContainsFunc(c.says, func(w string) bool { return strings.Contains(err.Error(), w) })
			all := !slices.ContainsFunc(c.says, func(w string) bool { return !strings.Contains(err.Error(), w) })
			if errors.Is(err, rollcall.ErrConfig) != c.bad || !all && (what != "TLS" || !some) {
				t.Errorf("%s: %v, want it to say %q", what, err, c.says)
			}
			if strings.Contains(err.Error(), "-word") {
				t.Errorf("%s: the error shows the password: %v", what, err)
			}
		}
	})
}

// TestOpenLooks: servers that cannot keep the promise.
func TestOpenLooks(t *testing.T) {
	for name, spec := range kinds {
		t.Run(name, func(t *testing.T) {
			server := servers.Start(t, spec, servers.Config{})
			s := open(t, server, mysql.Config{})
			must(t, s.Close())
			if _, err := s.Begin(t.Context()); !errors.Is(err, rollcall.ErrClosed) {
				t.Fatalf("%v, want ErrClosed", err)
			}
			admin, err := sql.Open("mysql", server.URL())
			must(t, err)
			defer func() { _ = admin.Close() }()
			for _, c := range []struct {
				set, back, says string
				unsafe          bool // may be accepted
			}{
				{"read_only = 1", "read_only = 0", "read-only", false},
				{"innodb_flush_log_at_trx_commit = 2", "innodb_flush_log_at_trx_commit = 1", "innodb_flush_log_at_trx_commit is 2", true},
			} {
				_, err := admin.Exec("SET GLOBAL " + c.set)
				must(t, err)
				_, err = mysql.Open(t.Context(), server.URL(), mysql.Config{})
				if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v", c.set, err)
				}
				s, err := mysql.Open(t.Context(), server.URL(), mysql.Config{Unsafe: true})
				if (err == nil) != c.unsafe {
					t.Errorf("%s, Unsafe: %v", c.set, err)
				}
				if err == nil {
					must(t, s.Close())
				}
				_, err = admin.Exec("SET GLOBAL " + c.back)
				must(t, err)
			}
			// A newer rollcall's tables, and the session whatever the server's defaults.
			_, err = admin.Exec("SET GLOBAL sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES', GLOBAL autocommit = 0")
			must(t, err)
			s, err = mysql.Open(t.Context(), server.URL()+"?autocommit=0&sql_mode=''&multiStatements=true&clientFoundRows=true", mysql.Config{})
			must(t, err)
			var mode string
			var auto int
			must(t, s.DB().QueryRow("SELECT @@sql_mode, @@autocommit").Scan(&mode, &auto))
			if auto != 1 || !strings.Contains(mode, "STRICT_TRANS_TABLES") || strings.Contains(mode, "ANSI") || strings.Contains(mode, "BACKSLASH") {
				t.Errorf("autocommit %d, sql_mode %q", auto, mode)
			}
			exec(t, s, "ALTER TABLE rollcall.counts ENGINE=MyISAM")
			if _, err = mysql.Open(t.Context(), server.URL(), mysql.Config{}); !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), "counts") {
				t.Errorf("%v, want the table's engine refused", err)
			}
			exec(t, s, "UPDATE rollcall.schema_version SET version = 99")
			must(t, s.Close())
			if _, err = mysql.Open(t.Context(), server.URL(), mysql.Config{}); !errors.Is(err, rollcall.ErrNewerSchema) {
				t.Errorf("%v, want ErrNewerSchema", err)
			}
		})
	}
}

// TestMigrateAgain: a migration that ended anywhere is gone on with, and two at
// once wait for each other.
func TestMigrateAgain(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{})
		exec(t, s, "UPDATE "+name+".schema_version SET version = 0")
		exec(t, s, "DROP TABLE "+name+".outbox")
		errs := make(chan error)
		for range 4 {
			go func() {
				s, err := mysql.Open(context.Background(), server.URL(), mysql.Config{Schema: name})
				if err == nil {
					err = s.Close()
				}
				errs <- err
			}()
		}
		for range 4 {
			must(t, <-errs)
		}
		if got := numbers(t, s, "SELECT COUNT(*) FROM information_schema.tables WHERE engine = 'InnoDB' AND table_schema = '"+name+"'"); got[0] != 13 {
			t.Fatalf("%v tables, want ours and two", got)
		}
	})
}

// TestRoles: with roles.sql one user migrates and another works, and neither can
// do more.
func TestRoles(t *testing.T) {
	text, err := os.ReadFile("roles.sql")
	must(t, err)
	eachServer(t, func(t *testing.T, server *servers.Server) {
		admin, shop := fresh(t, server, mysql.Config{})
		name := "rollcall_" + shop
		replace := strings.NewReplacer("ON rollcall.", "ON "+name+".", "shop.*", shop+".*", "EXISTS rollcall;", "EXISTS "+name+";",
			"rollcall_migrate", "m"+shop, "rollcall_run", "r"+shop)
		for _, statement := range strings.Split(replace.Replace(string(text)), ";") {
			if strings.TrimSpace(statement) != "" {
				exec(t, admin, statement)
			}
		}
		t.Cleanup(func() {
			last := open(t, server, mysql.Config{NoMigrate: true})
			exec(t, last, "DROP DATABASE "+name)
			exec(t, last, "DROP USER m"+shop+"@'%', r"+shop+"@'%'")
		})
		as := func(user, password string) string { return user + shop + ":" + password + "@tcp(" + server.Addr + ")/" }
		if s, err := mysql.Open(t.Context(), as("r", "change-me-2"), mysql.Config{Schema: name}); err == nil {
			_ = s.Close()
			t.Fatal("the user that works made tables")
		}
		s, err := mysql.Open(t.Context(), as("m", "change-me-1"), mysql.Config{Schema: name})
		must(t, err)
		must(t, s.Close())
		s, err = mysql.Open(t.Context(), as("r", "change-me-2"), mysql.Config{Schema: name, NoMigrate: true})
		must(t, err)
		t.Cleanup(func() { _ = s.Close() })
		l := newLoad(t, 50)
		l.start(s, 10, recorder(shop))
		l.once(admin, shop)
		_, err = s.Upkeep().Sweep(t.Context(), "g", time.Hour)
		must(t, err)
		_, err = s.Claims().Claim(t.Context(), "g", rollcall.DedupKey{1}, time.Minute)
		must(t, err)
		noteOne(t, s)
		for _, refused := range []string{"DROP TABLE %s.inbox", "CREATE TABLE %s.mine (n INT)", "UPDATE %s.log SET verb = 'x'", "DELETE FROM %s.log"} {
			if _, err := s.DB().Exec(fmt.Sprintf(refused, name)); s.Classify(err) != rollcall.ClassEnvironment {
				t.Fatalf("%s: %v", refused, err)
			}
		}
	})
}

// noteOne writes an entry of the operator log and reads it back.
func noteOne(t *testing.T, s *mysql.Store) {
	t.Helper()
	tx, err := s.Begin(t.Context())
	must(t, err)
	must(t, tx.Records().Note(t.Context(), "g", []rollcall.OperatorEntry{{Verb: rollcall.OperatorWaive, Reason: "r"}}))
	must(t, tx.Commit(t.Context()))
	entries, err := s.Upkeep().Entries(t.Context(), "g", 0, 10)
	must(t, err)
	if len(entries) != 1 {
		t.Fatalf("entries %+v, want the one written", entries)
	}
}

// weakConn breaks after some bytes of a write.
type weakConn struct {
	net.Conn
	breaks *atomic.Bool
	after  int
}

// Write implements net.Conn.
func (c weakConn) Write(b []byte) (int, error) {
	if !c.breaks.Load() {
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:min(c.after, len(b))])
	_ = c.Close()
	return n, &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET}
}

// TestClassify: real errors of the servers.
func TestClassify(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{})
		exec(t, s, "CREATE TABLE "+name+".f (n INT PRIMARY KEY, s VARCHAR(3) NOT NULL, b TINYINT, CHECK (b < 50)) ENGINE=InnoDB")
		exec(t, s, "INSERT INTO "+name+".f VALUES (1, 'a', 1)")
		for query, want := range map[string]rollcall.Class{
			"INSERT INTO " + name + ".f VALUES (1, 'a', 1)":                 rollcall.ClassData,
			"INSERT INTO " + name + ".f VALUES (2, 'long', 1)":              rollcall.ClassData,
			"INSERT INTO " + name + ".f VALUES (3, NULL, 1)":                rollcall.ClassData,
			"INSERT INTO " + name + ".f VALUES (4, 'a', 1000)":              rollcall.ClassData,
			"INSERT INTO " + name + ".f VALUES (5, 'a', 'x')":               rollcall.ClassData,
			"INSERT INTO " + name + ".f VALUES (6, 'a', 60)":                rollcall.ClassData,
			"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'":               rollcall.ClassData,
			"INSERT INTO " + name + ".missing VALUES (1)":                   rollcall.ClassEnvironment,
			"INSERT INTO missing_database.f VALUES (1)":                     rollcall.ClassEnvironment,
			"UPDATE " + name + ".f SET missing = 1":                         rollcall.ClassEnvironment,
			"CALL " + name + ".missing()":                                   rollcall.ClassEnvironment,
			"INSERT INTO " + name + ".f VALUES (7, CONNECTION_ID(), 2) + 1": rollcall.ClassData,
		} {
			tx := begin(t, s)
			_, err := tx.User().Exec(query)
			if err == nil || s.Classify(err) != want {
				t.Errorf("%s: %v is of class %d, want %d", query, err, s.Classify(err), want)
			}
			if err := tx.Usable(); err != nil {
				t.Errorf("%s: %v: only the statement was undone", query, err)
			}
			must(t, tx.Rollback())
		}
		// A handler's own call over the network is its message's.
		_, call := net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
		if call == nil || s.Classify(fmt.Errorf("charge: %w", call)) != rollcall.ClassData {
			t.Errorf("%v is of class %d", call, s.Classify(call))
		}
		for what, cut := range map[string]int{"before": 0, "in the middle": 3000} { // of a statement
			var breaks atomic.Bool
			weak := open(t, server, mysql.Config{Schema: name, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, address)
				return weakConn{c, &breaks, cut}, err
			}})
			tx := begin(t, weak)
			breaks.Store(true)
			if _, err := tx.User().Exec("SELECT ?", make([]byte, 1<<16)); err == nil || weak.Classify(err) != rollcall.ClassEnvironment {
				t.Errorf("on a connection cut %s: %v is of class %d", what, err, weak.Classify(err))
			}
			_ = tx.Rollback()
		}
		// The server's own deadline: a connection that it ended while it was idle.
		short := open(t, server, mysql.Config{Schema: name, Idle: time.Second})
		tx := begin(t, short)
		_, err := tx.User().Exec("UPDATE " + name + ".f SET b = 3")
		must(t, err)
		exec(t, s, "UPDATE "+name+".f SET b = 4") // waits for that
		_, err = tx.User().Exec("UPDATE " + name + ".f SET b = 5")
		if short.Classify(err) != rollcall.ClassEnvironment || tx.Usable() == nil {
			t.Errorf("%v is of class %d", err, short.Classify(err))
		}
		if err := tx.Commit(t.Context()); err == nil || errors.Is(err, rollcall.ErrInDoubt) {
			t.Errorf("commit: %v", err)
		}
		if got := numbers(t, s, "SELECT b FROM "+name+".f"); got[0] != 4 {
			t.Errorf("%v", got)
		}
	})
}

// TestAnyBytes: keys of any length and any bytes, and more bytes than one packet
// holds.
func TestAnyBytes(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{})
		long := strings.Repeat("k", 5000)
		keys := []string{long + "a", long + "b", "k", "K", "k ", "k\x00", "\xff", "'\\?--"}
		tx := begin(t, s)
		for i, k := range keys {
			_, err := tx.Asides().Put(t.Context(), "g\xff'?", []rollcall.Aside{{Identity: rollcall.Identity{byte(i + 1)}, State: rollcall.AsideWaiting,
				Early: i%2 == 1, Message: rollcall.Message{Destination: "d\xfe", Key: k}}})
			must(t, err)
		}
		must(t, tx.Commit(t.Context()))
		tx = begin(t, s)
		queues, err := tx.Asides().Queues(t.Context(), "g\xff'?", keys)
		must(t, err)
		for i, k := range keys {
			if q, there := queues[k]; !there || q.Early != (i%2 == 1) || (q.First == 0) != (i%2 == 1) {
				t.Errorf("key %d: %+v of %d", i, queues[k], len(queues))
			}
		}
		due, err := s.Asides().Due(t.Context(), "g\xff'?", time.Now(), 100)
		must(t, err)
		if len(due) != len(keys) {
			t.Errorf("%d rows due, want %d", len(due), len(keys))
		}
		var messages []rollcall.Message
		for i := range 40 {
			messages = append(messages, rollcall.Message{Destination: "d", Key: fmt.Sprint(i), Body: bytes.Repeat([]byte{byte(i), '\'', 0, 0xff}, 250_000)})
		}
		must(t, s.Outbox().Enqueue(t.Context(), tx.User(), messages)) // 40 MB, max_allowed_packet is 16
		must(t, tx.Commit(t.Context()))
		pending, err := s.Outbox().Pending(t.Context(), 100)
		must(t, err)
		if len(pending) != 40 || !bytes.Equal(pending[39].Message.Body, messages[39].Body) || pending[7].Message.Key != "7" {
			t.Errorf("%d rows in the outbox", len(pending))
		}
		tx = begin(t, s)
		_, err = tx.User().Exec("INSERT INTO "+name+".ledger (line) VALUES (?)", make([]byte, 20<<20))
		if err == nil || s.Classify(err) != rollcall.ClassData {
			t.Errorf("more than a packet: %v of class %d", err, s.Classify(err))
		}
	})
}
