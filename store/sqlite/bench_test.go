package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	_ "modernc.org/sqlite"
)

const batch = 500

const ordersTable = "CREATE TABLE orders (order_id TEXT PRIMARY KEY, account INTEGER NOT NULL, amount INTEGER NOT NULL, note TEXT) WITHOUT ROWID"

func orderArgs(n int) []any {
	return []any{fmt.Sprintf("order-%012d", n), int64(n % 1000), int64(n), "a note of some length"}
}

// BenchmarkCeiling is the fastest batched insert we could write with the plain
// driver: prepared multi-row statements in transactions of 500 rows.
func BenchmarkCeiling(b *testing.B) {
	for _, rows := range []int{1, 5, 10, 25, 50, 100, 250} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+
				"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate&_pragma=cache_size(-16384)")
			must(b, err)
			defer db.Close()
			db.SetMaxOpenConns(1)
			_, err = db.Exec(ordersTable)
			must(b, err)
			stmt, err := db.Prepare("INSERT INTO orders VALUES " + strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?), ", rows), ", "))
			must(b, err)
			n := 0
			for b.Loop() {
				tx, err := db.Begin()
				must(b, err)
				st := tx.Stmt(stmt)
				args := make([]any, 0, 4*rows)
				for range batch / rows {
					args = args[:0]
					for range rows {
						args = append(args, orderArgs(n)...)
						n++
					}
					_, err := st.Exec(args...)
					must(b, err)
				}
				must(b, tx.Commit())
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkHandler is a plain serial handler: one tx.ExecContext a message,
// between Fence, roll and Commit.
func BenchmarkHandler(b *testing.B) {
	for _, name := range []string{"plain", "deadline", "inbox"} {
		b.Run(name, func(b *testing.B) {
			s := openNew(b)
			run(b, s, ordersTable)
			h := hold(partition(0), acquire(b, s, partition(0)))
			scope := []rollcall.Scope{{Kind: rollcall.ScopePartition, ID: life(1)}}
			ctx := context.Background()
			if name == "deadline" {
				c, cancel := context.WithCancel(ctx)
				defer cancel()
				ctx = c
			}
			n := 0
			for b.Loop() {
				tx, err := s.Begin(ctx)
				must(b, err)
				must(b, tx.Fence(ctx, h))
				if name == "inbox" {
					claims := make([]rollcall.KeyClaim, batch)
					for i := range claims {
						claims[i].Key[0], claims[i].Key[1], claims[i].Key[2], claims[i].Key[3] = byte((n+i)>>24), byte((n+i)>>16), byte((n+i)>>8), byte(n+i)
					}
					_, err = tx.Records().Claim(ctx, group, claims)
					must(b, err)
				}
				for range batch {
					_, err := tx.User().ExecContext(ctx, "INSERT INTO orders VALUES (?, ?, ?, ?)", orderArgs(n)...)
					must(b, err)
					n++
				}
				_, err = tx.Records().Lock(ctx, group, scope)
				must(b, err)
				must(b, tx.Records().Write(ctx, group, []rollcall.RollRow{{Scope: scope[0], Data: []byte("0123456789")}}))
				must(b, tx.Records().Count(ctx, group, "orders", 0, rollcall.Counts{Applied: batch}))
				must(b, tx.Commit(ctx))
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
