package fingerprint

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestOf: what differs from message to message is gone, what tells one trouble
// from another stays.
func TestOf(t *testing.T) {
	for cause, want := range map[string]Fingerprint{
		`ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE 23505)`: {
			Class: "ERROR: duplicate key value violates unique constraint … (SQLSTATE #)", Code: "SQLSTATE 23505", Place: "constraint orders_pkey"},
		`Error 1062 (23000): Duplicate entry 'O'Brien' for key 'orders.PRIMARY'`: {
			Class: "Error # (#): Duplicate entry … for key …", Code: "MySQL 1062", Place: "key orders.PRIMARY"},
		`constraint failed: UNIQUE constraint failed: orders.id (1555)`: {
			Class: "constraint failed: UNIQUE constraint failed: orders.id (#)", Code: "SQLite 1555", Place: "constraint orders.id"},
		`amount for column balance of table account: 1.5 is no whole number, and the column is INTEGER`: {
			Class: "amount for column balance of table account: # is no whole number, and the column is INTEGER", Place: "column balance of table account"},
		`dedup.key has "payload.id", and this message has none`: {Class: "dedup.key has …, and this message has none", Place: "payload.id"},
		`the bank answered 503 for order-77`:                    {Class: "the bank answered # for #", Code: "HTTP 503"},
		`POST http://x/: 404 Not Found`:                         {Class: "POST http://x/: # Not Found", Code: "HTTP 404"},
		`it doesn't fit`:                                        {Class: "it doesn't fit"},
		``:                                                      {},
	} {
		if got := Of(cause, ""); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", cause, got, want)
		}
	}
}

func TestSameTrouble(t *testing.T) {
	same := [][]string{
		{`column balance of table account (from payload.amount): "much" is no number`, `column balance of table account (from payload.amount): "a \"b\"" is no number`},
		{`account 17 is closed`, `account 9007199254740993 is closed`, `redriven; before: account 4 is closed`, `in work; before: redriven; before: account 5 is closed`},
		{`order 018f3e9c-7d1a-7000-8000-000000000001 is unknown`, `order a1b2c3 is unknown`},
		{`Error 1062 (23000): Duplicate entry 'a' for key 'orders.PRIMARY'`, `Error 1062 (23000): Duplicate entry 'it's 5' for key 'orders.PRIMARY'`},
	}
	seen := map[string]string{}
	for _, causes := range same {
		id := Of(causes[0], "orders").ID()
		for _, c := range causes {
			if got := Of(c, "orders"); got.ID() != id {
				t.Errorf("%q is another trouble than %q: %+v", c, causes[0], got)
			}
		}
		if other, is := seen[id]; is {
			t.Errorf("%q and %q are taken for the same trouble", other, causes[0])
		}
		seen[id] = causes[0]
	}
	base := `violates unique constraint "a" (SQLSTATE 23505)`
	for what, other := range map[string]Fingerprint{"code": Of(strings.Replace(base, "23505", "23514", 1), "d"),
		"place": Of(strings.Replace(base, `"a"`, `"b"`, 1), "d"), "destination": Of(base, "e"), "words": Of("also "+base, "d")} {
		if other.ID() == Of(base, "d").ID() {
			t.Errorf("another %s, and the same fingerprint", what)
		}
	}
}

func FuzzOf(f *testing.F) {
	f.Add("a 'b' \"c\\\" 5 \xff")
	f.Fuzz(func(t *testing.T, cause string) {
		got := Of(cause, "d")
		if !utf8.ValidString(got.Class) || len(got.Class) > mostClass || len(got.ID()) != 12 || Of(cause, "d") != got {
			t.Errorf("%q: %+v", cause, got)
		}
	})
}
