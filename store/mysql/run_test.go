//go:build linux

package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// silent observes nothing.
type silent struct{}

func (silent) Observe(rollcall.Event) {}

// load is a run of consumers over the memory broker.
type load struct {
	t        testing.TB
	broker   *memory.Broker
	messages int
	gather   bool
	observer rollcall.Observer
	ends     []func()
}

func newLoad(t testing.TB, messages int) *load {
	l := &load{t: t, broker: memory.New(memory.Config{Shape: memory.Replayable, Partitions: 4}), messages: messages, observer: silent{}}
	life, all := rollcall.NewLife(), make([]rollcall.Message, 0, messages)
	for i := 1; i <= messages; i++ {
		all = append(all, rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("id-", i)), Key: fmt.Sprint("k", i%97), Body: fmt.Append(nil, i),
			Partition: int32(i % 4), Time: time.Now(),
			// A lane for each partition: else all share one roll, and wait for each other.
			Stamp: rollcall.Stamp{Life: life, Lane: uint32(i % 4), Sequence: uint64(i+3) / 4, Origin: rollcall.OriginOf("orders")}})
	}
	for i, r := range l.broker.Sender().Publish(context.Background(), "orders", all) {
		if r.Fate != rollcall.Stored {
			t.Fatalf("message %d: %v", i, r.Err)
		}
	}
	t.Cleanup(l.stop)
	return l
}

// start starts a worker.
func (l *load) start(s *mysql.Store, batch int, handler rollcall.Handler[*sql.Tx]) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	c := rollcall.NewConsumer("g", l.broker.Source("orders"), s, handler, rollcall.ConsumerConfig{
		Batch: batch, Gather: l.gather, Observer: l.observer, Drain: 5 * time.Second, Retry: rollcall.RetryConfig{First: 5 * time.Millisecond, Most: 50 * time.Millisecond}})
	go func() { done <- c.Run(ctx) }()
	l.ends = append(l.ends, func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				l.t.Errorf("a worker ended with %v", err)
			}
		case <-time.After(30 * time.Second):
			l.t.Error("a worker did not end within 30 s")
		}
	})
}

func (l *load) stop() {
	for _, end := range l.ends {
		end()
	}
	l.ends = nil
}

// once waits for all effects and wants each once.
func (l *load) once(s *mysql.Store, schema string) {
	l.t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		n := numbers(l.t, s, "SELECT COUNT(*) FROM "+schema+".ledger")[0]
		if n >= l.messages {
			break
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("waited 90 s for %d effects, there are %d", l.messages, n)
		}
	}
	l.stop()
	got := numbers(l.t, s, "SELECT COUNT(*) FROM "+schema+".ledger UNION ALL SELECT COUNT(DISTINCT line) FROM "+schema+".ledger")
	if got[0] != l.messages || got[1] != l.messages {
		l.t.Fatalf("%d effects, %d of them different, want %d", got[0], got[1], l.messages)
	}
	rows, err := s.Asides().List(context.Background(), "g", rollcall.AsideFilter{})
	must(l.t, err)
	for _, r := range rows {
		l.t.Errorf("set aside (%s): %s", r.State, r.Cause)
	}
}

func recorder(schema string) rollcall.Handler[*sql.Tx] {
	return func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+schema+".ledger (line) VALUES (?)", m.Body)
		return err
	}
}

// TestDeadlocksBetweenHandlers: handlers that lock the same rows in opposite
// order are redone, and each message takes effect once.
func TestDeadlocksBetweenHandlers(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		for _, gather := range []bool{false, true} {
			t.Run(fmt.Sprint("gathered ", gather), func(t *testing.T) { deadlocks(t, server, gather) })
		}
	})
}

func deadlocks(t *testing.T, server *servers.Server, gather bool) {
	first, name := fresh(t, server, mysql.Config{})
	exec(t, first, "INSERT INTO "+name+".e (n) VALUES (1), (2)")
	record := recorder(name)
	var deadlocks, calls atomic.Int64
	l := newLoad(t, 400)
	l.gather = gather
	// Both are open before one of them has done all the work.
	stores := []*mysql.Store{open(t, server, mysql.Config{Schema: name, Connections: 8}), open(t, server, mysql.Config{Schema: name, Connections: 8})}
	for i, s := range stores {
		order := [][]int{{1, 2}, {2, 1}}[i]
		l.start(s, 10, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			calls.Add(1)
			for _, n := range order {
				if _, err := tx.ExecContext(ctx, "UPDATE "+name+".e SET v = v + 1 WHERE n = ?", n); err != nil {
					var answer *driver.MySQLError
					if errors.As(err, &answer) && answer.Number == 1213 {
						deadlocks.Add(1)
					}
					return err
				}
				time.Sleep(time.Millisecond) // the other worker has its first row by now
			}
			return record(ctx, tx, m)
		})
	}
	l.once(first, name)
	if got := numbers(t, first, "SELECT v FROM "+name+".e"); got[0] != 400 || got[1] != 400 {
		t.Fatalf("sums %v, want 400 each", got)
	}
	t.Logf("%d deadlocks in %d calls", deadlocks.Load(), calls.Load())
	if deadlocks.Load() == 0 {
		t.Fatal("no deadlock happened: the test proves nothing")
	}
}

