//go:build linux

package mysql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// together runs each function in a lane of its own.
func together(t testing.TB, tx rollcall.Tx[*sql.Tx], lanes ...func(context.Context, *sql.Tx) error) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	next := tx.(rollcall.Gatherer[*sql.Tx]).Gather(ctx, len(lanes))
	errs := make([]error, len(lanes))
	var wg sync.WaitGroup
	for i, lane := range lanes {
		x, done := next()
		wg.Go(func() {
			defer done()
			errs[i] = lane(ctx, x)
		})
	}
	wg.Wait()
	return errs
}

// TestTogetherValues: every byte and every kind of value comes back as what it
// was, and is neighbour to others in one text.
func TestTogetherValues(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	at := time.Date(2026, 2, 28, 23, 59, 59, 999999000, time.UTC)
	cases := []struct {
		column string
		give   any
		want   any
	}{
		{"b", every, string(every)}, {"b", string(every), string(every)}, {"b", []byte{}, ""}, {"b", nil, nil}, {"b", []byte(nil), nil},
		{"b", "'; DROP TABLE e; -- ", "'; DROP TABLE e; -- "}, {"b", `\'; COMMIT; -- `, `\'; COMMIT; -- `}, {"b", "?", "?"}, {"b", "a\x00b\x1a\\", "a\x00b\x1a\\"},
		{"b", "\xbf'; COMMIT; -- ", "\xbf'; COMMIT; -- "}, {"s", "äöü€𝄞 ''\"\"``\\\\", "äöü€𝄞 ''\"\"``\\\\"}, {"s", ";\n;\n", ";\n;\n"},
		{"i", int64(math.MinInt64), "-9223372036854775808"}, {"u", uint64(math.MaxUint64), "18446744073709551615"}, {"i", true, "1"}, {"i", int8(-3), "-3"},
		{"f", 0.1, "0.1"}, {"f", -math.MaxFloat64, "-1.7976931348623157e308"}, {"d", at, "2026-02-28 23:59:59.999999"}, {"d", &at, "2026-02-28 23:59:59.999999"},
		{"s", json.RawMessage(`{"a":"'?;"}`), `{"a":"'?;"}`}, {"s", sql.NullString{}, nil}, {"s", sql.NullString{Valid: true, String: "x"}, "x"}, {"i", (*int)(nil), nil},
	}
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		exec(t, b.store, b.sql("CREATE TABLE ~v (n INT PRIMARY KEY, b VARBINARY(300), s VARCHAR(300) CHARACTER SET utf8mb4, i BIGINT, u BIGINT UNSIGNED, f DOUBLE, d DATETIME(6)) ENGINE=InnoDB"))
		for _, lanes := range []int{1, len(cases)} { // by themselves, and together
			tx := begin(t, b.store)
			var all []func(context.Context, *sql.Tx) error
			for i, c := range cases {
				all = append(all, func(ctx context.Context, x *sql.Tx) error {
					if _, err := x.ExecContext(ctx, b.sql("INSERT INTO ~v (n, "+c.column+") VALUES (?, ?)"), i, c.give); err != nil {
						return fmt.Errorf("case %d: %w", i, err)
					}
					var got any
					var raw sql.RawBytes
					rows, err := x.QueryContext(ctx, b.sql("SELECT CAST("+c.column+" AS BINARY) FROM ~v WHERE n = ? AND ? = '?'"), i, "?")
					if err != nil {
						return err
					}
					defer func() { _ = rows.Close() }()
					for rows.Next() {
						if err := rows.Scan(&raw); err != nil {
							return err
						}
						if raw != nil {
							got = strings.Replace(string(raw), "e+308", "e308", 1)
						}
					}
					if !reflect.DeepEqual(got, c.want) {
						return fmt.Errorf("case %d: %v came back as %q, want %q", i, c.give, got, c.want)
					}
					return rows.Err()
				})
			}
			for part := range slices.Chunk(all, lanes) {
				must(t, errors.Join(together(t, tx, part...)...))
			}
			must(t, tx.Rollback())
		}
	})
}

