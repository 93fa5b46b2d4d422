//go:build linux

package mysql_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/internal/sqltext"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// hiding are texts that hide a second statement from some reader.
var hiding = []string{"INSERT INTO ~e (n) VALUES (7); COMMIT", "SELECT 5--1; COMMIT", "SELECT '\\'; COMMIT; -- '", "SELECT \"a\\\"; COMMIT; -- \"",
	"SELECT 1 /*! ; COMMIT */", "SELECT /*/ 1; COMMIT /*/ 1", "SELECT 1;;COMMIT", "DO 1; DO 2", "INSERT INTO ~e (n) VALUES (7); INSERT INTO ~e (n) VALUES (8)"}

// TestOneStatement: connections that take several statements in a text take one
// of a handler, gathered or not, whatever it set before.
func TestOneStatement(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		for _, mode := range []string{"", "SET sql_mode = 'NO_BACKSLASH_ESCAPES'", "SET sql_mode = 'ANSI_QUOTES'", "SET NAMES gbk"} {
			for _, text := range hiding {
				text = b.sql(text)
				tx := begin(t, b.store)
				try := func(ctx context.Context, x *sql.Tx) error {
					_, err := x.ExecContext(ctx, b.sql("INSERT INTO ~e (n) VALUES (1)"))
					must(t, err)
					_, _ = x.ExecContext(ctx, text)
					if rows, err := x.QueryContext(ctx, text); err == nil {
						_ = rows.Close()
					}
					return nil
				}
				if mode == "" {
					must(t, errors.Join(together(t, tx, try)...))
					_, err := tx.User().Exec(b.sql("DELETE FROM ~e"))
					must(t, err)
				} else {
					_, err := tx.User().Exec(mode)
					must(t, err)
					var got string
					value := "\xbf'; COMMIT; -- \\'; COMMIT; -- "
					must(t, tx.User().QueryRow("SELECT CAST(HEX(?) AS CHAR)", []byte(value)).Scan(&got))
					lane := func(ctx context.Context, x *sql.Tx) error {
						var back string
						return x.QueryRowContext(ctx, "SELECT HEX(?)", value).Scan(&back)
					}
					must(t, errors.Join(together(t, tx, lane, lane)...))
					if mode != "SET NAMES gbk" && got != fmt.Sprintf("%X", value) {
						t.Errorf("%s: %s", mode, got)
					}
				}
				must(t, try(t.Context(), tx.User()))
				var left int
				must(t, tx.User().QueryRow(b.sql("SELECT COUNT(*) FROM ~e WHERE n > 1")).Scan(&left))
				must(t, tx.Usable())
				must(t, tx.Rollback())
				if got := numbers(t, b.store, b.sql("SELECT n FROM ~e")); len(got) != 0 || left != 0 {
					t.Fatalf("%s, %q: committed %v, %d of a second statement", mode, text, got, left)
				}
			}
		}
	})
}

// TestValuesStayWithTheirStatement: one value too many beside one too few makes
// the right number, and neither statement runs.
func TestValuesStayWithTheirStatement(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		tx := begin(t, b.store)
		lane := func(text string, args ...any) func(context.Context, *sql.Tx) error {
			return func(ctx context.Context, x *sql.Tx) error {
				_, err := x.ExecContext(ctx, b.sql(text), args...)
				return err
			}
		}
		errs := together(t, tx, lane("INSERT INTO ~e (n) VALUES (?)", 1, 2), lane("INSERT INTO ~e (n, v) VALUES (?, ?)", 3), lane("INSERT INTO ~e (n) VALUES (?)", 4))
		if errs[0] == nil || errs[1] == nil || errs[2] != nil {
			t.Errorf("%v, want the first two refused", errs)
		}
		must(t, tx.Commit(t.Context()))
		if got := numbers(t, b.store, b.sql("SELECT n FROM ~e")); !slices.Equal(got, []int{4}) {
			t.Errorf("rows %v, want 4", got)
		}
	})
}

// TestUnsafeCharacterSet: a byte of a letter would be a quote, and a value SQL.
func TestUnsafeCharacterSet(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		_, err := mysql.Open(t.Context(), server.URL()+"?charset=gbk", mysql.Config{})
		if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), "charset=utf8mb4") {
			t.Fatalf("%v, want it refused", err)
		}
	})
}

// TestValuesAreCounted: we find as many question marks in a text as the driver
// does: else a value would go to its neighbour.
func TestValuesAreCounted(t *testing.T) {
	pieces := []string{"?", "'?'", "\"?\"", "`?`", "-- ?\n", "--?\n", "# ?\n", "/* ? */", "/**/", "/*/", "*/", "/*! ? */", "''", "'it''s ?'", " ", "\n", "-", "/", "*", "'", "\"", "`",
		"\\", "a", "1", "#", ";", "--\t?\r\n", "---", "SELECT", "$", "$$ ? $$", "é", "\x00", "--"}
	random := rand.New(rand.NewPCG(1, 2))
	server := servers.Shared(t, servers.MySQL)
	db, err := sql.Open("mysql", server.URL()+"?interpolateParams=true")
	must(t, err)
	defer func() { _ = db.Close() }()
	c, err := db.Conn(t.Context())
	must(t, err)
	sure := 0
	for range 30_000 {
		text := "SELECT "
		for range 1 + random.IntN(6) {
			text += pieces[random.IntN(len(pieces))]
		}
		st := sqltext.Single(text)
		if !st.Sure {
			continue
		}
		sure++
		must(t, c.Raw(func(raw any) error {
			for n := 1; n <= 7; n++ {
				args := make([]sqldriver.NamedValue, n)
				if n == st.Values {
					continue // it would be sent; all other counts are wrong
				}
				if _, err := raw.(sqldriver.ExecerContext).ExecContext(t.Context(), text, args); err != sqldriver.ErrSkip { //nolint: it is this very value
					t.Errorf("%q: %d values are as the driver counts, we count %d", text, n, st.Values)
				}
			}
			return nil
		}))
	}
	if sure < 500 {
		t.Errorf("only %d texts were sure: the test proves nothing", sure)
	}
}
