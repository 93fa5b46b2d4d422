package effect_test

import (
	"math"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

const ordersDDL = "CREATE TABLE orders (order_id TEXT PRIMARY KEY, status TEXT, amount INTEGER, note TEXT) WITHOUT ROWID"

var orderColumns = map[string]string{"order_id": "payload.id", "amount": "payload.amount", "note": "payload.note?"}

const all = "SELECT * FROM orders ORDER BY order_id"

func TestInsertOnce(t *testing.T) {
	s := open(t, ordersDDL, "CREATE TABLE lines (id TEXT NOT NULL, n INTEGER)")
	ts := tables(t, s, effect.Table{Name: "lines", Mode: effect.Insert, Columns: map[string]string{"id": "payload.id", "n": "payload.amount"}},
		effect.Table{Name: "orders", Mode: effect.Insert, Key: []string{"order_id"}, Columns: orderColumns})
	a, b := body(`{"id":"a","amount":1}`), body(`{"id":"b","amount":2,"note":"x"}`)
	wantOutcomes(t, apply(t, s, ts, a, b, a), nil, nil, rollcall.Repeated)
	// A repeat writes neither table, in a batch and alone, beside new messages.
	wantOutcomes(t, apply(t, s, ts, b, body(`{"id":"c","amount":3}`), a), rollcall.Repeated, nil, rollcall.Repeated)
	if err := applyOne(t, s, ts, b); err != rollcall.Repeated {
		t.Error(err)
	}
	want := "string:a <nil>:<nil> int64:1 <nil>:<nil>\nstring:b <nil>:<nil> int64:2 string:x\nstring:c <nil>:<nil> int64:3 <nil>:<nil>"
	if got := dump(t, s.DB(), all); got != want {
		t.Error(got)
	}
	if got := dump(t, s.DB(), "SELECT group_concat(id, '') FROM (SELECT id FROM lines ORDER BY rowid)"); got != "string:abc" {
		t.Error(got)
	}
	// The same key with other content is a finding, not a duplicate.
	for _, batch := range [][]rollcall.Message{{body(`{"id":"a","amount":9}`)}, {body(`{"id":"d","amount":1}`), body(`{"id":"d","amount":9}`)}} {
		got := apply(t, s, ts, batch...)
		err := got[len(got)-1]
		isData(t, err, "same key, other content")
		isData(t, err, "amount is 1, the message says 9")
	}
	if got := dump(t, s.DB(), "SELECT count(*), sum(n) FROM lines"); got != "int64:4 int64:7" {
		t.Error(got)
	}
}

func TestUpsertChangesOnlyTheColumnsListed(t *testing.T) {
	s := open(t, ordersDDL)
	ts := tables(t, s, effect.Table{Name: "orders", Mode: effect.Upsert, Key: []string{"order_id"}, Columns: orderColumns, Update: []string{"amount"}})
	_, err := s.DB().Exec("INSERT INTO orders VALUES ('a', 'paid', 1, 'old')")
	must(t, err)
	wantOutcomes(t, apply(t, s, ts, body(`{"id":"a","amount":2,"note":"new"}`), body(`{"id":"b","amount":1,"note":"first"}`),
		body(`{"id":"b","amount":5,"note":"second"}`)), nil, nil, nil)
	if got := dump(t, s.DB(), all); got != "string:a string:paid int64:2 string:old\nstring:b <nil>:<nil> int64:5 string:first" {
		t.Error(got)
	}
}

func TestVersions(t *testing.T) {
	s := open(t, ordersDDL)
	columns := map[string]string{"order_id": "payload.id", "amount": "payload.v", "note": "payload.note"}
	table := effect.Table{Name: "orders", Mode: effect.Versioned, Key: []string{"order_id"}, Columns: columns, Version: effect.Version{Column: "amount"}}
	v := func(id string, n int, note string) rollcall.Message {
		return body(`{"id":%q,"v":%d,"note":%q}`, id, n, note)
	}
	newer := tables(t, s, table)
	wantOutcomes(t, apply(t, s, newer, v("a", 3, "x"), v("a", 2, "y"), v("a", 3, "z"), v("b", 7, "b")), nil, rollcall.Stale, rollcall.Stale, nil)
	wantOutcomes(t, apply(t, s, newer, v("a", 9, "later"), v("b", 7, "same")), nil, rollcall.Stale)
	if got := dump(t, s.DB(), all); got != "string:a <nil>:<nil> int64:9 string:later\nstring:b <nil>:<nil> int64:7 string:b" {
		t.Error(got)
	}
	table.Version.Rule = effect.RuleNext
	next := tables(t, s, table)
	wantOutcomes(t, apply(t, s, next, v("a", 11, "early"), v("a", 10, "now"), v("a", 11, "then"), v("a", 9, "old"), v("c", 2, "early"), v("c", 1, "first")),
		rollcall.Early, nil, nil, rollcall.Stale, rollcall.Early, nil)
	isData(t, applyOne(t, s, next, v("d", 0, "none")), "versions begin at 1")
	if got := dump(t, s.DB(), "SELECT amount, note FROM orders WHERE order_id IN ('a', 'c', 'd')"); got != "int64:11 string:then\nint64:1 string:first" {
		t.Error(got)
	}
	for _, bad := range []string{`{"id":"a","v":1.5,"note":""}`, `{"id":"a","v":null,"note":""}`, `{"id":"a","v":9223372036854775808,"note":""}`} {
		if err := applyOne(t, s, next, body("%s", bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	_, err := s.DB().Exec("UPDATE orders SET amount = NULL WHERE order_id = 'a'")
	must(t, err)
	isData(t, applyOne(t, s, next, v("a", 12, "")), "its version is null")
}

func TestTransitions(t *testing.T) {
	s := open(t, ordersDDL)
	table := effect.Table{Name: "orders", Mode: effect.Transition, Key: []string{"order_id"},
		Columns: map[string]string{"order_id": "payload.id", "status": "payload.s"},
		State: effect.State{Column: "status", Allow: map[string][]string{
			"created": {"paid", "canceled"}, "paid": {"shipped"}, "shipped": {"delivered"}}}}
	ts := tables(t, s, table)
	m := func(id, state string) rollcall.Message { return body(`{"id":%q,"s":%q}`, id, state) }
	wantOutcomes(t, apply(t, s, ts, m("a", "paid"), m("a", "created"), m("a", "shipped"), m("a", "paid"), m("a", "created"), m("a", "paid"), m("a", "delivered")),
		rollcall.Early, nil, rollcall.Early, nil, rollcall.Stale, rollcall.Stale, rollcall.Early)
	wantOutcomes(t, apply(t, s, ts, m("a", "shipped"), m("a", "delivered"), m("a", "paid")), nil, nil, rollcall.Stale)
	wantOutcomes(t, apply(t, s, ts, m("b", "created"), m("b", "canceled")), nil, nil)
	isData(t, applyOne(t, s, ts, m("b", "paid")), `from state "canceled" there is no way to "paid"`)
	isData(t, applyOne(t, s, ts, m("b", "lost")), "none of the states declared")
	if got := dump(t, s.DB(), "SELECT order_id, status FROM orders ORDER BY 1"); got != "string:a string:delivered\nstring:b string:canceled" {
		t.Error(got)
	}
	_, err := s.DB().Exec("UPDATE orders SET status = 'odd'")
	must(t, err)
	isData(t, applyOne(t, s, ts, m("b", "paid")), "not declared")
	// A cycle: on → off → on. A repeat looks like a new step.
	table.State = effect.State{Column: "status", Allow: map[string][]string{"on": {"off"}, "off": {"on"}}, Initial: []string{"on"}}
	if reason, needs := table.NeedsRecord(false); !needs || reason == "" {
		t.Error("a cycle needs a record")
	}
	ts = tables(t, s, table)
	wantOutcomes(t, apply(t, s, ts, m("c", "off"), m("c", "on"), m("c", "on"), m("c", "off"), m("c", "on")), rollcall.Early, nil, rollcall.Early, nil, nil)
}

func TestDeleteThenUpsertInOneBatch(t *testing.T) {
	s := open(t, ordersDDL)
	ts := tables(t, s,
		effect.Table{Name: "orders", Mode: effect.Upsert, Key: []string{"order_id"}, Columns: orderColumns, When: "payload.op!=d"},
		effect.Table{Name: "orders", Mode: effect.Delete, Key: []string{"order_id"}, Columns: map[string]string{"order_id": "payload.id"}, When: "payload.op = d"})
	_, err := s.DB().Exec("INSERT INTO orders VALUES ('k', 'paid', 1, 'old'), ('l', 'paid', 1, 'old')")
	must(t, err)
	put := func(id string) rollcall.Message { return body(`{"op":"u","id":%q,"amount":2}`, id) }
	del := func(id string) rollcall.Message { return body(`{"op":"d","id":%q}`, id) }
	wantOutcomes(t, apply(t, s, ts, del("k"), put("k"), put("l"), del("l"), put("m"), del("m"), put("m"), del("nothing")), nil, nil, nil, nil, nil, nil, nil, nil)
	// k is a new row: the old status is gone with the old row.
	if got := dump(t, s.DB(), all); got != "string:k <nil>:<nil> int64:2 <nil>:<nil>\nstring:m <nil>:<nil> int64:2 <nil>:<nil>" {
		t.Error(got)
	}
	only := tables(t, s, effect.Table{Name: "orders", Mode: effect.Set, Key: []string{"order_id"}, Columns: orderColumns, When: "header.type=order"})
	if err := applyOne(t, s, only, rollcall.Message{Headers: []rollcall.Header{{Name: "type", Value: []byte("other")}}}); err != rollcall.Filtered {
		t.Error(err)
	}
}

func TestAdd(t *testing.T) {
	s := open(t, "CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER, exact TEXT NOT NULL, name TEXT)")
	ts := tables(t, s, effect.Table{Name: "account", Mode: effect.Add, Key: []string{"id"}, Update: []string{"balance", "exact"},
		Columns: map[string]string{"id": "payload.id", "balance": "payload.n", "exact": "payload.x", "name": "payload.name?"}})
	m := func(id, n, x string) rollcall.Message { return body(`{"id":%q,"n":%s,"x":%s,"name":"n"}`, id, n, x) }
	_, err := s.DB().Exec("INSERT INTO account VALUES ('c', 9007199254740993, '0.10', 'kept')")
	must(t, err)
	wantOutcomes(t, apply(t, s, ts, m("a", "5", "12.50"), m("a", "-7", "0.1"), m("a", "1e2", "-0.60"), m("c", "2", "0.2")), nil, nil, nil, nil)
	want := "string:a int64:98 string:12.00 string:n\nstring:c int64:9007199254740995 string:0.30 string:kept"
	if got := dump(t, s.DB(), "SELECT * FROM account ORDER BY id"); got != want {
		t.Error(got)
	}
	isData(t, applyOne(t, s, ts, m("a", "1.5", "1")), "no whole number")
	isData(t, applyOne(t, s, ts, m("a", "null", "1")), "null cannot be added")
	isData(t, applyOne(t, s, ts, m("a", "1", `"abc"`)), "no number")
	got := apply(t, s, ts, m("o", "9223372036854775807", "1"), m("o", "1", "1"), m("o", "-1", "1"))
	isData(t, got[1], "beyond 64 bits")
	wantOutcomes(t, []error{got[0], got[2]}, nil, nil)
	if got := dump(t, s.DB(), "SELECT balance, exact FROM account WHERE id = 'o'"); got != "int64:9223372036854775806 string:2" {
		t.Error(got)
	}
	isData(t, apply(t, s, ts, m("u", "-9223372036854775808", "1"), m("u", "-1", "1"))[1], "beyond 64 bits")
	_, err = s.DB().Exec("UPDATE account SET balance = NULL WHERE id = 'a'")
	must(t, err)
	isData(t, applyOne(t, s, ts, m("a", "1", "1")), "to which nothing can be added")
	if got := dump(t, s.DB(), "SELECT exact FROM account WHERE id = 'a'"); got != "string:12.00" {
		t.Errorf("half of it was added: %s", got)
	}
}

func TestApproximateAdd(t *testing.T) {
	s := open(t, "CREATE TABLE gauge (id TEXT PRIMARY KEY, v REAL)")
	table := effect.Table{Name: "gauge", Mode: effect.Add, Key: []string{"id"}, Columns: map[string]string{"id": "payload.id", "v": "payload.v"}, Approximate: true}
	ts := tables(t, s, table)
	wantOutcomes(t, apply(t, s, ts, body(`{"id":"a","v":0.1}`), body(`{"id":"a","v":2}`)), nil, nil)
	if got := dump(t, s.DB(), "SELECT v FROM gauge"); got != "float64:2.1" {
		t.Error(got)
	}
	isData(t, apply(t, s, ts, body(`{"id":"b","v":%g}`, math.MaxFloat64), body(`{"id":"b","v":%g}`, math.MaxFloat64))[1], "is no number")
}

func TestTriggersSeeEveryMessage(t *testing.T) {
	s := open(t, ordersDDL, "CREATE TABLE seen (amount)", "CREATE TRIGGER tr AFTER UPDATE ON orders BEGIN INSERT INTO seen VALUES (new.amount); END")
	ts := tables(t, s, effect.Table{Name: "orders", Mode: effect.Set, Key: []string{"order_id"}, Columns: orderColumns})
	apply(t, s, ts, body(`{"id":"a","amount":1}`), body(`{"id":"a","amount":2}`), body(`{"id":"a","amount":3}`))
	if got := dump(t, s.DB(), "SELECT group_concat(amount) FROM seen"); got != "string:2,3" {
		t.Error(got)
	}
}

// One table's answer holds for all tables of the message.
func TestTablesAllOrNone(t *testing.T) {
	s := open(t, ordersDDL, "CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER)")
	ts := tables(t, s,
		effect.Table{Name: "account", Mode: effect.Add, Key: []string{"id"}, Columns: map[string]string{"id": "payload.account", "balance": "payload.v"}},
		effect.Table{Name: "orders", Mode: effect.Versioned, Key: []string{"order_id"}, Version: effect.Version{Column: "amount"},
			Columns: map[string]string{"order_id": "payload.id", "amount": "payload.v"}})
	m := func(v int) rollcall.Message { return body(`{"id":"a","account":"x","v":%d}`, v) }
	wantOutcomes(t, apply(t, s, ts, m(5), m(4), m(6)), nil, rollcall.Stale, nil)
	wantOutcomes(t, apply(t, s, ts, m(6)), rollcall.Stale)
	isData(t, applyOne(t, s, ts, body(`{"id":"a","account":"x","v":"seven"}`)), "no number")
	if got := dump(t, s.DB(), "SELECT balance FROM account"); got != "int64:11" {
		t.Error(got)
	}
}
