//go:build linux

package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

// fresh is a store on a database of its own with tables e (n) and ledger.
func fresh(t testing.TB, server *servers.Server, c mysql.Config) (*mysql.Store, string) {
	t.Helper()
	c.Schema = schema()
	s := open(t, server, c)
	t.Cleanup(func() {
		last, err := mysql.Open(context.Background(), server.URL(), mysql.Config{Schema: c.Schema, NoMigrate: true})
		must(t, err)
		defer func() { _ = last.Close() }()
		exec(t, last, "DROP DATABASE "+c.Schema)
	})
	exec(t, s, "CREATE TABLE "+c.Schema+".e (n INT PRIMARY KEY, v INT NOT NULL DEFAULT 0) ENGINE=InnoDB")
	exec(t, s, "CREATE TABLE "+c.Schema+".ledger (n BIGINT AUTO_INCREMENT PRIMARY KEY, line VARBINARY(1000) NOT NULL) ENGINE=InnoDB")
	return s, c.Schema
}

func numbers(t testing.TB, s *mysql.Store, query string) (out []int) {
	t.Helper()
	found, err := s.DB().Query(query)
	must(t, err)
	defer func() { _ = found.Close() }()
	for found.Next() {
		var n int
		must(t, found.Scan(&n))
		out = append(out, n)
	}
	must(t, found.Err())
	return out
}

func begin(t testing.TB, s *mysql.Store) rollcall.Tx[*sql.Tx] {
	t.Helper()
	tx, err := s.Begin(context.Background())
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// TestHandlerEndsTheTransaction: whatever a handler says to end the transaction
// is refused, and the transaction is whole; what it calls to end it undoes it.
func TestHandlerEndsTheTransaction(t *testing.T) {
	ctx := context.Background()
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{})
		insert := "INSERT INTO " + name + ".e (n) VALUES "
		for _, text := range []string{"COMMIT", " -- x\n commit work", "/*!COMMIT*/", "/*M! COMMIT */", "# a\nROLLBACK", "BEGIN", "START TRANSACTION",
			"CREATE TABLE " + name + ".f (n INT)", "DROP TABLE " + name + ".e", "ALTER TABLE " + name + ".e ADD x INT", "TRUNCATE " + name + ".e",
			"LOCK TABLES " + name + ".e WRITE", "SET autocommit = 1", "SET @@session.autocommit=1", "XA START 'x'", "SAVEPOINT rollcall_1",
			"ROLLBACK TO SAVEPOINT rollcall_1", "RELEASE SAVEPOINT `rollcall_1`", "PREPARE x FROM 'COMMIT'", "EXECUTE IMMEDIATE 'COMMIT'",
			"SET STATEMENT max_statement_time=1 FOR COMMIT", "GRANT SELECT ON *.* TO nobody",
			"REPEAT COMMIT; UNTIL 1 END REPEAT", "IF 1 THEN COMMIT; END IF", "BEGIN NOT ATOMIC COMMIT; END", "x: LOOP COMMIT; LEAVE x; END LOOP",
			"SET @a=1, @b=2, @c=3, @d=4, @e=5, @f=6, @@session.autocommit=1", "LOAD INDEX INTO CACHE " + name + ".e", "KILL 1", insert + "(7); COMMIT"} {
			tx := begin(t, s)
			x := tx.User()
			_, err := x.Exec(insert + "(1)")
			must(t, err)
			_, byExec := x.ExecContext(ctx, text)
			found, byQuery := x.QueryContext(ctx, text)
			if byQuery == nil {
				_ = found.Close()
			}
			prepared, byPrepare := x.PrepareContext(ctx, text)
			if byPrepare == nil {
				_ = prepared.Close()
			}
			if byExec == nil || byQuery == nil || byPrepare == nil {
				t.Fatalf("%q: %v, %v, %v, want it refused", text, byExec, byQuery, byPrepare)
			}
			must(t, tx.Usable())
			if got := numbers(t, s, "SELECT n FROM "+name+".e"); len(got) != 0 {
				t.Fatalf("%q committed %v", text, got)
			}
			must(t, tx.Rollback())
		}
		for what, end := range map[string]func(*sql.Tx) error{"Commit": (*sql.Tx).Commit, "Rollback": (*sql.Tx).Rollback} {
			tx := begin(t, s)
			_, err := tx.User().Exec(insert + "(2)")
			must(t, err)
			if err := end(tx.User()); err == nil && what == "Commit" {
				t.Fatal("a handler committed")
			}
			if _, err := tx.User().Exec(insert + "(3)"); err == nil {
				t.Fatalf("after %s a statement ran", what)
			}
			if tx.Usable() == nil {
				t.Fatalf("after %s the transaction is usable", what)
			}
			if err := tx.Commit(ctx); err == nil || errors.Is(err, rollcall.ErrInDoubt) {
				t.Fatalf("after %s: commit: %v", what, err)
			}
		}
		if got := numbers(t, s, "SELECT n FROM "+name+".e"); len(got) != 0 {
			t.Fatalf("%v were committed", got)
		}
	})
}

