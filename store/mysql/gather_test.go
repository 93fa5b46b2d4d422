//go:build linux

package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// bench is a database with a store and an in-memory broker. Its connections take
// texts of several statements.
type bench struct {
	t      testing.TB
	store  *mysql.Store
	schema string
	broker *memory.Broker
}

func newBench(t testing.TB, server *servers.Server, c mysql.Config) *bench {
	t.Helper()
	b := &bench{t: t, broker: memory.New(memory.Config{Shape: memory.Replayable, Partitions: 1})}
	b.store, b.schema = fresh(t, server, c)
	b.warm()
	return b
}

// warm gathers once: from then on connections are opened for it.
func (b *bench) warm() {
	b.t.Helper()
	tx := begin(b.t, b.store)
	lane := tx.(rollcall.Gatherer[*sql.Tx]).Gather(b.t.Context(), 1)
	x, done := lane()
	_, err := x.ExecContext(b.t.Context(), "DO 1")
	must(b.t, err)
	done()
	must(b.t, tx.Rollback())
}

// sql puts the schema in the place of ~.
func (b *bench) sql(query string) string { return strings.ReplaceAll(query, "~", b.schema+".") }

func (b *bench) send(n int, key func(int) string) {
	b.t.Helper()
	life, all := rollcall.NewLife(), make([]rollcall.Message, 0, n)
	for i := range n {
		all = append(all, rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("m", i)), Key: key(i), Body: fmt.Append(nil, i),
			Stamp: rollcall.Stamp{Life: life, Sequence: uint64(i) + 1, Origin: rollcall.OriginOf("orders")}})
	}
	for _, r := range b.broker.Sender().Publish(b.t.Context(), "orders", all) {
		must(b.t, r.Err)
	}
}

func ownKeys(i int) string { return fmt.Sprint("k", i) }

func (b *bench) run(config rollcall.ConsumerConfig, h rollcall.Handler[*sql.Tx]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 60*time.Second)
	defer cancel()
	config.Observer = silent{}
	config.Retry = rollcall.RetryConfig{Attempts: 2, First: time.Millisecond, Most: 5 * time.Millisecond}
	must(b.t, rollcall.NewConsumer("g", b.broker.Source("orders"), b.store, h, config).RunUntilEmpty(ctx))
}

func (b *bench) number(query string) int {
	b.t.Helper()
	return numbers(b.t, b.store, b.sql(query))[0]
}

// dead is the bodies of the dead messages, and why each is.
func (b *bench) dead() (bodies, causes []string) {
	b.t.Helper()
	rows, err := b.store.Asides().List(b.t.Context(), "g", rollcall.AsideFilter{Max: 1000})
	must(b.t, err)
	for _, r := range rows {
		if r.State != rollcall.AsideDead {
			b.t.Errorf("%s is %s: %s", r.Message.Body, r.State, r.Cause)
		}
		bodies, causes = append(bodies, string(r.Message.Body)), append(causes, r.Cause)
	}
	return bodies, causes
}

// queries is code as sqlc makes it: it prepares some and runs others as they are.
type queries struct {
	db interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		PrepareContext(context.Context, string) (*sql.Stmt, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}
	schema string
}

const getAccount = `-- name: GetAccount :one
SELECT balance, opened, note FROM %s.account WHERE name = ?
`

func (q queries) getAccount(ctx context.Context, name string) (balance int64, opened string, note sql.NullString, err error) {
	err = q.db.QueryRowContext(ctx, fmt.Sprintf(getAccount, q.schema), name).Scan(&balance, &opened, &note)
	return balance, opened, note, err
}

