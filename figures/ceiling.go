package figures

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	driversqlite "modernc.org/sqlite"
)

// perTransaction is the batch of every way, F included.
const perTransaction = 500

// widths are the rows per statement that F is tried with; all divide 500.
var widths = []int{1, 2, 4, 5, 10, 20, 25, 50}

// ceiling is F: the rows lie in memory as the driver takes them, the
// statements are prepared, and database/sql is left out. It returns the time
// of all rows.
func ceiling(b Stage, orders []order, width int) time.Duration {
	b.Helper()
	conn := openBare(b)
	defer conn.Close()
	list := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?), ", width), ", ")
	insert := prepare(b, conn, "INSERT INTO orders (id, account, amount, status, note) VALUES "+list)
	begin, commit := prepare(b, conn, "BEGIN IMMEDIATE"), prepare(b, conn, "COMMIT")
	defer func() {
		for _, s := range []statement{insert, begin, commit} {
			must(b, s.Close())
		}
	}()
	args := make([][]driver.NamedValue, 0, len(orders)/width)
	for from := 0; from < len(orders); from += width {
		var row []driver.NamedValue
		for _, o := range orders[from : from+width] {
			for _, v := range []any{o.ID, o.Account, o.Amount, o.Status, o.Note} {
				row = append(row, driver.NamedValue{Ordinal: len(row) + 1, Value: v})
			}
		}
		args = append(args, row)
	}
	ctx := context.Background()
	run := func(s statement, args []driver.NamedValue) {
		if _, err := s.ExecContext(ctx, args); err != nil {
			b.Fatal(err)
		}
	}
	start := time.Now()
	for at := 0; at < len(args); {
		run(begin, nil)
		for range min(perTransaction/width, len(args)-at) {
			run(insert, args[at])
			at++
		}
		run(commit, nil)
	}
	return time.Since(start)
}

// openBare opens a new file as the store opens its own.
func openBare(b Stage) driver.Conn {
	b.Helper()
	q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "cache_size(-16384)", "temp_store(MEMORY)"}}
	path := filepath.Join(b.TempDir(), "bare.db")
	connector, err := driversqlite.NewConnector("file:" + path + "?" + q.Encode())
	must(b, err)
	conn, err := connector.Connect(context.Background())
	must(b, err)
	_, err = conn.(driver.ExecerContext).ExecContext(context.Background(), ordersTable, nil)
	must(b, err)
	return conn
}

// statement is a prepared one.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
}

func prepare(b Stage, conn driver.Conn, text string) statement {
	b.Helper()
	s, err := conn.Prepare(text)
	must(b, err)
	return s.(statement)
}

// bestWidth tries all widths twice and returns the fastest.
func bestWidth(b Stage, orders []order) int {
	b.Helper()
	best, shortest := 0, time.Duration(0)
	var tried []string
	for _, w := range widths {
		d := min(ceiling(b, orders, w), ceiling(b, orders, w))
		tried = append(tried, fmt.Sprintf("%d: %.0f", w, rate(len(orders), d)))
		if best == 0 || d < shortest {
			best, shortest = w, d
		}
	}
	b.Logf("F by rows per statement, rows/s: %s", strings.Join(tried, ", "))
	return best
}

func rate(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

func must(b Stage, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
