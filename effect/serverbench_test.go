//go:build linux

package effect_test

import (
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// BenchmarkServers measures, in turns within one run, batches of 500 in the
// modes against a bare insert of the same rows as one statement, each with a
// durable commit. It prints shares of the bare insert.
func BenchmarkServers(b *testing.B) {
	for _, name := range []string{"postgres15", "postgres18", "mysql", "mariadb"} {
		b.Run(name, func(b *testing.B) {
			db := products[name](b)
			runs := []struct {
				name string
				mode effect.Mode
				key  []string
			}{{"bare", effect.Insert, nil}, {"insert", effect.Insert, []string{"id"}}, {"upsert", effect.Upsert, []string{"id"}}, {"add", effect.Add, []string{"id"}}}
			all := make([]*effect.Tables, len(runs))
			for i, r := range runs {
				db.exec(b, "CREATE TABLE b_"+r.name+" (id {key} PRIMARY KEY, account BIGINT NOT NULL, amount BIGINT NOT NULL, note {text})")
				table := effect.Table{Name: "b_" + r.name, Mode: r.mode, Key: r.key, Columns: map[string]string{"id": "payload.order_id",
					"account": "payload.account", "amount": "payload.amount", "note": "payload.note"}}
				if r.mode == effect.Add {
					table.Update = []string{"amount"}
				}
				all[i] = db.tables(b, table)
			}
			spent, n := make([]float64, len(runs)), 0
			for b.Loop() {
				ms := benchMessages(n)
				n += batchSize
				for i := range runs {
					start := b.Elapsed()
					commitBatch(b, db, all[i], ms)
					spent[i] += (b.Elapsed() - start).Seconds()
				}
			}
			for i, r := range runs {
				b.ReportMetric(100*spent[0]/spent[i], "%"+r.name)
			}
			b.ReportMetric(float64(n)/spent[0], "bare/s")
		})
	}
}

func commitBatch(b *testing.B, db *database, ts *effect.Tables, ms []rollcall.Message) {
	tx := db.begin(b)
	_, err := tx.batch(ts, ms)
	must(b, err)
	must(b, tx.commit())
}
