//go:build linux

package effect_test

import (
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

const workers, rounds, perBatch = 4, 15, 20

// Workers that write the same rows at the same time, in other orders, lose no
// change and do not deadlock: rows are locked in the order of their keys. A row
// that another one makes between our look and our insert is looked at again.
func TestWorkersSideBySide(t *testing.T) {
	onSome(t, "sqlite", []string{"CREATE TABLE account (id {key} PRIMARY KEY, balance {int}, v {int})"}, func(t *testing.T, db *database) {
		columns := map[string]string{"id": "payload.id", "balance": "payload.n"}
		add := db.tables(t, effect.Table{Name: "account", Mode: effect.Add, Key: []string{"id"}, Columns: columns})
		sideBySide(t, db, add, func(worker, round, i int) rollcall.Message {
			at := i
			if worker%2 == 0 {
				at = perBatch - 1 - i
			}
			return body(`{"id":"%d-%d","n":1}`, round, at)
		})
		// Every batch that committed is in the balances.
		want := int64(workers * rounds * perBatch)
		if got := db.dump(t, "SELECT CAST(SUM(balance) AS CHAR(20)) FROM account"); got != fmt.Sprintf("string:%-20d", want) && got != fmt.Sprintf("string:%d", want) {
			t.Errorf("balances %s, want %d", got, want)
		}
	})
}

// sideBySide runs batches in workers. A deadlock of MySQL, which is seldom, is
// run again, as the engine does; in PostgreSQL there must be none.
func sideBySide(t *testing.T, db *database, ts *effect.Tables, message func(worker, round, i int) rollcall.Message) {
	var wait sync.WaitGroup
	var deadlocks atomic.Int64
	for worker := range workers {
		wait.Go(func() {
			for round := 0; round < rounds; round++ {
				ms := make([]rollcall.Message, perBatch)
				for i := range ms {
					ms[i] = message(worker, round, i)
				}
				tx := db.begin(t)
				outcomes, err := tx.batch(ts, ms)
				err = errors.Join(append(outcomes, err)...)
				if err == nil {
					err = tx.commit()
				}
				if err == nil {
					continue
				}
				_ = tx.rollback()
				var coded interface{ SQLState() string }
				serialize := errors.As(err, &coded) && coded.SQLState() == "40001" && db.level != sql.LevelDefault
				if mysqlNumber(err) != 1213 && !serialize {
					t.Error(err)
					return
				}
				deadlocks.Add(1)
				round--
			}
		})
	}
	wait.Wait()
	if n := deadlocks.Load(); n > workers*rounds/10 && db.level == sql.LevelDefault {
		t.Errorf("%d deadlocks in %d batches", n, workers*rounds)
	}
}

// In REPEATABLE READ more is run again, and nothing is lost either.
func TestRepeatableRead(t *testing.T) {
	onSome(t, "sqlite", []string{"CREATE TABLE account (id {key} PRIMARY KEY, balance {int})"}, func(t *testing.T, db *database) {
		db.level = sql.LevelRepeatableRead
		add := db.tables(t, effect.Table{Name: "account", Mode: effect.Add, Key: []string{"id"}, Columns: map[string]string{"id": "payload.id", "balance": "payload.n"}})
		sideBySide(t, db, add, func(_, round, i int) rollcall.Message { return body(`{"id":"%d-%d","n":1}`, round%3, i) })
		want := fmt.Sprintf("int64:%d int64:%[1]d", workers*rounds/3)
		if got := db.dump(t, "SELECT min(balance), max(balance) FROM account"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// Deletes lock in the order of the keys, too.
func TestDeletesSideBySide(t *testing.T) {
	onSome(t, "sqlite", []string{ordersDDL}, func(t *testing.T, db *database) {
		put := effect.Table{Name: "orders", Mode: effect.Upsert, Key: []string{"order_id"}, Columns: orderColumns, When: "payload.op!=d"}
		del := effect.Table{Name: "orders", Mode: effect.Delete, Key: []string{"order_id"}, Columns: map[string]string{"order_id": "payload.id"}, When: "payload.op=d"}
		ts := db.tables(t, put, del)
		sideBySide(t, db, ts, func(worker, round, i int) rollcall.Message {
			if worker%2 == 0 {
				i = perBatch - 1 - i
			}
			return body(`{"id":"%d","op":%q,"amount":1}`, i, []string{"d", "p", "d", "d"}[(worker+round)%4])
		})
	})
}

// Of several workers that insert the same key exactly one does.
func TestInsertSideBySide(t *testing.T) {
	onSome(t, "sqlite", []string{ordersDDL}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "orders", Mode: effect.Insert, Key: []string{"order_id"}, Columns: orderColumns})
		ms := func(from int) (out []rollcall.Message) {
			for i := range perBatch {
				out = append(out, body(`{"id":"%03d","amount":%d}`, from+i, from+i))
			}
			return out
		}
		first, second := db.begin(t), db.begin(t)
		defer first.rollback()
		defer second.rollback()
		outcomes, err := first.batch(ts, ms(0))
		must(t, errors.Join(append(outcomes, err)...))
		done := make(chan []error)
		go func() {
			outcomes, err := second.batch(ts, ms(perBatch/2))
			done <- append(outcomes, err)
		}()
		must(t, first.commit())
		got := <-done
		for i, err := range got[:perBatch] {
			if want := map[bool]error{true: rollcall.Repeated}[i < perBatch/2]; err != want {
				t.Errorf("message %d: %v, want %v", i, err, want)
			}
		}
		must(t, got[perBatch])
		must(t, second.commit())
		if got := db.dump(t, "SELECT count(*) FROM orders"); got != fmt.Sprintf("int64:%d", perBatch*3/2) {
			t.Error(got)
		}
	})
}

// A version that another worker commits while we wait for the row is seen.
func TestVersionSideBySide(t *testing.T) {
	onSome(t, "sqlite", []string{ordersDDL}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "orders", Mode: effect.Versioned, Key: []string{"order_id"}, Version: effect.Version{Column: "amount"}, Columns: orderColumns})
		for _, there := range []bool{false, true} {
			first, second := db.begin(t), db.begin(t)
			v := func(n int) []rollcall.Message { return []rollcall.Message{body(`{"id":"a","amount":%d}`, n)} }
			base := map[bool]int{false: 0, true: 10}[there]
			outcomes, err := first.batch(ts, v(base+5))
			must(t, errors.Join(append(outcomes, err)...))
			done := make(chan []error)
			go func() {
				outcomes, err := second.batch(ts, v(base+4))
				done <- append(outcomes, err)
			}()
			must(t, first.commit())
			wantOutcomes(t, <-done, rollcall.Stale, nil)
			must(t, second.commit())
			if got := db.dump(t, "SELECT amount FROM orders"); got != fmt.Sprintf("int64:%d", base+5) {
				t.Error(got)
			}
		}
	})
}