// TestLockWait: a row that somebody else holds for longer than Config.Statement;
// nothing is committed without its record, and in the end each is once.
func TestLockWait(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		first, name := fresh(t, server, mysql.Config{})
		exec(t, first, "INSERT INTO "+name+".e (n) VALUES (1)")
		s, record := open(t, server, mysql.Config{Schema: name, Statement: time.Second}), recorder(name)
		holder, err := first.DB().Begin()
		must(t, err)
		_, err = holder.Exec("UPDATE " + name + ".e SET v = 0 WHERE n = 1")
		must(t, err)
		var timeouts, after atomic.Int64
		l := newLoad(t, 20)
		l.start(s, 500, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			if err := record(ctx, tx, m); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "UPDATE "+name+".e SET v = v + 1 WHERE n = 1")
			if err != nil {
				timeouts.Add(1)
				if record(ctx, tx, m) == nil {
					after.Add(1)
				}
			}
			return err
		})
		waitFor(t, "two lock wait timeouts", func() bool { return timeouts.Load() >= 2 })
		must(t, holder.Rollback())
		l.once(first, name)
		if got := numbers(t, first, "SELECT v FROM "+name+".e"); got[0] != 20 || after.Load() != 0 {
			t.Fatalf("sum %v, want 20; %d statements ran after a timeout", got, after.Load())
		}
	})
}

// TestConnectionsKilled: 2,000 messages, four workers in two stores, and every
// 100 ms an administrator kills a connection of theirs.
func TestConnectionsKilled(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		first, name := fresh(t, server, mysql.Config{})
		cfg, err := driver.ParseDSN(server.URL())
		must(t, err)
		admin, err := sql.Open("mysql", cfg.FormatDSN())
		must(t, err)
		t.Cleanup(func() { _ = admin.Close() })
		// A user of its own tells its connections from ours.
		user := "killed_" + name
		for _, text := range []string{"CREATE USER " + user + "@'%' IDENTIFIED BY 'x'", "GRANT ALL ON *.* TO " + user + "@'%'"} {
			_, err = admin.Exec(text)
			must(t, err)
		}
		t.Cleanup(func() { _, _ = admin.Exec("DROP USER " + user + "@'%'") })
		cfg.User, cfg.Passwd = user, "x"
		l := newLoad(t, 2000)
		for range 2 {
			s, err := mysql.Open(context.Background(), cfg.FormatDSN(), mysql.Config{Schema: name, Connections: 8})
			must(t, err)
			t.Cleanup(func() { _ = s.Close() })
			for range 2 {
				record := recorder(name)
				l.start(s, 10, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
					time.Sleep(time.Millisecond)
					return record(ctx, tx, m)
				})
			}
		}
		stop, kills := make(chan struct{}), 0
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
				}
				var id int64
				if admin.QueryRow("SELECT id FROM information_schema.processlist WHERE user = ? ORDER BY RAND() LIMIT 1", user).Scan(&id) == nil {
					if _, err := admin.Exec(fmt.Sprint("KILL ", id)); err == nil {
						kills++
					}
				}
			}
		}()
		l.once(first, name)
		close(stop)
		<-ended
		t.Logf("%d connections were killed", kills)
		if kills < 5 {
			t.Fatalf("only %d connections were killed: the test proves nothing", kills)
		}
	})
}

// TestServerKilled: the server is killed and comes back while four workers in
// two stores go through 2,000 messages.
func TestServerKilled(t *testing.T) {
	for kind, spec := range kinds {
		t.Run(kind, func(t *testing.T) {
			server := servers.Start(t, spec, servers.Config{})
			first := open(t, server, mysql.Config{})
			exec(t, first, "CREATE TABLE rollcall.ledger (n BIGINT AUTO_INCREMENT PRIMARY KEY, line VARBINARY(1000) NOT NULL) ENGINE=InnoDB")
			l, record := newLoad(t, 2000), recorder("rollcall")
			var done atomic.Int64
			for range 2 {
				s := open(t, server, mysql.Config{Connections: 8})
				for range 2 {
					l.start(s, 10, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
						time.Sleep(time.Millisecond)
						done.Add(1)
						return record(ctx, tx, m)
					})
				}
			}
			for n := range 3 {
				waitFor(t, "the workers to be in the middle", func() bool { return done.Load() > int64(n+1)*450 })
				must(t, server.Kill())
				must(t, server.Restart())
			}
			l.once(first, "rollcall")
		})
	}
}