func (q queries) setAccount(ctx context.Context, name string, balance int64, opened time.Time) (int64, error) {
	st, err := q.db.PrepareContext(ctx, `INSERT INTO `+q.schema+`.account (name, balance, opened, note) VALUES (?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE balance = VALUES(balance)`)
	if err != nil {
		return 0, err
	}
	defer func() { _ = st.Close() }()
	res, err := st.ExecContext(ctx, name, balance, opened, nil)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (q queries) listAccounts(ctx context.Context, least, most string) (names []string, err error) {
	rows, err := q.db.QueryContext(ctx, "SELECT name FROM "+q.schema+".fixed WHERE name BETWEEN ? AND ? ORDER BY name", least, most)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// TestGatheredHandlers: plain code, and code as sqlc makes it, works gathered as
// it does without: all kinds of calls get their own answers.
func TestGatheredHandlers(t *testing.T) {
	const n = 300
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		exec(t, b.store, b.sql("CREATE TABLE ~account (name VARCHAR(20) PRIMARY KEY, balance BIGINT NOT NULL, opened DATETIME(6) NOT NULL, note TEXT) ENGINE=InnoDB"))
		exec(t, b.store, b.sql("CREATE TABLE ~fixed (name VARCHAR(20) PRIMARY KEY) ENGINE=InnoDB"))
		exec(t, b.store, b.sql("INSERT INTO ~fixed VALUES ('a'), ('b'), ('c'), ('d')"))
		exec(t, b.store, b.sql("INSERT INTO ~e (n) VALUES (0)"))
		b.send(n, func(i int) string { return fmt.Sprint("k", i%37) })
		opened := time.Date(2026, 11, 26, 17, 0, 0, 123456000, time.UTC)
		var calls atomic.Int64
		b.run(rollcall.ConsumerConfig{Gather: true, Batch: 100}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			calls.Add(1)
			q := queries{tx, b.schema}
			balance, at, note, err := q.getAccount(ctx, m.Key)
			switch {
			case errors.Is(err, sql.ErrNoRows):
			case err != nil:
				return err
			case at != opened.Format("2006-01-02 15:04:05.000000") || note.Valid:
				return fmt.Errorf("opened %v, note %v", at, note)
			}
			names, err := q.listAccounts(ctx, "b", "c")
			if err != nil || !slices.Equal(names, []string{"b", "c"}) {
				return fmt.Errorf("names %v: %w", names, err)
			}
			changed, err := q.setAccount(ctx, m.Key, balance+1, opened)
			if want := min(balance, 1) + 1; err != nil || changed != want {
				return fmt.Errorf("%d rows changed, want %d: %w", changed, want, err)
			}
			_, err = tx.ExecContext(ctx, b.sql("UPDATE ~e SET v = v + 1 WHERE n = 0"))
			if err != nil {
				return err
			}
			res, err := tx.ExecContext(ctx, b.sql("INSERT INTO ~ledger (line) VALUES (?)"), m.Body)
			if err != nil {
				return err
			}
			id, err := res.LastInsertId()
			if err != nil {
				return err
			}
			var line string
			if err := tx.QueryRowContext(ctx, b.sql("SELECT line FROM ~ledger WHERE n = ?"), id).Scan(&line); err != nil || line != string(m.Body) {
				return fmt.Errorf("row %d is of %q, not of %q: %w", id, line, m.Body, err)
			}
			return nil
		})
		if dead, causes := b.dead(); len(dead) != 0 {
			t.Fatalf("dead: %v: %q", dead, causes[0])
		}
		if sum, own, lines := b.number("SELECT v FROM ~e"), b.number("SELECT SUM(balance) FROM ~account"), b.number("SELECT COUNT(DISTINCT line) FROM ~ledger"); sum != n || own != n || lines != n {
			t.Fatalf("sums %d and %d, %d lines, want %d", sum, own, lines, n)
		}
		if calls.Load() != n { // by itself each would be right at the second try
			t.Fatalf("%d calls of %d handlers: some failed gathered", calls.Load(), n)
		}
	})
}

// turns counts the packets to a server that name a table of the test's: each is a
// turn.
type turns struct{ n atomic.Int64 }

func (c *turns) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, network, address)
	return &turningConn{raw, c}, err
}

type turningConn struct {
	net.Conn
	turns *turns
}

func (c *turningConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(".turns_")) {
		c.turns.n.Add(1)
	}
	return c.Conn.Write(b)
}

// TestGatheredTurns: handlers with two statements take two turns together, not
// two each.
func TestGatheredTurns(t *testing.T) {
	const n = 200
	eachServer(t, func(t *testing.T, server *servers.Server) {
		for _, gather := range []bool{false, true} {
			wire := new(turns)
			b := newBench(t, server, mysql.Config{Dial: wire.dial})
			exec(t, b.store, b.sql("CREATE TABLE ~turns_ (n INT PRIMARY KEY, v INT NOT NULL) ENGINE=InnoDB"))
			b.send(n, ownKeys)
			wire.n.Store(0)
			b.run(rollcall.ConsumerConfig{Gather: gather, Batch: n}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
				var have int
				if err := tx.QueryRowContext(ctx, b.sql("SELECT COUNT(*) FROM ~turns_ WHERE n = ?"), string(m.Body)).Scan(&have); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, b.sql("INSERT INTO ~turns_ (n, v) VALUES (?, ?)"), string(m.Body), have)
				return err
			})
			took := wire.n.Load()
			if got := b.number("SELECT COUNT(*) FROM ~turns_"); got != n {
				t.Fatalf("%d effects, want %d", got, n)
			}
			t.Logf("gathered %v: %d handlers took %d turns", gather, n, took)
			if gather && took > 6 || !gather && took != 2*n { // 2, and a few when the machine is busy
				t.Errorf("gathered %v: %d turns", gather, took)
			}
		}
	})
}

