package effect_test

import (
	"math"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

const ordersDDL = "CREATE TABLE orders (order_id {key} PRIMARY KEY, status {text}, amount {int}, note {text})"

var orderColumns = map[string]string{"order_id": "payload.id", "amount": "payload.amount", "note": "payload.note?"}

const all = "SELECT * FROM orders ORDER BY order_id"

func TestInsertOnce(t *testing.T) {
	onEach(t, []string{ordersDDL, "CREATE TABLE order_lines (id {text} NOT NULL, n {int})"}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "order_lines", Mode: effect.Insert, Columns: map[string]string{"id": "payload.id", "n": "payload.amount"}},
			effect.Table{Name: "orders", Mode: effect.Insert, Key: []string{"order_id"}, Columns: orderColumns})
		a, b := body(`{"id":"a","amount":1}`), body(`{"id":"b","amount":2,"note":"x"}`)
		wantOutcomes(t, db.apply(t, ts, a, b, a), nil, nil, rollcall.Repeated)
		// A repeat writes neither table, in a batch and alone, beside new messages.
		wantOutcomes(t, db.apply(t, ts, b, body(`{"id":"c","amount":3}`), a), rollcall.Repeated, nil, rollcall.Repeated)
		if err := db.one(t, ts, b); err != rollcall.Repeated {
			t.Error(err)
		}
		want := "string:a <nil>:<nil> int64:1 <nil>:<nil>\nstring:b <nil>:<nil> int64:2 string:x\nstring:c <nil>:<nil> int64:3 <nil>:<nil>"
		if got := db.dump(t, all); got != want {
			t.Error(got)
		}
		if got := db.dump(t, "SELECT id FROM order_lines ORDER BY id"); got != "string:a\nstring:b\nstring:c" {
			t.Error(got)
		}
		// The same key with other content is a finding, not a duplicate.
		for _, batch := range [][]rollcall.Message{{body(`{"id":"a","amount":9}`)}, {body(`{"id":"d","amount":1}`), body(`{"id":"d","amount":9}`)}} {
			got := db.apply(t, ts, batch...)
			err := got[len(got)-1]
			isData(t, err, "same key, other content")
			isData(t, err, "amount is 1, the message says 9")
		}
		if got := db.dump(t, "SELECT count(*) FROM order_lines"); got != "int64:4" {
			t.Error(got)
		}

	})
}

func TestUpsertChangesOnlyTheColumnsListed(t *testing.T) {
	onEach(t, []string{ordersDDL}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "orders", Mode: effect.Upsert, Key: []string{"order_id"}, Columns: orderColumns, Update: []string{"amount"}})
		db.exec(t, "INSERT INTO orders VALUES ('a', 'paid', 1, 'old')")
		wantOutcomes(t, db.apply(t, ts, body(`{"id":"a","amount":2,"note":"new"}`), body(`{"id":"b","amount":1,"note":"first"}`),
			body(`{"id":"b","amount":5,"note":"second"}`)), nil, nil, nil)
		if got := db.dump(t, all); got != "string:a string:paid int64:2 string:old\nstring:b <nil>:<nil> int64:5 string:first" {
			t.Error(got)
		}

	})
}

func TestVersions(t *testing.T) {
	onEach(t, []string{ordersDDL}, func(t *testing.T, db *database) {
		columns := map[string]string{"order_id": "payload.id", "amount": "payload.v", "note": "payload.note"}
		table := effect.Table{Name: "orders", Mode: effect.Versioned, Key: []string{"order_id"}, Columns: columns, Version: effect.Version{Column: "amount"}}
		v := func(id string, n int, note string) rollcall.Message {
			return body(`{"id":%q,"v":%d,"note":%q}`, id, n, note)
		}
		newer := db.tables(t, table)
		wantOutcomes(t, db.apply(t, newer, v("a", 3, "x"), v("a", 2, "y"), v("a", 3, "z"), v("b", 7, "b")), nil, rollcall.Stale, rollcall.Stale, nil)
		wantOutcomes(t, db.apply(t, newer, v("a", 9, "later"), v("b", 7, "same")), nil, rollcall.Stale)
		if got := db.dump(t, all); got != "string:a <nil>:<nil> int64:9 string:later\nstring:b <nil>:<nil> int64:7 string:b" {
			t.Error(got)
		}
		table.Version.Rule = effect.RuleNext
		next := db.tables(t, table)
		wantOutcomes(t, db.apply(t, next, v("a", 11, "early"), v("a", 10, "now"), v("a", 11, "then"), v("a", 9, "old"), v("c", 2, "early"), v("c", 1, "first")),
			rollcall.Early, nil, nil, rollcall.Stale, rollcall.Early, nil)
		isData(t, db.one(t, next, v("d", 0, "none")), "versions begin at 1")
		if got := db.dump(t, "SELECT amount, note FROM orders WHERE order_id IN ('a', 'c', 'd')"); got != "int64:11 string:then\nint64:1 string:first" {
			t.Error(got)
		}
		for _, bad := range []string{`{"id":"a","v":1.5,"note":""}`, `{"id":"a","v":null,"note":""}`, `{"id":"a","v":9223372036854775808,"note":""}`} {
			if err := db.one(t, next, body("%s", bad)); err == nil {
				t.Errorf("%s was taken", bad)
			}
		}
		db.exec(t, "UPDATE orders SET amount = NULL WHERE order_id = 'a'")
		isData(t, db.one(t, next, v("a", 12, "")), "its version is null")

	})
}