// TestTogetherAnswers: affected rows, ids, types of columns and errors are those
// that the same statements have one after the other.
func TestTogetherAnswers(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		exec(t, b.store, b.sql("CREATE TABLE ~a (id INT AUTO_INCREMENT PRIMARY KEY, n INT UNIQUE, v DECIMAL(7,2)) ENGINE=InnoDB"))
		texts := []string{
			"INSERT INTO ~a (n) VALUES (1)", "INSERT INTO ~a (n) VALUES (2), (3)", "INSERT INTO ~a (id, n) VALUES (100, 4);", "INSERT INTO ~a (n) VALUES (1)",
			"INSERT INTO ~a (n, v) VALUES (2, 5) ON DUPLICATE KEY UPDATE v = 5", "UPDATE ~a SET v = 1.5 WHERE n < 4", "UPDATE ~a SET v = 1.5 WHERE n < 4",
			"UPDATE ~a SET id = LAST_INSERT_ID(id + 1000) WHERE n = 4", "DELETE FROM ~a WHERE n = 3", "REPLACE INTO ~a (n, v) VALUES (2, 7)", "INSERT INTO ~a (n) VALUES (NULL), (1)",
			"SELECT n FROM ~a", "DO 1", "INSERT INTO ~a (v) VALUES ('\\x')", "DELETE FROM ~a WHERE n = 77 -- none",
		}
		run := func(x *sql.Tx, text string) string {
			res, err := x.ExecContext(t.Context(), b.sql(text))
			if err != nil {
				return err.Error()
			}
			rows, _ := res.RowsAffected()
			id, _ := res.LastInsertId()
			return fmt.Sprint(rows, " ", id)
		}
		var serial, gathered [2][]string
		for round := range serial {
			exec(t, b.store, b.sql("TRUNCATE ~a"))
			tx := begin(t, b.store)
			for _, text := range texts {
				serial[round] = append(serial[round], run(tx.User(), text))
			}
			must(t, tx.Rollback())
			exec(t, b.store, b.sql("TRUNCATE ~a"))
			tx = begin(t, b.store)
			for _, text := range texts {
				// The lanes beside it change nothing that it sees.
				beside := func(ctx context.Context, x *sql.Tx) error {
					_, err := x.ExecContext(ctx, b.sql("UPDATE ~e SET v = v + 1"))
					return err
				}
				must(t, errors.Join(together(t, tx, beside, func(ctx context.Context, x *sql.Tx) error {
					gathered[round] = append(gathered[round], run(x, text))
					return nil
				}, beside)...))
			}
			must(t, tx.Rollback())
		}
		for i, text := range texts {
			if serial[0][i] != gathered[0][i] || serial[1][i] != gathered[1][i] {
				t.Errorf("%s: %q and %q, by itself %q and %q", text, gathered[0][i], gathered[1][i], serial[0][i], serial[1][i])
			}
		}
	})
}

// TestTogetherReads: columns have their types, and an error in the middle of an
// answer is that query's alone.
func TestTogetherReads(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		exec(t, b.store, b.sql("INSERT INTO ~e (n, v) VALUES (1, 1), (2, 2), (3, 3)"))
		query := func(text, want string) func(context.Context, *sql.Tx) error {
			return func(ctx context.Context, x *sql.Tx) error {
				rows, err := x.QueryContext(ctx, b.sql(text))
				if err != nil {
					return err
				}
				defer func() { _ = rows.Close() }()
				types, err := rows.ColumnTypes()
				if err != nil {
					return err
				}
				var got []string
				for rows.Next() {
					var a any
					if err := rows.Scan(&a); err != nil {
						return err
					}
					if raw, is := a.([]byte); is {
						a = string(raw)
					}
					got = append(got, fmt.Sprint(a))
				}
				if err := rows.Err(); err != nil {
					return err
				}
				if said := types[0].DatabaseTypeName() + " " + types[0].Name() + " " + strings.Join(got, ","); said != want {
					return fmt.Errorf("%s: %s, want %s", text, said, want)
				}
				return nil
			}
		}
		tx := begin(t, b.store)
		broken := query("SELECT IF(n < 3, n, (SELECT n FROM ~e)) AS x FROM ~e ORDER BY n", "")
		errs := together(t, tx, query("SELECT n FROM ~e ORDER BY n", "INT n 1,2,3"), query("SELECT CAST(1.5 AS DECIMAL(4,2)) AS d", "DECIMAL d 1.50"), broken,
			query("SELECT 'x' AS s FROM ~e WHERE n > 5", "VARCHAR s "), query("SELECT missing FROM ~e", ""), query("(SELECT n FROM ~e WHERE n = 2) UNION ALL (SELECT n FROM ~e WHERE n = 1)", "INT n 2,1"))
		var answer *driver.MySQLError
		for i, err := range errs {
			if number := map[int]uint16{2: 1242, 4: 1054}[i]; number == 0 && err != nil || number != 0 && (!errors.As(err, &answer) || answer.Number != number) {
				t.Errorf("query %d: %v, want error %d", i, err, number)
			}
		}
		must(t, tx.Usable())
		must(t, tx.Commit(t.Context()))
	})
}

