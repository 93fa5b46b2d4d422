//go:build linux

package effect_test

import (
	"context"
	"strings"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// counting notes the first word of each statement.
type counting struct {
	effect.Conn
	words *[]string
}

func (c counting) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	c.note(query)
	return c.Conn.Exec(ctx, query, args...)
}

func (c counting) Query(ctx context.Context, query string, args ...any) (effect.Rows, error) {
	c.note(query)
	return c.Conn.Query(ctx, query, args...)
}

func (c counting) note(query string) {
	word, _, _ := strings.Cut(query, " ")
	if strings.Contains(query, "information_schema") {
		word = "verify"
	}
	*c.words = append(*c.words, word)
}

// A batch is a statement a table, whatever its size: turns to the server are
// what a batch costs.
func TestStatementsOfABatch(t *testing.T) {
	table := effect.Table{Name: "orders", Key: []string{"order_id"}, Columns: orderColumns, Version: effect.Version{Column: "amount"}}
	var ms []rollcall.Message
	for i := range 500 {
		ms = append(ms, body(`{"id":"%d","amount":%d}`, i, 1+i))
	}
	for mode, want := range map[effect.Mode][2]string{ // in an empty table, and again
		effect.Insert:    {"SAVEPOINT INSERT verify RELEASE", "SAVEPOINT INSERT ROLLBACK RELEASE SELECT"},
		effect.Upsert:    {"INSERT verify", "INSERT verify"},
		effect.Set:       {"INSERT verify", "INSERT verify"},
		effect.Add:       {"SELECT SAVEPOINT INSERT verify RELEASE", "SELECT INSERT verify"},
		effect.Versioned: {"SELECT SAVEPOINT INSERT verify RELEASE", "SELECT"},
		effect.Delete:    {"SELECT DELETE", "SELECT"}, // of rows that are there, then of none
	} {
		onSome(t, "sqlite", []string{ordersDDL}, func(t *testing.T, db *database) {
			table := table
			table.Mode = mode
			if mode == effect.Add {
				table.Update = []string{"amount"}
			}
			if mode == effect.Delete {
				there := table
				there.Mode = effect.Upsert
				tx := db.begin(t)
				_, err := tx.batch(db.tables(t, there), ms)
				must(t, err)
				must(t, tx.commit())
			}
			ts := db.tables(t, table)
			for _, want := range want {
				if db.product == "postgres" {
					want = strings.ReplaceAll(want, " verify", "") // its statements check that themselves
				}
				var words []string
				tx := db.begin(t)
				_, err := effect.BatchHandler(ts, func(c effect.Conn) effect.Conn { return counting{c, &words} })(t.Context(), tx.c, ms)
				must(t, err)
				must(t, tx.commit())
				if got := strings.Join(words, " "); got != want {
					t.Errorf("%s: %s, want %s", mode, got, want)
				}
			}
		})
	}
}