func TestTransitions(t *testing.T) {
	onEach(t, []string{ordersDDL}, func(t *testing.T, db *database) {
		table := effect.Table{Name: "orders", Mode: effect.Transition, Key: []string{"order_id"},
			Columns: map[string]string{"order_id": "payload.id", "status": "payload.s"},
			State: effect.State{Column: "status", Allow: map[string][]string{
				"created": {"paid", "canceled"}, "paid": {"shipped"}, "shipped": {"delivered"}}}}
		ts := db.tables(t, table)
		m := func(id, state string) rollcall.Message { return body(`{"id":%q,"s":%q}`, id, state) }
		wantOutcomes(t, db.apply(t, ts, m("a", "paid"), m("a", "created"), m("a", "shipped"), m("a", "paid"), m("a", "created"), m("a", "paid"), m("a", "delivered")),
			rollcall.Early, nil, rollcall.Early, nil, rollcall.Stale, rollcall.Stale, rollcall.Early)
		wantOutcomes(t, db.apply(t, ts, m("a", "shipped"), m("a", "delivered"), m("a", "paid")), nil, nil, rollcall.Stale)
		wantOutcomes(t, db.apply(t, ts, m("b", "created"), m("b", "canceled")), nil, nil)
		isData(t, db.one(t, ts, m("b", "paid")), `from state "canceled" there is no way to "paid"`)
		isData(t, db.one(t, ts, m("b", "lost")), "none of the states declared")
		if got := db.dump(t, "SELECT order_id, status FROM orders ORDER BY 1"); got != "string:a string:delivered\nstring:b string:canceled" {
			t.Error(got)
		}
		db.exec(t, "UPDATE orders SET status = 'odd'")
		isData(t, db.one(t, ts, m("b", "paid")), "not declared")
		// A cycle: on → off → on. A repeat looks like a new step.
		table.State = effect.State{Column: "status", Allow: map[string][]string{"on": {"off"}, "off": {"on"}}, Initial: []string{"on"}}
		if reason, needs := table.NeedsRecord(false); !needs || reason == "" {
			t.Error("a cycle needs a record")
		}
		ts = db.tables(t, table)
		wantOutcomes(t, db.apply(t, ts, m("c", "off"), m("c", "on"), m("c", "on"), m("c", "off"), m("c", "on")), rollcall.Early, nil, rollcall.Early, nil, nil)

	})
}

func TestDeleteThenUpsertInOneBatch(t *testing.T) {
	onEach(t, []string{ordersDDL}, func(t *testing.T, db *database) {
		ts := db.tables(t,
			effect.Table{Name: "orders", Mode: effect.Upsert, Key: []string{"order_id"}, Columns: orderColumns, When: "payload.op!=d"},
			effect.Table{Name: "orders", Mode: effect.Delete, Key: []string{"order_id"}, Columns: map[string]string{"order_id": "payload.id"}, When: "payload.op = d"})
		db.exec(t, "INSERT INTO orders VALUES ('k', 'paid', 1, 'old'), ('l', 'paid', 1, 'old')")
		put := func(id string) rollcall.Message { return body(`{"op":"u","id":%q,"amount":2}`, id) }
		del := func(id string) rollcall.Message { return body(`{"op":"d","id":%q}`, id) }
		wantOutcomes(t, db.apply(t, ts, del("k"), put("k"), put("l"), del("l"), put("m"), del("m"), put("m"), del("nothing")), nil, nil, nil, nil, nil, nil, nil, nil)
		// k is a new row: the old status is gone with the old row.
		if got := db.dump(t, all); got != "string:k <nil>:<nil> int64:2 <nil>:<nil>\nstring:m <nil>:<nil> int64:2 <nil>:<nil>" {
			t.Error(got)
		}
		only := db.tables(t, effect.Table{Name: "orders", Mode: effect.Set, Key: []string{"order_id"}, Columns: orderColumns, When: "header.type=order"})
		if err := db.one(t, only, rollcall.Message{Headers: []rollcall.Header{{Name: "type", Value: []byte("other")}}}); err != rollcall.Filtered {
			t.Error(err)
		}

	})
}