// Without the index nothing could be promised: it fails, nobody is blamed, and
// work goes on when it is back.
func TestIndexGone(t *testing.T) {
	onSome(t, "sqlite", []string{"CREATE TABLE g (id {key} NOT NULL, n {int})", "CREATE UNIQUE INDEX gi ON g (id)"}, func(t *testing.T, db *database) {
		drop := "DROP INDEX gi ON g"
		if db.product == "postgres" {
			drop = "DROP INDEX gi"
		}
		for _, mode := range []effect.Mode{effect.Insert, effect.Upsert, effect.Set, effect.Versioned, effect.Add} {
			ts := db.tables(t, effect.Table{Name: "g", Mode: mode, Key: []string{"id"}, Version: effect.Version{Column: "n"},
				Columns: map[string]string{"id": "payload.id", "n": "payload.n"}})
			m := body(`{"id":"%s","n":1}`, mode)
			for _, weaker := range []string{"SELECT 1", "CREATE INDEX gi ON g (id)"} {
				db.exec(t, drop, weaker)
				err := db.one(t, ts, m)
				if err == nil || db.classify(err) != rollcall.ClassEnvironment || !errorMentions(err, "the unique index on (id) is gone") {
					t.Errorf("%s, after %s: %v", mode, weaker, err)
				}
				if weaker != "SELECT 1" {
					db.exec(t, drop)
				}
				db.exec(t, "CREATE UNIQUE INDEX gi ON g (id)")
			}
			if err := db.one(t, ts, m); err != nil {
				t.Errorf("%s, the index is back: %v", mode, err)
			}
		}
		if got := db.dump(t, "SELECT count(*) FROM g"); got != "int64:5" {
			t.Error(got)
		}
	})
}
