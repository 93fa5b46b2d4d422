package effect_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

const (
	batchSize = 500
	benchDDL  = "CREATE TABLE orders (order_id TEXT PRIMARY KEY, account INTEGER NOT NULL, amount INTEGER NOT NULL, note TEXT) WITHOUT ROWID"
)

func benchMessages(n int) []rollcall.Message {
	ms := make([]rollcall.Message, batchSize)
	for i := range ms {
		ms[i] = body(`{"order_id":"order-%012d","account":%d,"amount":%d,"note":"a note of some length","more":{"city":"Bonn"}}`, n+i, (n+i)%1000, n+i)
	}
	return ms
}

// BenchmarkRatio measures, in turns within one run, the bare batched insert of
// the same rows (the ceiling), plain serial handlers, the table effect, and the
// table effect with a DedupKey a message; each with Fence, roll, counters and a
// durable commit. It prints shares of the ceiling.
func BenchmarkRatio(b *testing.B) {
	columns := map[string]string{"order_id": "payload.order_id", "account": "payload.account", "amount": "payload.amount", "note": "payload.note"}
	list := effect.Table{Name: "orders", Mode: effect.Insert, Key: []string{"order_id"}, Columns: columns}
	set := list
	set.Mode = effect.Set
	runs := []struct {
		name string
		f    func(*testing.B, context.Context, []rollcall.Message)
	}{
		{"ceiling", ceiling(b)}, {"handler", inStore(b, false, handlers)},
		{"insert", inStore(b, false, tableEffect(list))}, {"set", inStore(b, false, tableEffect(set))},
		{"inbox", inStore(b, true, tableEffect(list))},
	}
	spent := make([]float64, len(runs))
	n := 0
	for b.Loop() {
		ms := benchMessages(n)
		n += batchSize
		for i, r := range runs {
			start := b.Elapsed()
			r.f(b, b.Context(), ms)
			spent[i] += (b.Elapsed() - start).Seconds()
		}
	}
	for i, r := range runs {
		b.ReportMetric(100*spent[0]/spent[i], "%"+r.name)
	}
	b.ReportMetric(float64(n)/spent[0], "ceiling/s")
}

func ceiling(b *testing.B) func(*testing.B, context.Context, []rollcall.Message) {
	const rows = 25
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate&_pragma=cache_size(-16384)")
	must(b, err)
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	_, err = db.Exec(benchDDL)
	must(b, err)
	stmt, err := db.Prepare("INSERT INTO orders VALUES " + strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?), ", rows), ", "))
	must(b, err)
	n := 0
	return func(b *testing.B, ctx context.Context, ms []rollcall.Message) {
		tx, err := db.Begin()
		must(b, err)
		st := tx.Stmt(stmt)
		for range len(ms) / rows {
			args := make([]any, 0, 4*rows)
			for range rows {
				args = append(args, fmt.Sprintf("order-%012d", n), int64(n%1000), int64(n), "a note of some length")
				n++
			}
			_, err := st.Exec(args...)
			must(b, err)
		}
		must(b, tx.Commit())
	}
}

func handlers(b testing.TB, _ *sql.DB) func(context.Context, *sql.Tx, []rollcall.Message) {
	n := 0
	return func(ctx context.Context, tx *sql.Tx, ms []rollcall.Message) {
		for range ms {
			_, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES (?, ?, ?, ?)", fmt.Sprintf("order-%012d", n), n%1000, n, "a note of some length")
			must(b, err)
			n++
		}
	}
}

func tableEffect(t effect.Table) func(testing.TB, *sql.DB) func(context.Context, *sql.Tx, []rollcall.Message) {
	return func(b testing.TB, db *sql.DB) func(context.Context, *sql.Tx, []rollcall.Message) {
		ts, err := effect.NewTables(db, effect.SQLite(), []effect.Table{t})
		must(b, err)
		return func(ctx context.Context, tx *sql.Tx, ms []rollcall.Message) {
			_, err := ts.HandleBatch(ctx, tx, ms)
			must(b, err)
		}
	}
}

func inStore(b *testing.B, inbox bool, make_ func(testing.TB, *sql.DB) func(context.Context, *sql.Tx, []rollcall.Message)) func(*testing.B, context.Context, []rollcall.Message) {
	s := open(b, benchDDL)
	f := make_(b, s.DB())
	p := rollcall.Holder{Partition: rollcall.Partition{Destination: "orders"}}
	a, err := s.Acquire(b.Context(), "g", []rollcall.Holder{p})
	must(b, err)
	scope := []rollcall.Scope{{Kind: rollcall.ScopePartition, ID: [16]byte{1}}}
	n := 0
	return func(b *testing.B, ctx context.Context, ms []rollcall.Message) {
		tx, err := s.Begin(ctx)
		must(b, err)
		must(b, tx.Fence(ctx, rollcall.Hold{Group: "g", Holder: p, Token: a[0].Token}))
		if inbox {
			claims := make([]rollcall.KeyClaim, len(ms))
			for i := range claims {
				n++
				claims[i].Key = [16]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
			}
			_, err = tx.Records().Claim(ctx, "g", claims)
			must(b, err)
		}
		f(ctx, tx.User(), ms)
		_, err = tx.Records().Lock(ctx, "g", scope)
		must(b, err)
		must(b, tx.Records().Write(ctx, "g", []rollcall.RollRow{{Scope: scope[0], Data: []byte("0123456789")}}))
		must(b, tx.Records().Count(ctx, "g", "orders", 0, rollcall.Counts{Applied: int64(len(ms))}))
		must(b, tx.Commit(ctx))
	}
}