// TestTogetherLarge: texts that are too long for one packet go in several, and
// one that is too long by itself fails alone.
func TestTogetherLarge(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		exec(t, b.store, b.sql("CREATE TABLE ~big (n INT PRIMARY KEY, body LONGBLOB) ENGINE=InnoDB"))
		tx := begin(t, b.store)
		var lanes []func(context.Context, *sql.Tx) error
		for i := range 30 {
			lanes = append(lanes, func(ctx context.Context, x *sql.Tx) error {
				_, err := x.ExecContext(ctx, b.sql("INSERT INTO ~big VALUES (?, ?)"), i, make([]byte, 100_000))
				return err
			})
		}
		lanes = append(lanes, func(ctx context.Context, x *sql.Tx) error {
			_, err := x.ExecContext(ctx, b.sql("INSERT INTO ~big VALUES (?, ?)"), 30, make([]byte, 40<<20))
			if err == nil || b.store.Classify(err) != rollcall.ClassData {
				return fmt.Errorf("more than a packet: %w", err)
			}
			return nil
		})
		must(t, errors.Join(together(t, tx, lanes...)...))
		var got int
		must(t, tx.User().QueryRow(b.sql("SELECT SUM(LENGTH(body)) FROM ~big")).Scan(&got))
		if got != 3_000_000 {
			t.Errorf("%d bytes, want 3,000,000", got)
		}
		must(t, tx.Rollback())
	})
}

// TestTogetherSmallPacket: where the server takes less than we put into a text,
// nothing is sent and the statements go one by one.
func TestTogetherSmallPacket(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		before := b.number("SELECT @@global.max_allowed_packet")
		exec(t, b.store, "SET GLOBAL max_allowed_packet = 65536")
		defer exec(t, b.store, fmt.Sprint("SET GLOBAL max_allowed_packet = ", before))
		s := &bench{t: t, schema: b.schema, store: open(t, server, mysql.Config{Schema: b.schema})}
		s.warm()
		tx := begin(t, s.store)
		var lanes []func(context.Context, *sql.Tx) error
		for i := range 10 {
			lanes = append(lanes, func(ctx context.Context, x *sql.Tx) error {
				var got int
				if err := x.QueryRowContext(ctx, "SELECT LENGTH(?)", make([]byte, 15_000)).Scan(&got); err != nil || got != 15_000 {
					return fmt.Errorf("%d bytes: %w", got, err)
				}
				_, err := x.ExecContext(ctx, b.sql("INSERT INTO ~e (n, v) VALUES (?, LENGTH(?))"), i, strings.Repeat("'", 15_000))
				return err
			})
		}
		must(t, errors.Join(together(t, tx, lanes...)...))
		must(t, tx.Commit(t.Context()))
		if got := b.number("SELECT SUM(v) FROM ~e"); got != 150_000 {
			t.Errorf("%d bytes, want 150,000", got)
		}
	})
}

// TestTogetherInto: a SELECT without an answer of rows leaves those beside it
// their own.
func TestTogetherInto(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		var to sql.NullString
		must(t, b.store.DB().QueryRow("SELECT @@secure_file_priv").Scan(&to))
		folder := to.String
		if folder == "" {
			folder = os.TempDir()
		}
		tx := begin(t, b.store)
		lane := func(text string, want int) func(context.Context, *sql.Tx) error {
			return func(ctx context.Context, x *sql.Tx) error {
				var got int
				err := x.QueryRowContext(ctx, text).Scan(&got)
				if want == 0 && err != nil { // it has no rows; a server may refuse to write files
					return nil
				}
				if err != nil || got != want {
					return fmt.Errorf("%s: %d, not %d: %w", text, got, want, err)
				}
				return nil
			}
		}
		for i := range 5 { // the order in which they come is not ours
			file := filepath.Join(folder, fmt.Sprint(b.schema, i, ".txt"))
			must(t, errors.Join(together(t, tx, lane("SELECT 1", 1), lane("SELECT 2 INTO OUTFILE '"+file+"'", 0), lane("SELECT 3", 3), lane("SELECT 4", 4))...))
			_ = os.Remove(file)
		}
		must(t, tx.Usable())
	})
}