// TestSumInGo: one after the other, the default, is right for a handler that
// reads a shared row and writes a sum made in Go. Gathered it is wrong, as the
// documentation of Gather warns.
func TestSumInGo(t *testing.T) {
	const n = 60
	eachServer(t, func(t *testing.T, server *servers.Server) {
		for _, gather := range []bool{false, true} {
			b := newBench(t, server, mysql.Config{})
			exec(t, b.store, b.sql("INSERT INTO ~e (n) VALUES (0)"))
			b.send(n, ownKeys)
			b.run(rollcall.ConsumerConfig{Gather: gather, Batch: n}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
				var sum int
				if err := tx.QueryRowContext(ctx, b.sql("SELECT v FROM ~e FOR UPDATE")).Scan(&sum); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, b.sql("UPDATE ~e SET v = ?"), sum+1)
				return err
			})
			sum := b.number("SELECT v FROM ~e")
			t.Logf("gathered %v: sum %d of %d", gather, sum, n)
			if right := sum == n; right == gather {
				t.Errorf("gathered %v: the sum is %d of %d: the documentation says otherwise", gather, sum, n)
			}
		}
	})
}

// TestGatheredFailures: of 400 one in 50 fails for good, each in another way; an
// error that its handler deals with is nobody else's.
func TestGatheredFailures(t *testing.T) {
	const n = 400
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		exec(t, b.store, b.sql("INSERT INTO ~e (n) VALUES (7), (57), (107)"))
		b.send(n, ownKeys)
		b.run(rollcall.ConsumerConfig{Gather: true, Batch: n}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			var i int
			_, err := fmt.Sscan(string(m.Body), &i)
			if err == nil {
				_, err = tx.ExecContext(ctx, b.sql("INSERT INTO ~e (n) VALUES (?)"), i)
			}
			var answer *driver.MySQLError
			if errors.As(err, &answer) && answer.Number == 1062 { // it is there: count it
				_, err = tx.ExecContext(ctx, b.sql("UPDATE ~e SET v = v + 1 WHERE n = ?"), i)
			}
			if err != nil || i%50 != 13 {
				return err
			}
			if i%100 == 13 {
				return errors.New("no")
			}
			_, err = tx.ExecContext(ctx, b.sql("INSERT INTO ~ledger (line) VALUES (NULL)"))
			return err
		})
		dead, causes := b.dead()
		if len(dead) != n/50 {
			t.Errorf("dead: %v, want one in 50 of %d", dead, n)
		}
		for i, body := range dead {
			if !strings.HasSuffix(body, "13") && !strings.HasSuffix(body, "63") || strings.Contains(causes[i], "travelled") {
				t.Errorf("%s is dead: %s", body, causes[i])
			}
		}
		if rows, again := b.number("SELECT COUNT(*) FROM ~e"), b.number("SELECT SUM(v) FROM ~e"); rows != n-n/50 || again != 3 {
			t.Errorf("%d effects, want %d; %d found what was there, want 3", rows, n-n/50, again)
		}
	})
}

// TestUngathered: what cannot travel with others is refused by name and was not
// run; the others are.
func TestUngathered(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		b.send(2, ownKeys)
		var mu sync.Mutex
		var wrong []string
		texts := map[string]string{"SAVEPOINT mine": "SAVEPOINT", "ROLLBACK TO SAVEPOINT mine": "ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT mine": "RELEASE",
			"SET @a = 1": "SET", "USE mysql": "USE", "SELECT LAST_INSERT_ID()": "LAST_INSERT_ID()", "SELECT ROW_COUNT()": "ROW_COUNT()",
			"SELECT FOUND_ROWS()": "FOUND_ROWS()", "SELECT @A": "@a", "SELECT 1 INTO @a": "@a", "SELECT @@session.identity": "@@session.identity",
			"SELECT @@last_insert_id": "@@last_insert_id", "SHOW WARNINGS": "SHOW WARNINGS", "CREATE TEMPORARY TABLE x (n INT)": "CREATE TEMPORARY",
			"GET DIAGNOSTICS n = NUMBER": "GET", "SELECT 1 /*! , ROW_COUNT() */": "ROW_COUNT()",
			"COMMIT": "belongs to rollcall", "ROLLBACK": "belongs to rollcall", "BEGIN": "belongs to rollcall", "CREATE TABLE x (n INT)": "belongs to rollcall"}
		b.run(rollcall.ConsumerConfig{Gather: true}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			for text, name := range texts {
				_, byExec := tx.ExecContext(ctx, text)
				rows, byQuery := tx.QueryContext(ctx, text)
				if byQuery == nil {
					_ = rows.Close()
				}
				_, byPrepare := tx.PrepareContext(ctx, text)
				for _, err := range []error{byExec, byQuery, byPrepare} {
					if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "not run") {
						mu.Lock()
						wrong = append(wrong, fmt.Sprintf("%s: %v", text, err))
						mu.Unlock()
					}
				}
			}
			_, err := tx.ExecContext(ctx, b.sql("INSERT INTO ~e (n, v) VALUES (?, LAST_INSERT_ID(5) + @@session.auto_increment_increment)"), string(m.Body))
			return err
		})
		for _, w := range wrong {
			t.Error(w)
		}
		if got := b.number("SELECT COUNT(*) FROM ~e WHERE v = 6"); got != 2 {
			t.Errorf("%d effects, want 2", got)
		}
	})
}