// TestProcedure: one that works goes through; one that commits is found out, and
// nothing that comes after it is committed.
func TestProcedure(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{})
		exec(t, s, "CREATE PROCEDURE "+name+".fine(x INT) INSERT INTO "+name+".e (n) VALUES (x)")
		exec(t, s, "CREATE PROCEDURE "+name+".ends() COMMIT")
		tx := begin(t, s)
		_, err := tx.User().Exec("CALL "+name+".fine(?)", 1)
		must(t, err)
		must(t, tx.Commit(t.Context()))
		for _, call := range []func(*sql.Tx) error{
			func(x *sql.Tx) error { _, err := x.Exec("CALL " + name + ".ends()"); return err },
			func(x *sql.Tx) error { return x.QueryRow("CALL " + name + ".ends()").Scan(new(int)) },
		} {
			tx = begin(t, s)
			if err := call(tx.User()); err == nil || !strings.Contains(err.Error(), "procedure") {
				t.Fatalf("%v, want the procedure named", err)
			}
			if _, err := tx.User().Exec("INSERT INTO " + name + ".e (n) VALUES (9)"); err == nil {
				t.Fatal("a statement ran in a transaction of its own")
			}
			if err := tx.Commit(t.Context()); err == nil || errors.Is(err, rollcall.ErrInDoubt) {
				t.Fatal(err)
			}
		}
		if got := numbers(t, s, "SELECT n FROM "+name+".e"); !slices.Equal(got, []int{1}) {
			t.Fatalf("rows %v", got)
		}
	})
}

// TestNothingAfterADeadlock: the server would run the next statement in a
// transaction of its own. In a transaction of DB it is refused as well.
func TestNothingAfterADeadlock(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{})
		exec(t, s, "INSERT INTO "+name+".e (n) VALUES (1), (2)")
		for _, ours := range []bool{true, false} {
			other, err := s.DB().Begin()
			must(t, err)
			var x *sql.Tx
			var tx rollcall.Tx[*sql.Tx]
			if ours {
				tx = begin(t, s)
				x = tx.User()
			} else {
				x, err = s.DB().Begin()
				must(t, err)
			}
			// other is the heavier one: the server sacrifices x.
			_, err = other.Exec("UPDATE " + name + ".e SET v = v + 1 WHERE n = 2")
			must(t, err)
			for i := range 20 {
				_, err = other.Exec("INSERT INTO "+name+".ledger (line) VALUES (?)", i)
				must(t, err)
			}
			_, err = x.Exec("UPDATE " + name + ".e SET v = v + 1 WHERE n = 1")
			must(t, err)
			done := make(chan error, 1)
			go func() { _, err := other.Exec("UPDATE " + name + ".e SET v = v + 1 WHERE n = 1"); done <- err }()
			waitFor(t, "the other to wait", func() bool {
				return len(numbers(t, s, "SELECT trx_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")) > 0
			})
			_, err = x.Exec("UPDATE " + name + ".e SET v = v + 1 WHERE n = 2")
			var answer *driver.MySQLError
			if !errors.As(err, &answer) || answer.Number != 1213 || s.Classify(err) != rollcall.ClassConflict {
				t.Fatalf("%v (class %d), want a deadlock", err, s.Classify(err))
			}
			must(t, <-done)
			_, err = x.Exec("INSERT INTO " + name + ".e (n) VALUES (3)")
			if err == nil || s.Classify(err) != rollcall.ClassConflict {
				t.Fatalf("after a deadlock: %v", err)
			}
			if ours {
				if tx.Usable() == nil {
					t.Fatal("usable")
				}
				err = tx.Commit(t.Context())
			} else {
				err = x.Commit()
			}
			if err == nil || errors.Is(err, rollcall.ErrInDoubt) {
				t.Fatalf("commit: %v", err)
			}
			must(t, other.Rollback())
		}
		if got := numbers(t, s, "SELECT SUM(v) + COUNT(*) FROM "+name+".e"); got[0] != 2 {
			t.Fatalf("%v, want what was there", got)
		}
	})
}