// TestTogetherLost: an error that takes the transaction with it is told to all
// that travelled, is of its own class, and nothing runs afterwards.
func TestTogetherLost(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{Statement: time.Second})
		exec(t, b.store, b.sql("INSERT INTO ~e (n) VALUES (1)"))
		update := func(text string) func(context.Context, *sql.Tx) error {
			return func(ctx context.Context, x *sql.Tx) error {
				_, err := x.ExecContext(ctx, b.sql(text))
				if _, again := x.ExecContext(ctx, b.sql("INSERT INTO ~ledger (line) VALUES ('after')")); err != nil && again == nil {
					t.Error("a statement ran after the transaction was gone")
				}
				return err
			}
		}
		lanes := []func(context.Context, *sql.Tx) error{update("INSERT INTO ~ledger (line) VALUES ('a')"), update("UPDATE ~e SET v = v + 1 WHERE n = 1"), update("INSERT INTO ~ledger (line) VALUES ('b')")}
		var id int64
		for name, c := range map[string]struct {
			hurt  func() (heal func())
			class rollcall.Class
		}{
			"a lock wait timeout": {func() func() {
				holder, err := b.store.DB().Begin()
				must(t, err)
				_, err = holder.Exec(b.sql("UPDATE ~e SET v = 0 WHERE n = 1"))
				must(t, err)
				return func() { must(t, holder.Rollback()) }
			}, rollcall.ClassConflict},
			"a killed connection": {func() func() { exec(t, b.store, fmt.Sprint("KILL ", id)); return func() {} }, rollcall.ClassEnvironment},
		} {
			tx := begin(t, b.store)
			must(t, tx.User().QueryRow("SELECT CONNECTION_ID()").Scan(&id))
			heal := c.hurt()
			for i, err := range together(t, tx, lanes...) {
				if err == nil || b.store.Classify(err) != c.class {
					t.Errorf("%s: lane %d: %v of class %d, want %d", name, i, err, b.store.Classify(err), c.class)
				}
			}
			if tx.Usable() == nil {
				t.Errorf("%s: the transaction is usable", name)
			}
			if err := tx.Commit(t.Context()); err == nil || errors.Is(err, rollcall.ErrInDoubt) {
				t.Errorf("%s: commit: %v", name, err)
			}
			heal()
		}
		if got := b.number("SELECT COUNT(*) FROM ~ledger"); got != 0 {
			t.Errorf("%d effects, want none", got)
		}
	})
}

// TestLeftUnderWay: the store does not go on with the connection while a
// goroutine that a handler left behind has a statement under way, and does not
// send one that still waits.
func TestLeftUnderWay(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		tx := begin(t, b.store)
		answers := make(chan error, 2)
		leaves := func(text string, after time.Duration) func(context.Context, *sql.Tx) error {
			return func(ctx context.Context, x *sql.Tx) error {
				go func() { _, err := x.ExecContext(context.WithoutCancel(ctx), b.sql(text)); answers <- err }()
				time.Sleep(after)
				return nil
			}
		}
		start := time.Now()
		together(t, tx, leaves("DO SLEEP(0.3)", 100*time.Millisecond), // it is sent after 2 ms
			func(ctx context.Context, x *sql.Tx) error {
				time.Sleep(50 * time.Millisecond) // that one is under way
				return leaves("INSERT INTO ~e (n) VALUES (1)", 50*time.Millisecond)(ctx, x)
			})
		if took := time.Since(start); took < 300*time.Millisecond {
			t.Errorf("the store went on after %v, with a statement of 300 ms under way", took)
		}
		var refused int
		for range 2 {
			if err := <-answers; err != nil && strings.Contains(err.Error(), "has returned") {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		must(t, tx.Commit(t.Context()))
		if got := b.number("SELECT COUNT(*) FROM ~e"); refused != 1 || got != 0 {
			t.Errorf("%d refused, %d rows; want one refused and no row", refused, got)
		}
	})
}

// TestTogetherFromTheSecondOn: the first gathering of a store finds connections
// that take one statement a text; all works, and the next one has others.
func TestTogetherFromTheSecondOn(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		wire := new(turns)
		s, name := fresh(t, server, mysql.Config{Dial: wire.dial, Connections: 1})
		exec(t, s, "CREATE TABLE "+name+".turns_ (n INT NOT NULL) ENGINE=InnoDB")
		for _, want := range []int64{10, 1} {
			wire.n.Store(0)
			tx := begin(t, s)
			lanes := make([]func(context.Context, *sql.Tx) error, 10)
			for i := range lanes {
				lanes[i] = func(ctx context.Context, x *sql.Tx) error {
					_, err := x.ExecContext(ctx, "INSERT INTO "+name+".turns_ VALUES (?)", i)
					return err
				}
			}
			must(t, errors.Join(together(t, tx, lanes...)...))
			must(t, tx.Commit(t.Context()))
			if got := wire.n.Load(); want == 10 && got != 10 || want == 1 && got > 3 { // 1, and a few when the machine is busy
				t.Errorf("%d turns, want %d", got, want)
			}
		}
	})
}