// TestGatheredOddOne: a handler that misuses its transaction spoils its own
// message and no other.
func TestGatheredOddOne(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		for name, odd := range map[string]func(ctx context.Context, b *bench, tx *sql.Tx) error{
			"Commit":   func(_ context.Context, _ *bench, tx *sql.Tx) error { return tx.Commit() },
			"Rollback": func(_ context.Context, _ *bench, tx *sql.Tx) error { _ = tx.Rollback(); return nil },
			"COMMIT": func(ctx context.Context, _ *bench, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, "COMMIT")
				return err
			},
			"a panic": func(context.Context, *bench, *sql.Tx) error { panic("boom") },
			"bad SQL": func(ctx context.Context, _ *bench, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, "SELECT FROM")
				return err
			},
			"bad count": func(ctx context.Context, b *bench, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, b.sql("INSERT INTO ~e (n) VALUES (?)"), 1, 2)
				return err
			},
			"two statements": func(ctx context.Context, b *bench, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, b.sql("DELETE FROM ~e WHERE n = 5--1; COMMIT"))
				return err
			},
			"a deadline in a statement": func(ctx context.Context, b *bench, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, b.sql("INSERT INTO ~ledger (line) SELECT SLEEP(30)"))
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				b := newBench(t, server, mysql.Config{})
				b.send(5, ownKeys)
				b.run(rollcall.ConsumerConfig{Gather: true, HandlerTimeout: 300 * time.Millisecond}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
					if _, err := tx.ExecContext(ctx, b.sql("INSERT INTO ~e (n) VALUES (?)"), string(m.Body)); err != nil {
						return err
					}
					if string(m.Body) == "2" {
						return odd(ctx, b, tx)
					}
					_, err := tx.ExecContext(ctx, b.sql("UPDATE ~e SET v = v + 1 WHERE n = ?"), string(m.Body))
					return err
				})
				dead, causes := b.dead()
				if !slices.Equal(dead, []string{"2"}) {
					t.Fatalf("dead: %v %q; want message 2", dead, causes)
				}
				t.Log(causes[0])
				if got := numbers(t, b.store, b.sql("SELECT n FROM ~e WHERE v = 1 ORDER BY n")); !slices.Equal(got, []int{0, 1, 3, 4}) {
					t.Fatalf("effects %v, want 0 1 3 4", got)
				}
			})
		}
	})
}

// TestGatheredLate: a goroutine that a handler left behind does nothing any more,
// whether others are still at work or not.
func TestGatheredLate(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		b.send(2, ownKeys)
		early, late := make(chan error, 1), make(chan error, 1)
		b.run(rollcall.ConsumerConfig{Gather: true}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			ctx = context.WithoutCancel(ctx)
			if string(m.Body) == "0" {
				go func() {
					time.Sleep(20 * time.Millisecond)
					_, err := tx.ExecContext(ctx, b.sql("INSERT INTO ~e (n) VALUES (0)"))
					early <- err
					time.Sleep(200 * time.Millisecond)
					_, err = tx.ExecContext(ctx, b.sql("INSERT INTO ~e (n) VALUES (0)"))
					late <- err
				}()
				return nil
			}
			time.Sleep(60 * time.Millisecond)
			_, err := tx.ExecContext(ctx, b.sql("INSERT INTO ~e (n) VALUES (1)"))
			return err
		})
		if err := <-early; err == nil || !strings.Contains(err.Error(), "has returned") {
			t.Errorf("a statement of a handler that has returned: %v", err)
		}
		if err := <-late; !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("a statement after the batch: %v", err)
		}
		if got := numbers(t, b.store, b.sql("SELECT n FROM ~e")); !slices.Equal(got, []int{1}) {
			t.Errorf("effects %v, want 1", got)
		}
	})
}
