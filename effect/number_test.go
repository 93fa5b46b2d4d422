package effect_test

import (
	"strings"
	"testing"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// What is sent is what is stored, digit by digit, or an error.
func TestNumbersKeepTheirDigits(t *testing.T) {
	const refused = "refused"
	cases := []struct{ sent, text, integer, numeric, float, none string }{
		{"9007199254740993", "string:9007199254740993", "int64:9007199254740993", "int64:9007199254740993", refused, "int64:9007199254740993"},
		{"9223372036854775807", "string:9223372036854775807", "int64:9223372036854775807", "int64:9223372036854775807", refused, "int64:9223372036854775807"},
		{"9223372036854775808", "string:9223372036854775808", refused, refused, refused, "string:9223372036854775808"},
		{"18446744073709551616", "string:18446744073709551616", refused, refused, refused, "string:18446744073709551616"},
		{"12.50", "string:12.50", "float64:12.5", "float64:12.5", "float64:12.5", "string:12.50"},
		{"0.1", "string:0.1", "float64:0.1", "float64:0.1", "float64:0.1", "string:0.1"},
		{"0.1000000000000000055511151231257827", "string:0.1000000000000000055511151231257827", refused, refused, refused, "string:0.1000000000000000055511151231257827"},
		{"1e400", "string:1e400", refused, refused, refused, "string:1e400"},
		{"1e-400", "string:1e-400", refused, refused, refused, "string:1e-400"},
		{"1e99999999999", "string:1e99999999999", refused, refused, refused, "string:1e99999999999"},
		{"1e3", "string:1e3", "int64:1000", "int64:1000", "float64:1000", "string:1e3"},
		{"-0", "string:-0", "int64:0", "int64:0", "float64:0", "int64:0"},
		{"123456789012345678.5", "string:123456789012345678.5", refused, refused, refused, "string:123456789012345678.5"},
		{`"9007199254740993000001"`, "string:9007199254740993000001", refused, refused, refused, "string:9007199254740993000001"},
		{`" +7 "`, "string: +7 ", "int64:7", "int64:7", "float64:7", "string: +7 "},
		{`"abc"`, "string:abc", refused, "string:abc", refused, "string:abc"},
		{`"2026-01-02"`, "string:2026-01-02", refused, "string:2026-01-02", refused, "string:2026-01-02"},
		{`true`, "string:true", "int64:1", "int64:1", refused, "int64:1"},
		{`null`, "<nil>:<nil>", "<nil>:<nil>", "<nil>:<nil>", "<nil>:<nil>", "<nil>:<nil>"},
		{`{"a": 1.0}`, `string:{"a": 1.0}`, refused, `string:{"a": 1.0}`, refused, `string:{"a": 1.0}`},
		{`"a\u0000b\n"`, "string:a\x00b\n", refused, "string:a\x00b\n", refused, "string:a\x00b\n"},
	}
	s := open(t, "CREATE TABLE v (text TEXT, integer INTEGER, numeric DECIMAL(10,2), float DOUBLE, none)")
	for _, c := range cases {
		for column, want := range map[string]string{"text": c.text, "integer": c.integer, "numeric": c.numeric, "float": c.float, "none": c.none} {
			ts := tables(t, s, effect.Table{Name: "v", Mode: effect.Insert, Columns: map[string]string{column: "payload.v"}})
			err := applyOne(t, s, ts, body(`{"v":%s}`, c.sent))
			got := dump(t, s.DB(), "SELECT "+column+" FROM v")
			if want == refused {
				isData(t, err, "column "+column+" of table v")
				want = ""
			} else if err != nil {
				t.Errorf("%s into %s: %v", c.sent, column, err)
			}
			if got != want {
				t.Errorf("%s into %s: stored %s, want %s", c.sent, column, got, want)
			}
			if _, err := s.DB().Exec("DELETE FROM v"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSources(t *testing.T) {
	s := open(t, "CREATE TABLE v (a, b, c, d, e, f, g INTEGER, h BLOB, i TEXT)")
	ts := tables(t, s, effect.Table{Name: "v", Mode: effect.Insert, Columns: map[string]string{
		"a": "id", "b": "key", "c": "header.h", "d": "header.none?", "e": "const:payload.x?", "f": "time", "g": "time", "h": "payload", "i": `payload."a.b".1`}})
	m := body(`{"a.b":[1,"two"]}`)
	m.ID, m.Key, m.Headers = "id-1", "key-1", []rollcall.Header{{Name: "h", Value: []byte("v")}}
	m.Time = time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))
	if err := applyOne(t, s, ts, m); err != nil {
		t.Fatal(err)
	}
	want := `string:id-1 string:key-1 string:v <nil>:<nil> string:payload.x? string:2026-01-02T02:04:05.000000006Z int64:1767319445000 []uint8:` +
		"[123 34 97 46 98 34 58 91 49 44 34 116 119 111 34 93 125] string:two"
	if got := dump(t, s.DB(), "SELECT * FROM v"); got != want {
		t.Error(got)
	}
	for change, text := range map[string]func(*rollcall.Message){
		`no header "h"`:      func(m *rollcall.Message) { m.Headers = nil },
		"not UTF-8":          func(m *rollcall.Message) { m.ID = "\xff" },
		"not JSON at byte 3": func(m *rollcall.Message) { m.Body = []byte(`{"a`) },
		`no "\"a.b\".1"`:     func(m *rollcall.Message) { m.Body = []byte(`{"a.b":[1]}`) },
		"not JSON at byte 8": func(m *rollcall.Message) { m.Body = []byte("{\"a.b\":\"\xff\"}") },
		"nested deeper":      func(m *rollcall.Message) { m.Body = []byte(strings.Repeat("[", 100000)) },
	} {
		bad := m
		text(&bad)
		isData(t, applyOne(t, s, ts, bad), change)
	}
}

// A key is never null, is compared by its bytes, and whole.
func TestKeysCompareBinary(t *testing.T) {
	onEach(t, []string{"CREATE TABLE k (id {key} NOT NULL UNIQUE, n {int})", "CREATE TABLE nullable (id {key} UNIQUE, n {int})"}, func(t *testing.T, db *database) {
		table := effect.Table{Name: "k", Mode: effect.Insert, Key: []string{"id"}, Columns: map[string]string{"id": "payload.id", "n": "const:1"}}
		ts := db.tables(t, table)
		ids := []string{"a", "A", "a ", "ä", "a\u0308", "", " "}
		for _, id := range ids[:3] {
			if err := db.one(t, ts, body(`{"id":%q}`, id)); err != nil {
				t.Errorf("%q: %v", id, err)
			}
		}
		var ms []rollcall.Message
		for _, id := range ids {
			ms = append(ms, body(`{"id":%q}`, id))
		}
		wantOutcomes(t, db.apply(t, ts, ms...), rollcall.Repeated, rollcall.Repeated, rollcall.Repeated, nil, nil, nil, nil)
		if got := db.dump(t, "SELECT count(*) FROM k"); got != "int64:7" {
			t.Error(got)
		}
		isData(t, db.one(t, ts, body(`{"id":null}`)), "NOT NULL")
		table.Name, table.Columns = "nullable", map[string]string{"id": "payload.id?", "n": "const:1"}
		isData(t, db.one(t, db.tables(t, table), body(`{}`)), "a key needs a value")
	})
}

func TestLargeValues(t *testing.T) {
	onEach(t, []string{ordersDDL}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "orders", Mode: effect.Set, Key: []string{"order_id"}, Columns: orderColumns})
		big := strings.Repeat("x", 1<<20)
		var ms []rollcall.Message
		for i := range 20 { // more than a packet of MySQL
			ms = append(ms, body(`{"id":"%d","amount":1,"note":%q}`, i, big))
		}
		for i, outcome := range db.apply(t, ts, ms...) {
			if outcome != nil {
				t.Errorf("message %d: %v", i, outcome)
			}
		}
		if got := db.dump(t, "SELECT count(*) FROM orders WHERE length(note) = 1048576"); got != "int64:20" {
			t.Error(got)
		}
		if strings.HasPrefix(db.product, "m") {
			isData(t, db.one(t, ts, body(`{"id":"huge","amount":1,"note":%q}`, strings.Repeat(big, 9))), "raise max_allowed_packet")
		}
	})
}