func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// TestDeadlineFreesLocks: a statement that its context ended does not hold its
// transaction's locks at the server until it is done.
func TestDeadlineFreesLocks(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{})
		exec(t, s, "INSERT INTO "+name+".e (n) VALUES (1)")
		tx := begin(t, s)
		_, err := tx.User().Exec("UPDATE " + name + ".e SET v = 1")
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = tx.User().ExecContext(ctx, "DO SLEEP(100)")
		if !errors.Is(err, context.DeadlineExceeded) || s.Classify(err) != rollcall.ClassData || tx.Usable() == nil {
			t.Fatalf("%v (class %d, usable %v)", err, s.Classify(err), tx.Usable())
		}
		start := time.Now()
		exec(t, s, "UPDATE "+name+".e SET v = 2")
		if waited := time.Since(start); waited > 3*time.Second {
			t.Fatalf("waited %v for the locks of a statement that was given up", waited)
		}
		must(t, tx.Rollback())
	})
}

// TestRowsAndStatements: inside a transaction of ours a query may be open while
// others run; what a handler sets ends with its transaction.
func TestRowsAndStatements(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{Connections: 1})
		exec(t, s, "INSERT INTO "+name+".e (n) VALUES (1), (2), (3)")
		tx := begin(t, s)
		found, err := tx.User().Query("SELECT n, ? FROM "+name+".e ORDER BY n", "text")
		must(t, err)
		for found.Next() {
			var n int
			var text string
			must(t, found.Scan(&n, &text))
			_, err := tx.User().Exec("UPDATE "+name+".e SET v = ? WHERE n = ?", n*10, n)
			must(t, err)
		}
		must(t, found.Err())
		st, err := tx.User().Prepare("SELECT v FROM " + name + ".e WHERE n = ?")
		must(t, err)
		var v int
		must(t, st.QueryRow(3).Scan(&v))
		if v != 30 {
			t.Fatal(v)
		}
		_, err = tx.User().Exec("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
		must(t, err)
		_, err = tx.User().Exec("SET sql_mode = ''")
		must(t, err)
		must(t, tx.Commit(t.Context()))
		tx = begin(t, s)
		var mode string
		must(t, tx.User().QueryRow("SELECT @@sql_mode").Scan(&mode))
		if !strings.Contains(mode, "STRICT_TRANS_TABLES") {
			t.Fatalf("sql_mode %q of the last handler", mode)
		}
	})
}

// TestCommitInDoubt: a COMMIT without an answer is in doubt, and one that could
// not be sent is not.
func TestCommitInDoubt(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		wire := new(storetest.Wire)
		s, name := fresh(t, server, mysql.Config{Dial: wire.Dial})
		insert := func(n int) rollcall.Tx[*sql.Tx] {
			tx := begin(t, s)
			_, err := tx.User().Exec("INSERT INTO "+name+".e (n) VALUES (?)", n)
			must(t, err)
			return tx
		}
		tx := insert(1)
		wire.Late(isCommit)
		if err := tx.Commit(t.Context()); !errors.Is(err, rollcall.ErrInDoubt) || s.Classify(err) != rollcall.ClassEnvironment {
			t.Fatalf("%v, want it in doubt", err)
		}
		waitFor(t, "the late COMMIT", func() bool { return len(numbers(t, s, "SELECT n FROM "+name+".e")) == 1 })
		tx = insert(2)
		wire.Cut()
		if err := tx.Commit(t.Context()); err == nil || errors.Is(err, rollcall.ErrInDoubt) {
			t.Fatalf("%v, want it surely not done", err)
		}
		tx = insert(3)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := tx.Commit(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, rollcall.ErrInDoubt) {
			t.Fatalf("%v, want it not sent", err)
		}
		if got := numbers(t, s, "SELECT n FROM "+name+".e"); !slices.Equal(got, []int{1}) {
			t.Fatalf("rows %v", got)
		}
	})
}

// TestBeside: Once and the outbox in a transaction of DB, whose owner ends it.
func TestBeside(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		s, name := fresh(t, server, mysql.Config{})
		for i := range 3 {
			x, err := s.DB().BeginTx(t.Context(), nil)
			must(t, err)
			got, err := rollcall.Once(t.Context(), s.Results(x), rollcall.OnceKey{Scope: "payments", Key: "k"}, func(ctx context.Context) (int, error) {
				if err := s.Outbox().Enqueue(ctx, x, []rollcall.Message{{Destination: "paid"}}); err != nil {
					return 0, err
				}
				_, err := x.ExecContext(ctx, "INSERT INTO "+name+".e (n) VALUES (?)", i)
				return i, err
			})
			if i == 0 { // undone by its owner: the next one is the first
				must(t, err)
				must(t, x.Rollback())
				continue
			}
			if err != nil || got != 1 {
				t.Fatalf("call %d: %d %v, want 1", i, got, err)
			}
			must(t, x.Commit())
		}
		pending, err := s.Outbox().Pending(t.Context(), 10)
		if got := numbers(t, s, "SELECT n FROM "+name+".e"); err != nil || !slices.Equal(got, []int{1}) || len(pending) != 1 {
			t.Fatalf("rows %v, %d in the outbox, %v", got, len(pending), err)
		}
	})
}