func TestAdd(t *testing.T) {
	onEach(t, []string{"CREATE TABLE account (id {key} PRIMARY KEY, balance {int}, exact {text} NOT NULL, name {text})"}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "account", Mode: effect.Add, Key: []string{"id"}, Update: []string{"balance", "exact"},
			Columns: map[string]string{"id": "payload.id", "balance": "payload.n", "exact": "payload.x", "name": "payload.name?"}})
		m := func(id, n, x string) rollcall.Message { return body(`{"id":%q,"n":%s,"x":%s,"name":"n"}`, id, n, x) }
		db.exec(t, "INSERT INTO account VALUES ('c', 9007199254740993, '0.10', 'kept')")
		wantOutcomes(t, db.apply(t, ts, m("a", "5", "12.50"), m("a", "-7", "0.1"), m("a", "1e2", "-0.60"), m("c", "2", "0.2")), nil, nil, nil, nil)
		want := "string:a int64:98 string:12.00 string:n\nstring:c int64:9007199254740995 string:0.30 string:kept"
		if got := db.dump(t, "SELECT * FROM account ORDER BY id"); got != want {
			t.Error(got)
		}
		isData(t, db.one(t, ts, m("a", "1.5", "1")), "no whole number")
		isData(t, db.one(t, ts, m("a", "null", "1")), "null cannot be added")
		isData(t, db.one(t, ts, m("a", "1", `"abc"`)), "no number")
		got := db.apply(t, ts, m("o", "9223372036854775807", "1"), m("o", "1", "1"), m("o", "-1", "1"))
		isData(t, got[1], "beyond 64 bits")
		wantOutcomes(t, []error{got[0], got[2]}, nil, nil)
		if got := db.dump(t, "SELECT balance, exact FROM account WHERE id = 'o'"); got != "int64:9223372036854775806 string:2" {
			t.Error(got)
		}
		isData(t, db.apply(t, ts, m("u", "-9223372036854775808", "1"), m("u", "-1", "1"))[1], "beyond 64 bits")
		db.exec(t, "UPDATE account SET balance = NULL WHERE id = 'a'")
		isData(t, db.one(t, ts, m("a", "1", "1")), "to which nothing can be added")
		if got := db.dump(t, "SELECT exact FROM account WHERE id = 'a'"); got != "string:12.00" {
			t.Errorf("half of it was added: %s", got)
		}

	})
}

func TestApproximateAdd(t *testing.T) {
	onEach(t, []string{"CREATE TABLE gauge (id {key} PRIMARY KEY, v DOUBLE PRECISION)"}, func(t *testing.T, db *database) {
		table := effect.Table{Name: "gauge", Mode: effect.Add, Key: []string{"id"}, Columns: map[string]string{"id": "payload.id", "v": "payload.v"}, Approximate: true}
		ts := db.tables(t, table)
		wantOutcomes(t, db.apply(t, ts, body(`{"id":"a","v":0.1}`), body(`{"id":"a","v":2}`)), nil, nil)
		if got := db.dump(t, "SELECT v FROM gauge"); got != "float64:2.1" {
			t.Error(got)
		}
		isData(t, db.apply(t, ts, body(`{"id":"b","v":%g}`, math.MaxFloat64), body(`{"id":"b","v":%g}`, math.MaxFloat64))[1], "is no number")

	})
}

func TestTriggersSeeEveryMessage(t *testing.T) {
	onEach(t, []string{ordersDDL, "CREATE TABLE seen (amount {int})", "{trigger}"}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "orders", Mode: effect.Set, Key: []string{"order_id"}, Columns: orderColumns})
		db.apply(t, ts, body(`{"id":"a","amount":1}`), body(`{"id":"a","amount":2}`), body(`{"id":"a","amount":3}`))
		if got := db.dump(t, "SELECT amount FROM seen ORDER BY amount"); got != "int64:2\nint64:3" {
			t.Error(got)
		}

	})
}

// One table's answer holds for all tables of the message.
func TestTablesAllOrNone(t *testing.T) {
	onEach(t, []string{ordersDDL, "CREATE TABLE account (id {key} PRIMARY KEY, balance {int})"}, func(t *testing.T, db *database) {
		ts := db.tables(t,
			effect.Table{Name: "account", Mode: effect.Add, Key: []string{"id"}, Columns: map[string]string{"id": "payload.account", "balance": "payload.v"}},
			effect.Table{Name: "orders", Mode: effect.Versioned, Key: []string{"order_id"}, Version: effect.Version{Column: "amount"},
				Columns: map[string]string{"order_id": "payload.id", "amount": "payload.v"}})
		m := func(v int) rollcall.Message { return body(`{"id":"a","account":"x","v":%d}`, v) }
		wantOutcomes(t, db.apply(t, ts, m(5), m(4), m(6)), nil, rollcall.Stale, nil)
		wantOutcomes(t, db.apply(t, ts, m(6)), rollcall.Stale)
		isData(t, db.one(t, ts, body(`{"id":"a","account":"x","v":"seven"}`)), "no number")
		if got := db.dump(t, "SELECT balance FROM account"); got != "int64:11" {
			t.Error(got)
		}

	})
}
